// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"sync/atomic"
	"time"
)

// sampled is how many looks at rows there are for each whose time is taken.
const sampled = 64

// cost is what looking at rows has cost. begin and end are called by one goroutine at a time, the rest by any.
type cost struct {
	looks, evaluated, spent atomic.Uint64 // Rows, conditions, and nanoseconds as far as they were sampled.
}

// begin returns when a look began whose time is to be taken; else 0.
func (c *cost) begin(clock func() time.Duration) time.Duration {
	if c.looks.Add(1)%sampled != 0 {
		return 0
	}
	return clock()
}

func (c *cost) end(clock func() time.Duration, began time.Duration, conditions int) {
	c.evaluated.Add(uint64(conditions))
	if began != 0 {
		c.spent.Add(uint64(clock()-began) * sampled)
	}
}

// budget is how much of a core conditions take, by what they took in the last seconds.
type budget struct {
	at                      time.Time
	looks, evaluated, spent uint64
	share                   float64 // Of one core.
	each                    float64 // Seconds that a condition takes for a row.
	rate                    float64 // Rows a second.
}

// guess is what a condition takes before any was measured.
const guess = 200e-9

// measure brings the budget up to date, once a second or less often.
func (b *budget) measure(now time.Time, of []scratch) {
	passed := now.Sub(b.at).Seconds()
	if !b.at.IsZero() && passed < 1 {
		return
	}
	var looks, evaluated, spent uint64
	for i := range of {
		looks += of[i].cost.looks.Load()
		evaluated += of[i].cost.evaluated.Load()
		spent += of[i].cost.spent.Load()
	}
	if !b.at.IsZero() {
		took := float64(spent-b.spent) / 1e9
		b.share += (took/passed - b.share) / 2
		b.rate += (float64(looks-b.looks)/passed - b.rate) / 2
		if n := evaluated - b.evaluated; n >= sampled {
			b.each = took / float64(n)
		}
	}
	b.at, b.looks, b.evaluated, b.spent = now, looks, evaluated, spent
}

// with is the share with one more condition on all rows that are looked at.
func (b *budget) with() float64 {
	each := b.each
	if each == 0 {
		each = guess
	}
	return b.share + each*b.rate
}
