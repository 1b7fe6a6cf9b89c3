// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"time"
)

// watchBeats is into how many parts the watchdog of a link divides the timeout. At least one
// ping is sent in each, so two may be late without harm.
const watchBeats = 3

// sign is a sign of life that the other side of a link owes us: a number that changes within
// the timeout, while owed holds.
type sign struct {
	look  func() (number uint64, owed bool)
	error error // Why the link ends if it does not.
}

// watch returns the error of the first sign that stays away for the timeout, or nil when ctx
// ends. It counts beats without the sign instead of looking at the clock: a process that was
// stopped itself sees one long beat, not a dead server.
func watch(ctx context.Context, timeout time.Duration, signs ...sign) error {
	seen := make([]struct {
		number uint64
		owed   bool
		beats  int // Since both were as they are.
	}, len(signs))
	for i, s := range signs {
		seen[i].number, seen[i].owed = s.look()
	}
	beat := time.NewTicker(timeout / watchBeats)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		for i, s := range signs {
			was := &seen[i]
			number, owed := s.look()
			if !owed || !was.owed || number != was.number {
				was.number, was.owed, was.beats = number, owed, 0
			} else if was.beats++; was.beats == watchBeats {
				return s.error
			}
		}
	}
}
