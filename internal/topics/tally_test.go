// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"unsafe"
)

// checkTally fails the test unless a tally is within its bounds and in order.
func checkTally(t testing.TB, y *tally) {
	t.Helper()
	if len(y.counters) > tallyMax || cap(y.counters) > tallyMax || y.heap != nil && (len(y.heap) != tallyMax || cap(y.heap) != tallyMax) {
		t.Fatalf("%d counters in room for %d, %d in the heap, want %d at most", len(y.counters), cap(y.counters), len(y.heap), tallyMax)
	}
	owners := make(map[uint32]bool)
	for i, c := range y.counters {
		if c.over > c.count || c.floor > c.count && y.heap != nil {
			t.Fatalf("counter %d is %+v", i, c)
		}
		if c.local != nobody && owners[c.local] {
			t.Fatalf("topic %d has two counters", c.local)
		}
		owners[c.local] = true
	}
	seen := make(map[uint16]bool)
	for i, at := range y.heap {
		if seen[at] || y.floor(i) < y.floor(max(0, (i-1)/2)) {
			t.Fatalf("the heap is not in order at %d, or has a counter twice", i)
		}
		seen[at] = true
	}
}

// checkLoads holds what a shard has counted to its topics.
func checkLoads(t testing.TB, s *shard) {
	t.Helper()
	checkTally(t, &s.loads.bytes)
	checkTally(t, &s.loads.ticks)
	for i, y := range []*tally{&s.loads.bytes, &s.loads.ticks} {
		for _, c := range y.counters {
			if c.local == nobody {
				continue
			}
			p := s.places(c.local)
			place := []int{p.bytes(), p.ticks()}[i]
			if s.topics[c.local].name != c.name || place == 0 || y.counters[place-1].local != c.local {
				t.Fatalf("tally %d counts for %q, whose index is that of %q, with the place %d", i, c.name, s.topics[c.local].name, place)
			}
		}
	}
}

// exact counts what a tally counts, of any number of topics.
type exact struct {
	tally
	t      *testing.T
	places map[uint32]int
	has    map[string]float64 // By the name of a topic, which no later topic has.
	names  map[uint32]string  // Of those that are not gone.
	total  float64
	halved int
}

func (e *exact) add(local uint32, weight uint64) {
	name, ok := e.names[local]
	if !ok {
		name = fmt.Sprintf("%d of %d", len(e.has), local)
		e.names[local] = name
	}
	e.places[local] = e.tally.add(e.places[local], local, name, weight, 0)
	e.has[name] += float64(weight)
	e.total += float64(weight)
}

func (e *exact) leave(local uint32) {
	e.tally.leave(e.places[local], local)
	delete(e.places, local)
	delete(e.names, local)
}

func (e *exact) halve() {
	e.tally.halve()
	for name := range e.has {
		e.has[name] /= 2
	}
	e.total /= 2
	e.halved++
}

// check holds each topic to what the tally promises. Rounding adds less than one to a count.
func (e *exact) check() {
	e.t.Helper()
	checkTally(e.t, &e.tally)
	part := e.total/tallyMax + 1
	if least := float64(e.least()); least > part {
		e.t.Fatalf("the lowest count is %v, of %v in all", least, e.total)
	}
	if math.Abs(float64(e.tally.total)-e.total) > 1 {
		e.t.Fatalf("the total is %d, want %v", e.tally.total, e.total)
	}
	counted := make(map[string]bool)
	for _, c := range e.counters {
		if c.name == "" {
			continue
		}
		counted[c.name] = true
		has, count, over := e.has[c.name], float64(c.count), float64(c.over)
		switch {
		case has > count || count > has+over+1e-6:
			e.t.Fatalf("%q has %v, the count is %v and at most %v too high", c.name, has, count, over)
		case over > part:
			e.t.Fatalf("the count of %q may be %v too high, of %v in all", c.name, over, e.total)
		case e.halved == 0 && len(e.has) <= tallyMax && over != 0:
			e.t.Fatalf("the count of %q may be too high though there is room for all", c.name)
		}
	}
	for name, has := range e.has {
		if !counted[name] && has > max(float64(e.least()), 2) {
			e.t.Fatalf("%q has %v of %v and no counter; the lowest is %d", name, has, e.total, e.least())
		}
		if !counted[name] && has > part+1 {
			e.t.Fatalf("%q has %v, more than a part in %d of %v, and no counter", name, has, tallyMax, e.total)
		}
	}
}

