// SPDX-License-Identifier: Apache-2.0

package bare

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Market is a source of ticks for runs without a Redis. Its values have the form and
// the length of those that tickgen publishes, so that frames have the same size.
// Owned by one goroutine.
type Market struct {
	rng    *rand.Rand
	prices []int64 // In cents.
	period time.Duration
	done   time.Time // Ticks up to here were handed out.
	buf    []byte
}

// NewMarket returns a market of so many topics, with rate ticks per second in all.
func NewMarket(topics int, rate float64, now time.Time) *Market {
	m := &Market{
		rng:    rand.New(rand.NewPCG(1, 2)),
		prices: make([]int64, topics),
		period: time.Duration(float64(time.Second) / rate),
		done:   now,
	}
	for i := range m.prices {
		m.prices[i] = 1000 + m.rng.Int64N(49000)
	}
	return m
}

// Due is how many ticks there are to be made at now.
func (m *Market) Due(now time.Time) int {
	n := max(now.Sub(m.done)/m.period, 0)
	m.done = m.done.Add(n * m.period)
	return int(n)
}

// Topic draws the topic of the next tick.
func (m *Market) Topic() int { return m.rng.IntN(len(m.prices)) }

// Tick makes a tick of a topic. Its value is good until the next call.
func (m *Market) Tick(topic int, now int64) (value []byte) {
	p := max(m.prices[topic]+m.rng.Int64N(5)-2, 1000)
	m.prices[topic] = p
	b := append(m.buf[:0], `{"p":`...)
	b = appendCents(b, p)
	b = append(b, `,"b":`...)
	b = appendCents(b, p-1)
	b = append(b, `,"a":`...)
	b = appendCents(b, p+1)
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, now, 10)
	m.buf = append(b, '}')
	return m.buf
}

func appendCents(b []byte, p int64) []byte {
	b = strconv.AppendInt(b, p/100, 10)
	return append(b, '.', byte('0'+p/10%10), byte('0'+p%10))
}

// Names returns the names of a universe of topics: pattern with the numbers from 0,
// as bench names them.
func Names(pattern string, universe int) ([]string, error) {
	if universe < 1 || universe > universeMax {
		return nil, fmt.Errorf("-universe %d: want 1 to %d, such as -universe 1000", universe, universeMax)
	}
	names := make([]string, universe)
	for i := range names {
		names[i] = fmt.Sprintf(pattern, i)
	}
	if last := names[universe-1]; len(last) > nameMax || universe > 1 && last == names[0] {
		return nil, fmt.Errorf("-topic-name %s: gives the name %q; want one %%d in it, such as -topic-name SYM%%04d", pattern, last)
	}
	return names, nil
}
