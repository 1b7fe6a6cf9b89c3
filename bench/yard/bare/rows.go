// SPDX-License-Identifier: Apache-2.0

// Package bare is what the two yardsticks share that work on bare bytes, bench/floor
// and bench/yard/gnet: rows, frames, the handshake, and whose turn it is. It
// understands what bench hold sends and no more.
//
//	main.go     flags, and the program around a server
//	market.go   ticks
//	rows.go     newest rows, and gathering some of them into a frame
//	client.go   what a client says: the handshake, frames, the subscribe
//	sweep.go    which conns are due
package bare

import (
	"encoding/binary"
	"strconv"
	"time"
)

const (
	// TopicsMax bounds the topics of a conn. With it a frame is below 64 KiB, and its
	// length takes two bytes.
	TopicsMax   = 256
	universeMax = 1 << 16 // The numbers of topics are uint16.
	nameMax     = 64
	// rowMax holds {"s":"","n":,"v":}, and a comma, around a name, a number of 20
	// digits and a value of 80 bytes.
	rowMax = 184
)

// Rows are the newest rows of all topics, encoded. Owned by one goroutine.
type Rows struct {
	market *Market
	rows   []row
}

// row is text[:size], followed by a comma that is part of it.
type row struct {
	text [rowMax]byte
	size uint8
	head uint8  // text[:head] never changes.
	n    uint64 // How many ticks there were.
}

// NewRows returns a row with one tick for each name.
func NewRows(names []string, rate float64, now time.Time) *Rows {
	r := &Rows{market: NewMarket(len(names), rate, now), rows: make([]row, len(names))}
	for i, name := range names {
		w := &r.rows[i]
		head := append(w.text[:0], `{"s":"`...)
		w.head = uint8(len(append(append(head, name...), `","n":`...)))
		w.set(r.market.Tick(i, now.UnixMilli()))
	}
	return r
}

func (w *row) set(value []byte) {
	w.n++
	b := strconv.AppendUint(w.text[:w.head], w.n, 10)
	b = append(b, `,"v":`...)
	b = append(b, value...)
	w.size = uint8(len(append(b, '}', ',')))
}

// Refresh takes the ticks in that are due at now.
func (r *Rows) Refresh(now time.Time) {
	ms := now.UnixMilli()
	for range r.market.Due(now) {
		topic := r.market.Topic()
		r.rows[topic].set(r.market.Tick(topic, ms))
	}
}

// Gather writes the rows of topics into buf, as one update in one frame, and returns
// the frame. buf has room for [FrameSize] bytes. At least one topic is wanted.
func (r *Rows) Gather(buf []byte, topics []uint16, now int64) []byte {
	b := append(buf[:headSize], `{"t":"update","ts":`...)
	b = strconv.AppendInt(b, now, 10)
	b = append(b, `,"d":[`...)
	for _, topic := range topics {
		w := &r.rows[topic]
		b = append(b, w.text[:w.size]...)
	}
	b[len(b)-1] = ']' // In the place of the last comma.
	return seal(append(b, '}'))
}

// FrameSize is the room that a frame with so many rows may need.
func FrameSize(topics int) int { return 64 + topics*rowMax }

// headSize is the header of a frame of 126 to 65535 bytes (RFC 6455, 5.2).
const headSize = 4

// seal puts the header before a text that begins at headSize, and returns the frame.
func seal(b []byte) []byte {
	n := len(b) - headSize
	if n < 126 {
		b[2], b[3] = 0x81, byte(n)
		return b[2:]
	}
	b[0], b[1] = 0x81, 126
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

// AppendText appends a text frame.
func AppendText(dst []byte, text string) []byte {
	return append(dst, seal(append(make([]byte, headSize, headSize+len(text)), text...))...)
}
