// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"slices"
	"unsafe"

	"tickedge/internal/topics"
)

// rows is a loop's own copies of rows that it has sent lately. The table's rows are
// written by the feed on another core, each in a place of its own: read 20 times for
// 20 conns, they cost more time than all the rest of a gather. A copy is made once and
// then read from memory that is close together and close to the loop.
//
// A copy's place follows from the topic's id, so two topics may take turns in one.
// Which row a copy is of is told by its sequence, which no other row has: copies are
// never wrong, and need no care when a topic ticks or its id is used again.
type rows struct {
	// The ages of rows go there, see spans.go.
	ages *tally
	now  uint32  // See [topics.Table.Millis], and ageBias more.
	last *uint32 // Where the last one was counted.

	copies [rowCopies]rowCopy
	came   [rowCopies]uint32 // When their rows came in, beside them: a row of a common length fills its copy.
	traced [tracedMax]uint16 // The traces of rows that were appended since the owner took them: the first n.
	n      int
}

const (
	// rowCopies take 512 KB. Where more topics than that tick all the time, the
	// copies are of less use, and cost a copy each.
	rowCopies = 4096
	// rowCopySize is two lines of the CPU's cache.
	rowCopySize = 128
	rowCopyText = rowCopySize - 9
	// tracedMax is more than there are in a turn where few ticks are traced. One that has no room is not told.
	tracedMax = 16
)

// rowCopy is a row's JSON and a comma, if they fit.
type rowCopy struct {
	seq  uint64 // 0 for none.
	size uint8
	text [rowCopyText]byte
}

const _ = uint(rowCopySize-unsafe.Sizeof(rowCopy{})) + uint(unsafe.Sizeof(rowCopy{})-rowCopySize)

func newRows() *rows {
	ages := newAges()
	return &rows{ages: &ages.fine}
}

// append appends the newest row of a topic, whose sequence is seq or higher, and a
// comma to dst.
func (r *rows) append(dst []byte, t *topics.Table, id topics.ID, seq uint64) []byte {
	c := &r.copies[id%rowCopies]
	if c.seq == seq {
		r.last = r.ages.at(r.now - r.came[id%rowCopies])
		*r.last++
		return append(dst, c.text[:c.size]...)
	}
	row := t.Row(id)
	if row.Trace != 0 {
		r.see(row.Trace)
	}
	r.last = r.ages.at(r.now - row.At)
	*r.last++
	if len(row.JSON()) < rowCopyText {
		c.seq, r.came[id%rowCopies] = row.Seq, row.At
		c.size = uint8(copy(c.text[:], row.JSON())) + 1
		c.text[c.size-1] = ','
	}
	return append(append(dst, row.JSON()...), ',')
}

// see notes the trace of a row, once. A row of which there is a copy was noted when that was made.
//
//go:noinline
func (r *rows) see(trace uint16) {
	if r.n < tracedMax && !slices.Contains(r.traced[:r.n], trace) {
		r.traced[r.n] = trace
		r.n++
	}
}

// unsee takes back the trace and the age of a row that had no room in its message after all. It is rare, and kept out of the loops that
// gather.
//
//go:noinline
func (cs *Cursors) unsee(topic topics.ID) {
	r := cs.rows
	*r.last--
	if r.n > 0 && r.traced[r.n-1] == cs.table.Row(topic).Trace {
		r.n--
	}
}
