// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"slices"
	"time"
)

// Span is a time that a shard takes down the distribution of. Plain numbers: the loop owns them.
type Span uint8

const (
	RowAge            Span = iota // Of each row of an update when it is written, since it came in: to who has the default window,
	RowAgeAsked                   // another one,
	RowAgeSlowed                  // and to who is slow.
	FlushLag                      // How late a flush is.
	PongAge                       // How long a pong has been awaited, each time its conn is visited.
	RoundTrip                     // From a ping to what answers it.
	SubscribeAck                  // From reading a subscribe to its answer.
	SubscribeSnapshot             // From reading a subscribe to each snapshot that follows from it.

	Spans // One more than the last.
)

// SpanMetrics are the spans as operators see them, see [Metric].
var SpanMetrics = [Spans]Metric{
	RowAge:            {"row_age_seconds", "Age of the rows of updates when they are written, since the edge read them from the broker, by the window of who gets them: the default one, one that it has asked for, or one that was made longer as it is slow. The time is that of the turn of the loop, so a row may be older by the length of one, and is cut to 4 ms, or to 128 ms for windows above 1.5 s; what is above 3.8 s, or 130 s, counts as that.", "window", "default"},
	RowAgeAsked:       {"row_age_seconds", "", "window", "asked"},
	RowAgeSlowed:      {"row_age_seconds", "", "window", "slowed"},
	FlushLag:          {"flush_lag_seconds", "How much later than it was due a connection was flushed.", "", ""},
	PongAge:           {"pong_age_seconds", "How long the pong of a client has been awaited, each time that its connection is looked at, which is once a second or more often.", "", ""},
	RoundTrip:         {"round_trip_seconds", "Time from a ping to the first bytes after it, rounded up to 5 ms.", "", ""},
	SubscribeAck:      {"subscribe_ack_seconds", "Time from reading a subscribe to handing its answer to the socket.", "", ""},
	SubscribeSnapshot: {"subscribe_snapshot_seconds", "Time from reading a subscribe to each snapshot that it has brought. What comes after 10 s is not counted, nor of more than 1,024 clients of a loop at a time.", "", ""},
}

// SpanBounds are the upper bounds of the buckets of a [Histogram].
var SpanBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond, 250 * time.Millisecond, 300 * time.Millisecond,
	350 * time.Millisecond, 400 * time.Millisecond, 450 * time.Millisecond, 500 * time.Millisecond, 550 * time.Millisecond,
	600 * time.Millisecond, 750 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
	30 * time.Second, time.Minute,
}

// Histogram counts durations: Buckets[i] those up to SpanBounds[i] and above the bound before it, the last bucket those above
// all bounds.
type Histogram struct {
	Buckets [len(SpanBounds) + 1]uint64
	Sum     time.Duration
}

func bucketOf(d time.Duration) int {
	i, _ := slices.BinarySearch(SpanBounds[:], d)
	return i
}

func (h *Histogram) observe(d time.Duration) { h.count(d, 1) }

func (h *Histogram) count(d time.Duration, n int) {
	h.Buckets[bucketOf(d)] += uint64(n)
	h.Sum += time.Duration(n) * d
}

func (h *Histogram) add(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Sum += o.Sum
}

// tally is a distribution of times that are taken down often. They are counted by steps of a power of two, without a branch, which costs a
// row two nanoseconds, and put into buckets once somebody asks. What is beyond the last step counts as that.
type tally struct {
	steps [1 << 10]uint32
	shift uint8         // A step is so many units, as a power of two.
	unit  time.Duration // What is added are multiples of it,
	bias  int           // and so many more. What is less is none.
	Histogram
}

func (y *tally) at(units uint32) *uint32 {
	last := uint32(len(y.steps) - 1)
	return &y.steps[min(units>>(y.shift&31), last)&last]
}

// fold puts what was counted by steps into buckets.
func (y *tally) fold() *Histogram {
	for i, n := range y.steps {
		if n > 0 {
			y.count(time.Duration(max(0, i<<y.shift-y.bias))*y.unit, int(n))
			y.steps[i] = 0
		}
	}
	return &y.Histogram
}

// ageBias is how much later a row may have come in than the turn began that sends it, in milliseconds: it came while the turn was under way.
const ageBias = 256

// Ages are counted by steps of 4 ms up to 3.8 s, or of 128 ms up to 130 s where a window is longer than fineWindow.
const (
	fine   = 2
	coarse = 7
)

var fineWindow = beats(1500 * time.Millisecond)

// spanAges is what the ages of the rows of one span are counted in.
type spanAges struct{ fine, coarse tally }

func newAges() spanAges {
	return spanAges{tally{shift: fine, unit: time.Millisecond, bias: ageBias}, tally{shift: coarse, unit: time.Millisecond, bias: ageBias}}
}

func (a *spanAges) fold() Histogram {
	h := *a.fine.fold()
	h.add(a.coarse.fold())
	return h
}

// agesOf is where the ages of rows are counted that a conn is about to be sent.
func (s *Shard) agesOf(c *conn) *tally {
	of := RowAge
	switch {
	case c.pace.step() > 0:
		of = RowAgeSlowed
	case beat(c.interval) != s.times.interval:
		of = RowAgeAsked
	}
	if c.window() > fineWindow {
		return &s.ages[of].coarse
	}
	return &s.ages[of].fine
}

const (
	// waitsMax is how many conns the time is taken of until their snapshot comes.
	waitsMax = 1 << 10
	// waitMax is the longest of these times.
	waitMax = 10 * time.Second
)

// Answered takes down how long the subscribe has taken that was carried out last, and was read at a time: until now, when its answer is
// about to be handed to the socket with what there is of its snapshot.
func (s *Shard) Answered(id ConnID, read, now time.Time) {
	s.stats.Spans[SubscribeAck].observe(now.Sub(read))
	if s.brought {
		s.stats.Spans[SubscribeSnapshot].observe(now.Sub(read))
	}
	if s.lacking && len(s.waits) < waitsMax {
		s.waits[id] = read
	}
}

// waited takes down how long a conn has waited for a snapshot that it is sent now, if it is known. It is forgotten once there is
// nothing to wait for, or for too long.
func (s *Shard) waited(id ConnID, c *conn, sent bool) {
	since, ok := s.waits[id]
	if !ok {
		return
	}
	d := s.clock.Sub(since)
	if sent && d <= waitMax {
		s.stats.Spans[SubscribeSnapshot].observe(d)
	}
	if d > waitMax || c.topics.pending&marked == 0 {
		delete(s.waits, id)
	}
}
