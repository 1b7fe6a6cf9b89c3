// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"bytes"
	"strconv"
	"unsafe"
)

// Row is the newest value of a topic as it stands in a client frame. A row is
// never changed after it was committed, so it may be read from every loop.
//
// Its text follows it in the same allocation. A row is written by the feed and read by
// loops on other cores soon after: two neighbouring lines of memory are fetched faster
// than a header here and a text there.
type Row struct {
	// Seq is the place of the row in the order of all commits of its table.
	// It is above 0 and only rises.
	Seq uint64
	// N is how many ticks of the topic the table has seen. 0 means that the value
	// came from a repair (the newest value fetched at subscription) before any tick.
	N uint64

	size    uint32 // Of the text.
	valueAt uint16 // Where the value starts in the text; it ends one byte before its end.
	// Trace is above 0 where somebody wants to know when the row is first sent: who has published it knows the number. It
	// stands in a line of memory that is read anyway.
	Trace uint16
	// At is when the value came in, see [Table.Millis]. It wraps after 49 days.
	At uint32
}

// What is before a value fits.
const _ = uint16(len(`{"s":"","n":18446744073709551615,"v":`) + NameMax)

// rowHead is where the text begins. No pointer is in it, so it may stand in bytes.
const rowHead = unsafe.Sizeof(Row{})

// JSON is the row as clients get it: {"s":"AAPL","n":8812,"v":…}.
func (r *Row) JSON() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), rowHead)), r.size)
}

// Value returns the source's JSON value, byte for byte as it was published.
func (r *Row) Value() []byte { return r.JSON()[r.valueAt : r.size-1 : r.size-1] }

// Delisted reports whether the topic has no value any more, see [Delisted].
func (r *Row) Delisted() bool { return string(r.Value()) == Delisted }

// newRow encodes a row once, for all who will be sent it. The name needs no
// escaping, see [ValidName].
func newRow(name, value string, n uint64, m Meta) *Row {
	var digits [20]byte
	count := strconv.AppendUint(digits[:0], n, 10)
	const frame = len(`{"s":"`) + len(`","n":`) + len(`,"v":`) + len(`}`)
	// An allocation of this size is aligned to 8 bytes, as a Row wants it.
	b := make([]byte, rowHead, int(rowHead)+frame+len(name)+len(count)+len(value))
	b = append(b, `{"s":"`...)
	b = append(b, name...)
	b = append(b, `","n":`...)
	b = append(b, count...)
	b = append(b, `,"v":`...)
	at := len(b)
	b = append(b, value...)
	b = append(b, '}')
	r := (*Row)(unsafe.Pointer(unsafe.SliceData(b)))
	r.N, r.size, r.valueAt, r.Trace, r.At = n, uint32(len(b)-int(rowHead)), uint16(at-int(rowHead)), m.Trace, uint32(m.At)
	return r
}

// Topic returns the row's topic: the name as it stands in JSON is the name itself.
func (r *Row) Topic() []byte {
	text := r.JSON()[len(`{"s":"`):r.valueAt]
	return text[:bytes.IndexByte(text, '"')]
}
