// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Where the edge looks for ticks if it is told nothing else.
const (
	channelPrefix = "channel:prices:"
	keyPrefix     = "price:"
)

// timeSize is how many digits Unix milliseconds have, until the year 2286.
const timeSize = 13

// ring is the commands of one round over all topics, as they are written. The topics
// follow one another in an order drawn by chance, so that neither Redis nor the edge finds
// the next one where it has just been. Owned by one goroutine.
type ring struct {
	text []byte
	of   []tick
	next int // The tick that comes next.
}

// tick is the commands of one topic.
type tick struct {
	end   int // In text. They begin where those before end.
	times [2]int
}

func newRing(c *config) *ring {
	r := &ring{of: make([]tick, 0, c.topics)}
	rng := rand.New(rand.NewPCG(c.seed, 1))
	for _, i := range rng.Perm(c.topics) {
		name := fmt.Sprintf(c.name, i)
		cents := 1000 + rng.IntN(100_000)
		price := func(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
		head := fmt.Sprintf(`{"p":%s,"b":%s,"a":%s,"ts":`, price(cents), price(cents-1), price(cents+1))
		value := head + "0000000000000}"
		var t tick
		if c.set {
			r.add("MULTI")
			r.add("SET", keyPrefix+name, value)
			t.times[1] = r.lastTime()
		}
		r.add("PUBLISH", channelPrefix+name, value)
		t.times[0] = r.lastTime()
		if c.set {
			r.add("EXEC")
		} else {
			t.times[1] = t.times[0]
		}
		t.end = len(r.text)
		r.of = append(r.of, t)
	}
	return r
}

// add appends a command, in the form that Redis takes (RESP2, an array of strings).
func (r *ring) add(words ...string) {
	r.text = append(r.text, '*')
	r.text = strconv.AppendInt(r.text, int64(len(words)), 10)
	for _, w := range words {
		r.text = append(r.text, "\r\n$"...)
		r.text = strconv.AppendInt(r.text, int64(len(w)), 10)
		r.text = append(r.text, "\r\n"...)
		r.text = append(r.text, w...)
	}
	r.text = append(r.text, "\r\n"...)
}

// lastTime is where the time stands in the command that was added last: at the end of its
// value.
func (r *ring) lastTime() int { return len(r.text) - len("}\r\n") - timeSize }

// take returns the commands of the next n ticks, dated now, and how many these are: fewer
// at the end of the ring. They are good until the next call.
func (r *ring) take(n int, now time.Time) (text []byte, taken int) {
	if r.next == len(r.of) {
		r.next = 0
	}
	from := 0
	if r.next > 0 {
		from = r.of[r.next-1].end
	}
	of := r.of[r.next:min(r.next+n, len(r.of))]
	var digits [timeSize]byte
	strconv.AppendInt(digits[:0], now.UnixMilli(), 10)
	for i := range of {
		copy(r.text[of[i].times[0]:], digits[:])
		copy(r.text[of[i].times[1]:], digits[:])
	}
	r.next += len(of)
	return r.text[from:of[len(of)-1].end], len(of)
}
