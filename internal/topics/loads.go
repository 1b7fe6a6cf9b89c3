// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// What topics cost is counted where ticks are committed, at most once for a tick and not each time that it is sent: of all that
// a loop does, the gather of rows is done most often. Each shard of the table has two tallies, of ticks and of bytes.
//
// A tick is sent to those of its topic's subscribers whose windows end before the next tick takes its place. With windows
// that end at any time, that is the part of them that the time between two ticks is of a window, and all of them if it is
// longer. So a tick counts with
//
//	bytes of its row  ×  subscribers  ×  min(time since the row before, window) / window
//
// which is what is sent, but for how windows fall, and shifted by one tick. Without the last factor it would be what
// was offered, and a topic of 100 ticks a second would seem to cost fifty times what it does.
//
// It knows nothing of windows that clients ask for, or that are made longer for slow ones. Snapshots, answers to requests and
// what screens bring are left out, as are frames and heads around rows.

// ageAfter is the time after which all that was counted counts half, in milliseconds. So rates are those of the last
// minutes, the last one the most.
const ageAfter = int64(time.Minute / time.Millisecond)

// countedMost is how many rows a shard counts in a second, as counting one reads memory that is in no cache: where more come,
// one in so many counts for all of them. Which one that is has nothing to do with the order in which topics tick.
const countedMost = 64

// loads is what a shard has counted. Under the shard's lock.
type loads struct {
	bytes, ticks tally // Times the milliseconds of a window, so that nothing is to be divided, and little is lost when it is made half.
	span         int64 // For how long that was counted until aged, in milliseconds that count half as what was counted does.
	aged         int64 // When it was made half the last time.
	seen         int64 // The time of the last call of Age.
	each         int64 // One row in so many is counted.
	counted      int64 // Rows since seen.
	random       *rand.Rand
}

// skip is how many rows there are until the next that is counted, that one included. Each of them is as likely to be
// it as any other, whatever was skipped before. So it can be drawn anew at any time.
func (l *loads) skip() uint64 {
	if l.each == 1 {
		return 1
	}
	return 1 + uint64(math.Log(1-l.random.Float64())/math.Log1p(-1/float64(l.each)))
}

// Measure is something of which topics have more or less.
type Measure uint8

const (
	ByBytes       Measure = iota // Sent to clients.
	BySubscribers                // That a topic has now.
	ByTicks                      // Those that became its row.
)

// Load is what one topic costs.
type Load struct {
	Topic        string
	Subscribers  int // Who holds it, the screens that cover it as one.
	Bytes, Ticks Amount
	Share        float64 // Its part of all topics', by the measure that was asked for.
}

// Amount is how much of something there was in the last minutes: all that is older than a minute counts half, than two a
// quarter, and so on. Of that at most Over is others', see tally. Noise is three standard deviations of what was counted
// where not every row was, else 0.
type Amount struct{ Sum, Over, Noise, PerSecond float64 }

// due is how much of a window a row has to itself, in milliseconds. last is when the row before it came in, 0 for none.
func (t *Table) due(last, at int64) uint64 {
	if last == 0 {
		return uint64(t.window)
	}
	return uint64(min(max(at-last, 0), t.window))
}

// weigh counts a row of a topic, or skips it. due is from before the topic took note of the tick. The caller holds s.mu.
func (t *Table) weigh(s *shard, local uint32, row *Row, due uint64) {
	if s.skip--; s.skip == 0 { // Without a window it never is.
		t.count(s, local, row, due)
	}
}

// count counts a row for all that were skipped too.
func (t *Table) count(s *shard, local uint32, row *Row, due uint64) {
	const comma = 1
	tp, p, l := &s.topics[local], s.places(local), &s.loads
	each := uint64(l.each)
	noise := func(weight uint64) float32 { return float32(weight) * float32(weight) * float32(1-1/float64(each)) }
	tick := each * uint64(t.window)
	bytes, ticks := p.bytes(), l.ticks.add(p.ticks(), local, tp.name, tick, noise(tick))
	if w := each * (uint64(row.size) + comma) * uint64(tp.subscribers) * due; w > 0 {
		bytes = l.bytes.add(bytes, local, tp.name, w, noise(w))
	}
	p.set(bytes, ticks)
	l.counted++
	s.skip = l.skip()
}

// unweigh notes that a topic is gone, whose index is free. The caller holds s.mu.
func (s *shard) unweigh(local uint32) {
	p := s.places(local)
	s.loads.bytes.leave(p.bytes(), local)
	s.loads.ticks.leave(p.ticks(), local)
	*p = places{}
}

// Age has what was counted count less as it gets older, and decides how many rows are counted. at is of the clock of
// [Meta.At]. It wants to be called about once a second.
func (t *Table) Age(at int64) {
	if t.window == 0 {
		return
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		l := &s.loads
		if l.aged == 0 {
			l.aged, l.seen = at, at
		}
		if passed := at - l.seen; passed > 0 {
			l.each = min(max(l.counted*l.each*1000/(countedMost*passed), 1), 1<<20)
			l.seen, l.counted, s.skip = at, 0, l.skip()
		}
		if at-l.aged >= ageAfter {
			l.bytes.halve()
			l.ticks.halve()
			l.span, l.aged = (l.span+at-l.aged)/2, at
		}
		s.mu.Unlock()
	}
}

