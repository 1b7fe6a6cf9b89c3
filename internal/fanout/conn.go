// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"unsafe"

	"tickedge/internal/guard"
)

// ConnID names a conn in its shard. It is used again after [Shard.Remove].
type ConnID uint32

// conn is what a shard knows of one client connection. Like its cursor it holds no pointer.
// But for the time of its own visit, pos != nowhere.
type conn struct {
	Cursor
	due      beat   // Next visit.
	flush    beat   // Next flush; visits before it only look after the conn.
	since    beat   // When its state began.
	heard    beat   // Last byte from it.
	sent     beat   // Last message to it.
	ping     beat   // Next ping or, while a pong is awaited, the last one.
	backlog  beat   // Where its backlog stands in time, see backlog.go.
	pos      uint32 // Its place in the wheel slot due % wheelSize.
	interval uint16 // The window, in beats.
	state    state
	flags    uint8
	erred    bool // It has sent a malformed command: it is in Shard.mistakes.
	pace     pace
	rtt      uint16 // From the last answered ping to the next byte, in beats and one more. 0: not known.
}

const connSizeMax = 64 // A million conns in 64 MB.
const _ = uint(connSizeMax - unsafe.Sizeof(conn{}))

// aside is the part of a conn that ordinary visits have no use for. It is kept apart,
// so that the other part stays one line of the CPU's cache.
type aside struct {
	Pass
	left       uint32       // Bytes of its backlog, as far as is known. 0 without the flag backlogged.
	bare       beat         // When the conn was opened or its last topic went, whichever was later.
	commands   guard.Bucket // What it has used of the rate of commands.
	subscribes guard.Bucket // The same of new topics.
	offered    uint32       // The newest token that it was given, see topics.Offer; 0 for none.
	offeredAt  beat         // When that was.
}

const asideSizeMax = 48 // A million conns in 48 MB.
const _ = uint(asideSizeMax - unsafe.Sizeof(aside{}))

// state says what holds of a conn. Package loop says which of its stages go with it.
type state uint8

const (
	free    state = iota
	opening       // The request head is awaited. No topics.
	open          // Messages go both ways.
	closing       // Our last word is sent; the peer's is awaited. No topics.
	asking        // Requests are answered, see asking.go. Its topics are those of one request.
)

const (
	backlogged   uint8  = 1 << iota // It has a backlog, or had one when it was looked at last.
	pinged                          // A pong is awaited.
	resumes                         // It is given tokens to resume with.
	screening                       // It has screens.
	framingShift = iota             // Its framing is in the bits above.
)

const (
	slabBits = 8
	slabMask = 1<<slabBits - 1
)

func (s *Shard) conn(id ConnID) *conn { return &s.slabs[id>>slabBits][id&slabMask] }

func (s *Shard) aside(id ConnID) *aside { return &s.asides[id>>slabBits][id&slabMask] }