// Whatever comes in whatever order, each count is what is promised of it.
func TestTallyAgainstExactCounts(t *testing.T) {
	for _, topics := range []uint64{1, tallyMax, tallyMax + 1, 5 * tallyMax, 100 * tallyMax} {
		for _, skew := range []float64{1.01, 1.5} {
			t.Run(fmt.Sprintf("%d topics, %v", topics, skew), func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				random := rand.New(rand.NewPCG(seed, 0))
				zipf := rand.NewZipf(random, skew, 4, topics-1)
				e := &exact{t: t, places: make(map[uint32]int), has: make(map[string]float64), names: make(map[uint32]string)}
				for i := range 30 * tallyMax {
					e.add(uint32(zipf.Uint64()), random.Uint64N(3)*random.Uint64N(1000)+1)
					switch {
					case i%5000 == 4999:
						e.check()
						if i > 20*tallyMax { // All of the above holds exactly before that.
							e.halve()
							e.check()
						}
					case i > 10*tallyMax && random.IntN(50) == 0:
						e.leave(uint32(zipf.Uint64()))
					}
				}
				e.check()
			})
		}
	}
}

// All take turns, which is what is worst for who counts few: the lowest gives way each time. One that has a tenth stands out.
func TestTallyUnderTurns(t *testing.T) {
	t.Parallel()
	e := &exact{t: t, places: make(map[uint32]int), has: make(map[string]float64), names: make(map[uint32]string)}
	const others = 20 * tallyMax
	for i := range 4 * others {
		e.add(uint32(1+i%others), 9)
		e.add(0, 1)
	}
	e.check()
	first, most := 0, uint64(0)
	for i, c := range e.counters {
		if c.count > most {
			first, most = i, c.count
		}
	}
	if c := e.counters[first]; c.local != 0 || c.over != 0 || c.count != 4*others {
		t.Errorf("the first is %+v, want topic 0 with %d", c, 4*others)
	}
}

// What is counted dies away, and what is gone leaves no name behind.
func TestTallyForgets(t *testing.T) {
	t.Parallel()
	var y tally
	place := y.add(0, 7, "gone", 1000, 0)
	y.add(0, 8, "stays", 1000, 0)
	y.leave(place, 7)
	for range 20 {
		y.halve()
	}
	if c := y.counters[0]; c.name != "" || c.local != nobody || c.count-c.over != 0 {
		t.Errorf("of what is gone there is %+v", c)
	}
	if c := y.counters[1]; c.name != "stays" || c.count-c.over != 0 || y.total != 1 {
		t.Errorf("of the other there is %+v of %d", c, y.total)
	}
	y.leave(place, 7) // Nothing is left to leave.
	if y.add(2, 8, "stays", 5, 0) != 2 || y.counters[1].count-y.counters[1].over != 5 {
		t.Errorf("it has %+v after 5 more", y.counters[1])
	}
}

// Two places of 12 bits stand in three bytes.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, bytes := range []int{0, 1, 255, 256, tallyMax} {
		for _, ticks := range []int{0, 1, 255, 256, tallyMax} {
			var p places
			if p.set(bytes, ticks); p.bytes() != bytes || p.ticks() != ticks {
				t.Errorf("%d, %d became %d, %d", bytes, ticks, p.bytes(), p.ticks())
			}
		}
	}
}

// A million topics that come, tick and go take as much memory as is told at tallyMax, and no more.
func TestLoadsAreBounded(t *testing.T) {
	const names = 1_000_000
	tb := New(Config{Max: 100, Window: window})
	long := make([]byte, NameMax)
	for i := range long {
		long[i] = 'x'
	}
	for i := range names {
		name := strconv.AppendInt(long[:NameMax-8], int64(10_000_000+i), 10)
		id, err := tb.Acquire(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		tb.Changes(0, nil, all)
		tb.Publish(string(name), "1", Meta{At: int64(i)})
		tb.Release(id, at(0))
		tb.Sweep(at(linger))
	}
	check(t, tb)
	size, counted := 0, 0
	for i := range tb.shards {
		for _, y := range []*tally{&tb.shards[i].loads.bytes, &tb.shards[i].loads.ticks} {
			size += cap(y.counters)*int(unsafe.Sizeof(counter{})) + 2*cap(y.heap)
			for _, c := range y.counters {
				size += len(c.name)
			}
			counted += len(y.counters)
		}
	}
	if want := 2 * (shardMask + 1) * tallyMax; counted != want {
		t.Errorf("%d topics are counted, want %d: all counters taken", counted, want)
	}
	if size > 4<<20 {
		t.Errorf("%d bytes", size)
	}
	if top := tb.Top(ByTicks, 10, func(string) bool { return true }); len(top) != 10 || top[0].Subscribers != 0 {
		t.Errorf("%+v", top)
	}
}
