// SPDX-License-Identifier: Apache-2.0

package loop

import "time"

// Load is what a loop has had to do since it began, and how much of that came late. Two of them say
// what was so in the time between them.
type Load struct {
	// Busy is the time for which a turn was due and not over. That is the time of turns, and of all
	// that keeps them waiting: what clients sent, new connections, and others who have the processor.
	Busy time.Duration
	// Late is the part of the time whose rows were too old when they were flushed: by more than a
	// window and lateShare of it.
	Late time.Duration
	At   time.Time // When that was so: a fraction of a second ago, unless a turn does not end.
	Idle bool      // There are no conns, and so no turns.
}

const (
	// lateShare is the part of a window by which rows may be older than it.
	lateShare = 0.1
	// stuckAfter is how old what a loop publishes may be before it is in a turn that does not end.
	stuckAfter = publishEvery + 800*time.Millisecond
)

// spend adds the turn that ends now, and that found the wheel so far behind, to the load. A turn that
// was called for while the one before it ran was only kept waiting from the end of that.
func (l *loop) spend(end time.Time, behind time.Duration) {
	if before := l.load.At; !before.IsZero() {
		due := l.due
		if due.Before(before) {
			due = before
		}
		l.load.Busy += end.Sub(due)
	}
	// What it has not come to is for the next turn to count.
	window := l.server.cfg.Shard.Interval
	l.load.Late += tooOld(behind, window) - tooOld(l.shard.Lag(), window)
	l.load.At, l.load.Idle = end, l.shard.Conns() == 0
}

// tooOld is the part of the time that a wheel is behind whose rows are too old. A conn whose flush is
// late has rows of any age from that to a window more, so few of them are too old if it is a little late.
func tooOld(behind, window time.Duration) time.Duration {
	beyond := behind - time.Duration(lateShare*float64(window))
	switch {
	case beyond <= 0:
		return 0
	case beyond >= window:
		return beyond - window/2
	default:
		return time.Duration(float64(beyond) * float64(beyond) / float64(2*window))
	}
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

// Shares are the parts of the time from before to l, from 0 to 1, for which the loop was busy and
// whose rows were too old. A loop of which nothing new is known now is in a turn that does not end.
func (l Load) Shares(before Load, now time.Time) (busy, late float64) {
	switch passed := l.At.Sub(before.At); {
	case l.Idle || l.At.IsZero() || before.At.IsZero():
		return 0, 0
	case now.Sub(l.At) > stuckAfter:
		return 1, 1
	case passed <= 0:
		return 0, 0
	default:
		part := func(d time.Duration) float64 { return min(1, float64(d)/float64(passed)) }
		return part(l.Busy - before.Busy), part(l.Late - before.Late)
	}
}
