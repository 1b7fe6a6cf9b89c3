// SPDX-License-Identifier: Apache-2.0

package fanout

import "tickedge/internal/topics"

// An entry is one topic of a cursor: the topic's id and, in its top two bits, a mark
// that says what of the topic the cursor has been sent.
type entry uint32

// The marks. What a cursor has seen of a topic decides from which sequence on a row
// is news to it.
const (
	plain   entry = iota << 30 // Sent up to Cursor.served.
	snapped                    // Its snapshot was sent after that: up to Cursor.snapped.
	owed                       // It had a row when it was subscribed; its snapshot is to be sent. Updates leave it out.
	awaited                    // It had no row when it was subscribed, and nothing was sent.

	markMask entry = 3 << 30
)

const _ = uint(uint32(^markMask) - (topics.IDLimit - 1)) // An id fits beside a mark.

func (e entry) id() topics.ID { return topics.ID(e &^ markMask) }
func (e entry) mark() entry   { return e & markMask }

// span is where in [sets] the topics of one cursor are.
type span struct {
	block   uint32
	n       uint16 // entries in use
	class   uint8
	pending uint8 // Of the cursor: sets leave it alone. A byte anywhere else would cost it eight.
}

// sets holds the topics of all cursors of an owner, in blocks of a few fixed sizes
// without a pointer in them: 10 topics cost 40 bytes, no allocation of their own and
// no work for the garbage collector. A cursor without topics holds no block.
type sets struct {
	classes [len(blockSizes)]class
}

// blockSizes are the sizes of blocks, in entries. A set that outgrows its block moves
// to the next size. It does not move back: a client that has had many topics may want them again.
var blockSizes = [...]int{2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096}

// topicsLimit is the largest set that fits.
const topicsLimit = 4096

type class struct {
	chunks [][]entry
	free   []uint32 // blocks
	used   uint32   // blocks handed out at least once
}

// chunkEntries is about how many entries are allocated at a time: 32 KiB.
const chunkEntries = 8 << 10

func perChunk(size int) uint32 { return uint32(max(1, chunkEntries/size)) }

func (s *sets) block(class uint8, block uint32) []entry {
	size := blockSizes[class]
	per := perChunk(size)
	at := int(block%per) * size
	return s.classes[class].chunks[block/per][at : at+size : at+size]
}

func (s *sets) alloc(class uint8) uint32 {
	c := &s.classes[class]
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		return b
	}
	size := blockSizes[class]
	per := perChunk(size)
	if c.used == uint32(len(c.chunks))*per {
		c.chunks = append(c.chunks, make([]entry, int(per)*size))
	}
	c.used++
	return c.used - 1
}

// entries returns the set's entries, to be read and changed in place until the next
// add or remove.
func (s *sets) entries(sp span) []entry {
	if sp.n == 0 {
		return nil
	}
	return s.block(sp.class, sp.block)[:sp.n]
}

// add appends an entry to a set.
func (s *sets) add(sp *span, e entry) {
	switch {
	case sp.n == 0:
		sp.class, sp.block = 0, s.alloc(0)
	case int(sp.n) == blockSizes[sp.class]:
		old := *sp
		sp.class, sp.block = old.class+1, s.alloc(old.class+1)
		copy(s.block(sp.class, sp.block), s.entries(old))
		s.release(&old)
	}
	s.block(sp.class, sp.block)[sp.n] = e
	sp.n++
}

// remove takes the entry at index i out and keeps the order of the others.
func (s *sets) remove(sp *span, i int) {
	list := s.entries(*sp)
	copy(list[i:], list[i+1:])
	s.truncate(sp, len(list)-1)
}

// truncate leaves the first n entries in a set, which may be none.
func (s *sets) truncate(sp *span, n int) {
	if n == 0 {
		s.release(sp)
		return
	}
	sp.n = uint16(n)
}

// release empties a set.
func (s *sets) release(sp *span) {
	if sp.n > 0 {
		s.classes[sp.class].free = append(s.classes[sp.class].free, sp.block)
	}
	sp.block, sp.n, sp.class = 0, 0, 0
}

// find returns the index of a topic in a set, -1 if it is not there.
func (s *sets) find(sp span, id topics.ID) int {
	for i, e := range s.entries(sp) {
		if e.id() == id {
			return i
		}
	}
	return -1
}
