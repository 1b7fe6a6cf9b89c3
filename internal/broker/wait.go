// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// BackoffMin is the bound of the first wait between two attempts.
	BackoffMin = 100 * time.Millisecond
	// BackoffMax is the bound of all later ones at most.
	BackoffMax = 5 * time.Second
)

// Backoff gives the times to wait between attempts: random between 0 and a bound that doubles from
// [BackoffMin] to [BackoffMax]. All of the wait is random, so that a thousand edges do not come back to a
// restarted broker at the same time. The zero value is ready. It is one goroutine's.
type Backoff struct{ bound time.Duration }

// Next is how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.bound = min(max(b.bound*2, BackoffMin), BackoffMax)
	return rand.N(b.bound) + 1
}

// Reset has the bound begin anew.
func (b *Backoff) Reset() { b.bound = 0 }

// Sleep waits for d. It is false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Signal puts an element into a channel of capacity 1 unless it has one.
func Signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
