// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"tickedge/internal/bars"
)

// Most bars of a page are those of the page before it. So a page is packed by blocks: bars whose starts are in the same 64
// lengths of their interval. A block is found by a hash of all that its bars say, and so never says what they no longer do: a
// bar that is revised makes another block, and another ETag.

const (
	blockBars = 64
	// blockLeast is how many bars there are in a block that is kept: fewer, of a time with gaps, are no work.
	blockLeast = 16
)

// sum is a hash of what the bars of a part say.
type sum [sha256.Size]byte

// part is some bars of a page that follow each other. Those of a block are the same in each page that has them.
type part struct {
	bars  []bars.Bar
	block bool
	sum   sum
}

// partsOf divides bars into parts, the same ones whatever is kept. The first and the last bars are in no block: a page begins
// and ends inside of one.
func partsOf(all []bars.Bar, f form, parts []part, work []byte) ([]part, []byte) {
	group := func(b *bars.Bar) int64 { return b.Start / (blockBars * b.Interval.Millis) }
	loose := 0 // Where the bars begin that are in no part yet.
	add := func(from, to int, block bool) {
		if from < to {
			p := part{bars: all[from:to], block: block}
			p.sum, work = sumOf(p.bars, f, work)
			parts = append(parts, p)
		}
	}
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && group(&all[to]) == group(&all[from]) {
			to++
		}
		if from > 0 && to < len(all) && to-from >= blockLeast {
			add(loose, from, false)
			add(from, to, true)
			loose = to
		}
		from = to
	}
	add(loose, len(all), false)
	return parts, work
}

// sumOf hashes all that a form says of bars. work is memory that it uses, and returns.
func sumOf(all []bars.Bar, f form, work []byte) (sum, []byte) {
	work = append(work[:0], byte(f))
	for i := range all {
		b := &all[i]
		work = append(work, b.Symbol.PriceScale, b.Symbol.SizeScale)
		for _, v := range [...]uint64{uint64(b.Start), uint64(b.Open), uint64(b.High), uint64(b.Low), uint64(b.Close), b.Volume.Hi, b.Volume.Lo,
			b.Turnover.Hi, b.Turnover.Lo, uint64(b.Count), uint64(b.Rev)} {
			work = binary.LittleEndian.AppendUint64(work, v)
		}
	}
	return sha256.Sum256(work), work
}

// blocks keeps packed blocks, as many as there is room for. The one that was not asked for for the longest time goes first.
type blocks struct {
	most int // Bytes.

	mu    sync.Mutex
	has   map[sum]*list.Element // Of *keptBlock.
	used  *list.List            // The one that was asked for last is in front.
	bytes int
}

type keptBlock struct {
	sum sum
	packed
}

// blockBytes is what a block takes beside what is packed.
const blockBytes = 300

func newBlocks(most int) *blocks {
	return &blocks{most: cmp.Or(most, 32<<20), has: make(map[sum]*list.Element), used: list.New()}
}

// get returns a block, which is to be read only.
func (c *blocks) get(s *sum) (p packed, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.has[*s]
	if e == nil {
		return p, false
	}
	c.used.MoveToFront(e)
	return e.Value.(*keptBlock).packed, true
}

func (c *blocks) put(s *sum, p packed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has[*s] != nil {
		return // Two have packed the same.
	}
	c.has[*s] = c.used.PushFront(&keptBlock{*s, p})
	c.bytes += blockBytes + len(p.deflated)
	for c.bytes > c.most {
		last := c.used.Remove(c.used.Back()).(*keptBlock)
		delete(c.has, last.sum)
		c.bytes -= blockBytes + len(last.deflated)
	}
}
