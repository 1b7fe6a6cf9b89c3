// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Values that move have the change of a day in percent, from 0 to 9.99, and the volume of a day, in numbers that are always as
// long: they are written over those before. Each is a walk by chance that turns back at its ends, so that in the long run a value
// is anywhere between them with the same likelihood.
const (
	pctEnd, pctStep   = 1000, 5 // Hundredths of a percent.
	volBegin, volEnd  = 1_000_000, 10_000_000
	volStep           = 20_000
	volKey, changeKey = `,"v":`, `,"chg":1.01,"chg_pct":`
	pctSize, volSize  = len("1.23"), len("1234567")
	// Where the two begin, before the time.
	pctBefore = len(timeKey) + pctSize
	volBefore = pctBefore + len(changeKey) + volSize
)

// moves is where the value of a topic is.
type moves struct{ pct, vol int }

// begin draws where a value is first, and returns its text.
func (m *moves) begin(rng *rand.Rand, ver bool) string {
	m.pct, m.vol = rng.IntN(pctEnd), volBegin+rng.IntN(volEnd-volBegin)
	cents := 10_000 + rng.IntN(90_000) // The text of all values is as long.
	price := func(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
	text := fmt.Sprintf(`{"p":%s,"q":0.0125,"b":%s,"a":%s,"o":%s,"h":%s,"l":%s%s%d%s0.00`, price(cents), price(cents-1), price(cents+1),
		price(cents-101), price(cents+99), price(cents-299), volKey, m.vol, changeKey)
	return ended(text, ver)
}

// move is one step.
func (m *moves) move(rng *rand.Rand) {
	m.pct = step(rng, m.pct, pctStep, 0, pctEnd)
	m.vol = step(rng, m.vol, volStep, volBegin, volEnd)
}

// step moves n by up to most, within [low, end).
func step(rng *rand.Rand, n, most, low, end int) int {
	n += rng.IntN(2*most+1) - most
	switch {
	case n < low:
		n = 2*low - 1 - n
	case n >= end:
		n = 2*end - 1 - n
	}
	return n
}

// write writes the numbers into a text that ends before the time.
func (m *moves) write(text []byte) {
	pct := text[len(text)-pctBefore:]
	pct[0], pct[2], pct[3] = '0'+byte(m.pct/100), '0'+byte(m.pct/10%10), '0'+byte(m.pct%10)
	strconv.AppendInt(text[:len(text)-volBefore], int64(m.vol), 10)
}
