// SPDX-License-Identifier: Apache-2.0

package topics

import "math"

// tallyMax is how many topics a tally counts at a time. It is 48 bytes for each of them, so 1.5 MB for the two
// tallies of all shards, 3.6 MB if all names are long and of topics that are gone. Few topics take little of that.
const tallyMax = 1024

// nobody is the local index of what is counted of a topic that is gone.
const nobody = math.MaxUint32

// tally finds the topics that have the most of something, in memory that is bounded whatever topics there are:
// Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
// 2005). Each topic has a counter, until all are taken. A topic without one then takes the lowest from its topic,
// and goes on from what that had, which may be another's. So, with total the sum of all that was added,
//
//	what a topic has  <=  count  <=  what it has + over
//
// a topic without a counter has no more than the lowest count, which is at most total/tallyMax, and who has more than
// that has a counter. While there are no more topics than counters all is exact.
//
// The owner keeps a place for each topic, which says where its counter was when it was looked at last, so an addition
// to a topic that has a counter looks for nothing. The lowest is found by a heap that is put in order only when
// somebody asks: an addition raises a count and leaves its floor as it is.
type tally struct {
	counters []counter
	heap     []uint16 // Indices of counters, the lowest floor first. Nil while there are counters to be had.
	total    uint64
}

type counter struct {
	name  string
	count uint64
	over  uint64  // At most so much of count is other topics'.
	floor uint64  // What count was when the heap was put in order: not above count.
	local uint32  // Of the topic in its shard, nobody if it is gone.
	noise float32 // The variance of what was added to count, where that was an estimate.
}

// A place is 0 for none, or an index of a counter and one. It may be out of date.
const _ = uint(1<<12 - 1 - tallyMax) // It fits into 12 bits, see places.

// add adds to what a topic has, and returns the place of its counter. noise is the variance of weight, 0 if it is exact.
func (y *tally) add(place int, local uint32, name string, weight uint64, noise float32) (newPlace int) {
	y.total += weight
	if place != 0 && y.counters[place-1].local == local {
		c := &y.counters[place-1]
		c.count += weight
		c.noise += noise
		return place
	}
	return y.admit(counter{name: name, count: weight, local: local, noise: noise})
}

// admit gives a topic without a counter one, with what it has.
func (y *tally) admit(of counter) (place int) {
	if n := len(y.counters); n < tallyMax {
		if n == cap(y.counters) { // To what append would make of it, less than half might be used.
			y.counters = append(make([]counter, 0, min(max(2*n, 16), tallyMax)), y.counters...)
		}
		y.counters = append(y.counters, of)
		return n + 1
	}
	i := y.lowest()
	c := &y.counters[i]
	of.count, of.over, of.floor = of.count+c.count, c.count, c.floor
	*c = of
	return int(i) + 1
}

// lowest is the counter with the lowest count. All have to be taken.
func (y *tally) lowest() uint16 {
	if y.heap == nil {
		y.heap = make([]uint16, len(y.counters))
		for i := range y.heap {
			y.heap[i] = uint16(i)
			y.counters[i].floor = y.counters[i].count
		}
		for i := len(y.heap)/2 - 1; i >= 0; i-- {
			y.down(i)
		}
	}
	for {
		c := &y.counters[y.heap[0]]
		if c.floor == c.count {
			return y.heap[0]
		}
		c.floor = c.count
		y.down(0)
	}
}

// down moves a counter of the heap down to its place.
func (y *tally) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(y.heap) {
			return
		}
		if right := child + 1; right < len(y.heap) && y.floor(right) < y.floor(child) {
			child = right
		}
		if y.floor(i) <= y.floor(child) {
			return
		}
		y.heap[i], y.heap[child] = y.heap[child], y.heap[i]
		i = child
	}
}

func (y *tally) floor(i int) uint64 { return y.counters[y.heap[i]].floor }

// least is what a topic without a counter may have at most.
func (y *tally) least() uint64 {
	if len(y.counters) < tallyMax {
		return 0
	}
	return y.counters[y.lowest()].count
}

// leave notes that a topic is gone. What it had stays counted. Its index may be another topic's from now on.
func (y *tally) leave(place int, local uint32) {
	if place != 0 && y.counters[place-1].local == local {
		y.counters[place-1].local = nobody
	}
}

// halve has all that was added so far count half. Counts are rounded up, and what is sure of them down, so that
// the bounds hold; a higher count stays the higher one, so the heap stays in order.
func (y *tally) halve() {
	y.total -= y.total / 2
	for i := range y.counters {
		c := &y.counters[i]
		sure := (c.count - c.over) / 2
		c.count -= c.count / 2
		c.floor -= c.floor / 2
		c.over = c.count - sure
		c.noise /= 4
		if c.local == nobody && sure == 0 {
			c.name = "" // It is not to be kept for what nobody will be told.
		}
	}
}

// places are the places of a topic in the two tallies of its shard, of 12 bits each: with 4 bytes, a chunk would be of the
// next larger size.
type places [3]byte

func (p *places) bytes() int { return int(p[0]) | int(p[2]&15)<<8 }

func (p *places) ticks() int { return int(p[1]) | int(p[2]>>4)<<8 }

func (p *places) set(bytes, ticks int) {
	*p = places{byte(bytes), byte(ticks), byte(bytes>>8) | byte(ticks>>8)<<4}
}
