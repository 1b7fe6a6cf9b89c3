// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
)

// backoff gives the times to wait between attempts: random between 0 and a bound
// that doubles from backoffMin to backoffMax. All of the wait is random, so that a
// thousand edges do not come back to a restarted Redis at the same time.
type backoff struct{ bound time.Duration }

func (b *backoff) next() time.Duration {
	b.bound = min(max(b.bound*2, backoffMin), backoffMax)
	return rand.N(b.bound) + 1
}

func (b *backoff) reset() { b.bound = 0 }

// sleep waits for d. It is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
