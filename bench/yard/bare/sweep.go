// SPDX-License-Identifier: Apache-2.0

package bare

import "time"

// Turn is the time between two turns of a loop.
const Turn = 5 * time.Millisecond

// Sweep tells whose turn it is: of n places each comes once per window, and they are
// spread over it evenly.
type Sweep struct {
	Window time.Duration
	began  time.Time // Of this window.
	n, at  int       // Places of this window, and those of them that had their turn.
}

// Next returns the places from, …, to-1 that have become due. n is how many there
// are; it is looked at when a window begins.
func (s *Sweep) Next(now time.Time, n int) (from, to int) {
	gone := now.Sub(s.began)
	from, to = s.at, s.n
	if gone < s.Window {
		to = int(int64(s.n) * int64(gone) / int64(s.Window))
		s.at = to
		return from, to
	}
	s.began = s.began.Add(s.Window)
	if gone >= 2*s.Window {
		s.began = now // There was no window before, or it was too much for one.
	}
	s.n, s.at = n, 0
	return from, to
}