// Top returns the n topics that have the most by a measure, of those that keep wants, with those that have it
// first. A topic that was given up, and is held again, was another. It takes some milliseconds, or as long as [Table.AppendNames]
// if it is by subscribers. Nothing is counted without Config.Window.
func (t *Table) Top(by Measure, n int, keep func(topic string) bool) []Load {
	b := best{by: by, n: n, keep: keep}
	var total float64
	var r reading
	for i := range t.shards {
		s := &t.shards[i]
		r.read(t, s)
		switch by {
		case BySubscribers:
			for local, more := uint32(0), true; more; local += watchStretch {
				more = s.subscribed(r.note, local)
				for _, of := range r.noted {
					b.offer(r.load(of.name, of.subscribers))
				}
				r.noted = r.noted[:0]
			}
			continue
		case ByBytes:
			total += r.bytes.total
		case ByTicks:
			total += r.ticks.total
		}
		for name := range r.of {
			b.offer(r.load(name, 0))
		}
	}
	top := b.sorted()
	for i := range top {
		of := &top[i]
		if by == BySubscribers {
			total = float64(t.Subscriptions())
		} else {
			of.Subscribers = t.subscribersOf(of.Topic)
		}
		if total > 0 {
			of.Share = b.amount(of) / total
		}
	}
	return top
}

// subscribersOf is how many subscribers a topic has, if the table holds it.
func (t *Table) subscribersOf(name string) int {
	s := t.shardOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if local, ok := s.ids[name]; ok {
		return int(s.topics[local].subscribers)
	}
	return 0
}

// reading is a copy of what one shard has counted, so that its lock is held only to make it.
type reading struct {
	bytes, ticks copied
	seconds      float64
	of           map[string]int // Indices of all, by name.
	all          [][2]Amount    // Bytes and ticks.
	noted        []struct {
		name        string
		subscribers int
	}
}

// copied is a copy of a tally.
type copied struct {
	counters     []counter
	total, least float64
}

func (c *copied) of(y *tally) {
	c.counters = append(c.counters[:0], y.counters...)
	c.total, c.least = float64(y.total), float64(y.least())
}

func (r *reading) read(t *Table, s *shard) {
	s.mu.Lock()
	l := &s.loads
	r.bytes.of(&l.bytes)
	r.ticks.of(&l.ticks)
	// Less than a second is no time from which to say what there is in a second.
	r.seconds = float64(max(l.span+max(l.seen, s.tickAt)-l.aged, 1000)) / 1000
	s.mu.Unlock()
	if r.of == nil {
		r.of = make(map[string]int)
	}
	clear(r.of)
	r.all = r.all[:0]
	r.enter(0, &r.bytes, float64(max(t.window, 1)))
	r.enter(1, &r.ticks, float64(max(t.window, 1)))
}

// enter puts one of the two copies into all. Counts of a topic that was gone for a while are two, and are put together.
func (r *reading) enter(i int, from *copied, unit float64) {
	from.total /= unit
	from.least /= unit
	for _, c := range from.counters {
		if c.count == c.over {
			continue
		}
		at, ok := r.of[c.name]
		if !ok {
			at = len(r.all)
			r.of[c.name], r.all = at, append(r.all, [2]Amount{})
		}
		a := &r.all[at][i]
		a.Sum += float64(c.count) / unit
		a.Over += float64(c.over) / unit
		a.Noise = math.Hypot(a.Noise, 3*math.Sqrt(float64(c.noise))/unit)
	}
}

// note is for [shard.subscribed].
func (r *reading) note(name string, subscribers int) {
	r.noted = append(r.noted, struct {
		name        string
		subscribers int
	}{name, subscribers})
}

// load is what is known of a topic of the shard. What has no counter may have had as much as the lowest of them.
func (r *reading) load(name string, subscribers int) Load {
	of := Load{Topic: name, Subscribers: subscribers}
	if at, ok := r.of[name]; ok {
		of.Bytes, of.Ticks = r.all[at][0], r.all[at][1]
	}
	for _, a := range []struct {
		*Amount
		from *copied
	}{{&of.Bytes, &r.bytes}, {&of.Ticks, &r.ticks}} {
		if a.Sum == 0 {
			a.Sum, a.Over = a.from.least, a.from.least
		}
		a.PerSecond = a.Sum / r.seconds
	}
	return of
}

// best keeps the n loads that are the highest by a measure.
type best struct {
	by   Measure
	n    int
	keep func(topic string) bool
	top  []Load
	bar  float64 // What is below is not among them.
}

func (b *best) amount(of *Load) float64 {
	switch b.by {
	case BySubscribers:
		return float64(of.Subscribers)
	case ByTicks:
		return of.Ticks.Sum
	}
	return of.Bytes.Sum
}

func (b *best) offer(of Load) {
	if amount := b.amount(&of); amount <= 0 || amount < b.bar || !b.keep(of.Topic) {
		return
	}
	if b.top = append(b.top, of); len(b.top) >= 2*b.n+100 {
		b.top = b.sorted()
		b.bar = b.amount(&b.top[len(b.top)-1])
	}
}

func (b *best) sorted() []Load {
	slices.SortFunc(b.top, func(x, y Load) int {
		return cmp.Or(cmp.Compare(b.amount(&y), b.amount(&x)), cmp.Compare(x.Topic, y.Topic))
	})
	return b.top[:min(b.n, len(b.top))]
}
