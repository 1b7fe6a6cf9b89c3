// SPDX-License-Identifier: Apache-2.0

package loop

import "time"

// Load is what a loop has had to do since it began. Two of them say what share of the time between
// them it was busy.
type Load struct {
	// Busy is the time for which a turn was due and not over. That is the time of turns, and of all
	// that keeps them waiting: what clients sent, new connections, and others who have the processor.
	Busy time.Duration
	At   time.Time     // When that was so: a fraction of a second ago, unless a turn does not end.
	Lag  time.Duration // Of the wheel.
	Idle bool          // There are no conns, and so no turns.
}

// spend adds the turn that ends now to the load. A turn that was called for while the one before
// it ran was only kept waiting from the end of that.
func (l *loop) spend(end time.Time) {
	if before := l.load.At; !before.IsZero() {
		due := l.due
		if due.Before(before) {
			due = before
		}
		l.load.Busy += end.Sub(due)
	}
	l.load.At, l.load.Lag, l.load.Idle = end, l.shard.Lag(), l.shard.Conns() == 0
}

// Loads is the load of each loop.
func (s *Server) Loads() []Load {
	all := make([]Load, len(s.loops))
	for i, l := range s.loops {
		l.published.Lock()
		all[i] = l.published.load
		l.published.Unlock()
	}
	return all
}

// Share is how busy the loop was from before to l: 0 to 1. A loop of which nothing new is known now
// is in a turn that does not end.
func (l Load) Share(before Load, now time.Time) float64 {
	switch passed := l.At.Sub(before.At); {
	case l.Idle || l.At.IsZero() || before.At.IsZero():
		return 0
	case now.Sub(l.At) > stuckAfter:
		return 1
	case passed <= 0:
		return 0
	default:
		return min(1, float64(l.Busy-before.Busy)/float64(passed))
	}
}

// stuckAfter is how long a loop may publish nothing, beyond the time between two of its figures.
const stuckAfter = publishEvery + 800*time.Millisecond
