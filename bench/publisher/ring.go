// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Where the edge looks for ticks in Redis if it is told nothing else.
const (
	channelPrefix = "channel:prices:"
	keyPrefix     = "price:"
)

// Values end with a time in Unix milliseconds, which has so many digits until the year 2286, and
// perhaps with a version in microseconds.
const (
	timeKey    = `,"ts":`
	timeSize   = len("1234567890123")
	versionKey = `,"ver":`
	versionAt  = timeSize + len(versionKey)
	versionEnd = versionAt + timeSize + 3
)

// ring is the commands of one round over all topics, as they are written. The topics
// follow one another in an order drawn by chance, so that neither the broker nor the edge finds
// the next one where it has just been; those that are wanted come at even distances. Owned by one
// goroutine.
type ring struct {
	text   []byte
	of     []tick
	ver    bool
	moving *rand.Rand // Draws how values move; nil if they do not.
	next   int        // The tick that comes next.
	wanted uint64     // Messages taken that are wanted.
}

// tick is the commands of one topic.
type tick struct {
	name        string
	end         int // In text. They begin where those before end.
	value, size int // The value in the message.
	times       [2]int
	moves
	wanted, sent bool
}

func newRing(c *config) *ring {
	r := &ring{of: make([]tick, 0, c.topics), ver: c.ver}
	rng := rand.New(rand.NewPCG(c.seed, 1))
	wanted, others := rng.Perm(c.wanted), rng.Perm(c.topics-c.wanted)
	for turn := range c.topics {
		t := tick{wanted: (turn+1)*c.wanted/c.topics > turn*c.wanted/c.topics}
		if t.wanted {
			t.name, wanted = fmt.Sprintf(c.name, wanted[0]), wanted[1:]
		} else {
			t.name, others = fmt.Sprintf(c.name, c.wanted+others[0]), others[1:]
		}
		text := value(rng, c.ver)
		if c.moving {
			text = t.moves.begin(rng, c.ver)
		}
		r.add(c, t, text)
	}
	if c.moving {
		r.moving = rng
	}
	return r
}

// value is a value, whose times are not set.
func value(rng *rand.Rand, ver bool) string {
	cents := 1000 + rng.IntN(100_000)
	price := func(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
	return ended(fmt.Sprintf(`{"p":%s,"b":%s,"a":%s`, price(cents), price(cents-1), price(cents+1)), ver)
}

// ended ends a value with its times, which are not set.
func ended(text string, ver bool) string {
	text += timeKey + "0000000000000"
	if ver {
		text += versionKey + "0000000000000000"
	}
	return text + "}"
}

// add appends the commands of a tick.
func (r *ring) add(c *config, t tick, value string) {
	tail := timeSize + len("}\r\n")
	if c.ver {
		tail = versionEnd + len("}\r\n")
	}
	switch {
	case c.nats:
		reply := ""
		if c.acked {
			reply = natsInbox + " "
		}
		r.text = fmt.Appendf(r.text, "PUB %s%s %s%d\r\n%s\r\n", c.subject, t.name, reply, len(value), value)
		t.times[0] = len(r.text) - tail
		t.times[1] = t.times[0]
	case c.set:
		r.command("MULTI")
		r.command("SET", keyPrefix+t.name, value)
		t.times[1] = len(r.text) - tail
		fallthrough
	default:
		r.command("PUBLISH", channelPrefix+t.name, value)
		t.times[0] = len(r.text) - tail
		if c.set {
			r.command("EXEC")
		} else {
			t.times[1] = t.times[0]
		}
	}
	t.size, t.end = len(value), len(r.text)
	t.value = t.times[0] + tail - len("\r\n") - t.size
	r.of = append(r.of, t)
}

// command appends a command, in the form that Redis takes (RESP2, an array of strings).
func (r *ring) command(words ...string) {
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
	var digits [timeSize + 3]byte
	strconv.AppendInt(digits[:0], now.UnixMicro(), 10)
	for i := range of {
		if r.moving != nil {
			of[i].move(r.moving)
		}
		for _, at := range of[i].times {
			if r.moving != nil {
				of[i].write(r.text[:at])
			}
			copy(r.text[at:], digits[:timeSize])
			if r.ver {
				copy(r.text[at+versionAt:], digits[:])
			}
		}
		of[i].sent = true
		if of[i].wanted {
			r.wanted++
		}
	}
	r.next += len(of)
	return r.text[from:of[len(of)-1].end], len(of)
}
