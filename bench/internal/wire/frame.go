// SPDX-License-Identifier: Apache-2.0

// Package wire is the client's half of the wire: the opening handshake, the frames
// of RFC 6455, server-sent events and the server's messages (docs/PROTOCOL.md). Bytes in, values out; no
// socket and no clock.
//
// It shares nothing with internal/wsproto on purpose: a measuring client that used
// the server's own parser would be blind to its faults.
//
//	frame.go      frame headers, masked frames, close payloads   RFC 6455, 5
//	handshake.go  requests and answers                           RFC 6455, 4.1; RFC 9112
//	events.go     server-sent events                             HTML Standard, 9.2
//	message.go    the scanner for text messages
//	json.go       what the scanner knows of JSON
package wire

import (
	"encoding/binary"
	"errors"
)

// FrameMax bounds the payload of one server frame. The longest one to expect, 256
// rows with values of 1 KiB, is below 300 KiB. A longer one is a [Fault] and is never
// gathered.
const FrameMax = 1 << 20

// Fault is a rule that the server broke. Its text is short and has no details, so
// that faults can be counted by kind.
type Fault string

func (f Fault) Error() string { return string(f) }

// Faults of frame headers. The stream behind any of them cannot be trusted.
const (
	ErrMasked   Fault = "masked frame"               // RFC 6455, 5.1
	ErrReserved Fault = "reserved bits set"          // RFC 6455, 5.2
	ErrOpcode   Fault = "unknown opcode"             // RFC 6455, 5.2
	ErrLength   Fault = "length not minimal"         // RFC 6455, 5.2
	ErrControl  Fault = "control frame cut or long"  // RFC 6455, 5.5
	ErrLarge    Fault = "frame larger than accepted" // FrameMax
	ErrClose    Fault = "bad close payload"          // RFC 6455, 5.5.1
)

// ErrShort says that the input ends before the header does.
var ErrShort = errors.New("wire: header is not complete")

// Op is the opcode of a frame, RFC 6455, section 5.2.
type Op byte

const (
	OpContinuation Op = 0x0
	OpText         Op = 0x1
	OpBinary       Op = 0x2
	OpClose        Op = 0x8
	OpPing         Op = 0x9
	OpPong         Op = 0xa
)

func (op Op) control() bool { return op&0x8 != 0 }

// Header is one frame header.
type Header struct {
	Fin    bool
	Op     Op
	Size   int // Of the header, in bytes.
	Length int // Of the payload, in bytes; at most FrameMax.
}

// ParseHeader reads the header at the start of b. The error is ErrShort or a Fault.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < 2 {
		return Header{}, ErrShort
	}
	h := Header{Fin: b[0]&0x80 != 0, Op: Op(b[0] & 0x0f), Size: 2, Length: int(b[1] & 0x7f)}
	switch {
	case b[0]&0x70 != 0:
		return h, ErrReserved
	case h.Op > OpBinary && h.Op < OpClose || h.Op > OpPong:
		return h, ErrOpcode
	case b[1]&0x80 != 0:
		return h, ErrMasked
	case h.Op.control() && (!h.Fin || h.Length > 125):
		return h, ErrControl
	case h.Length < 126:
		return h, nil
	}
	var length uint64
	if h.Length == 126 {
		if h.Size = 4; len(b) < h.Size {
			return h, ErrShort
		}
		if length = uint64(binary.BigEndian.Uint16(b[2:])); length < 126 {
			return h, ErrLength
		}
	} else {
		if h.Size = 10; len(b) < h.Size {
			return h, ErrShort
		}
		if length = binary.BigEndian.Uint64(b[2:]); length < 1<<16 {
			return h, ErrLength
		}
	}
	if length > FrameMax {
		return h, ErrLarge
	}
	h.Length = int(length)
	return h, nil
}

// AppendFrame appends a whole client frame, which is always masked (RFC 6455, 5.3).
func AppendFrame(dst []byte, op Op, key [4]byte, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, key[:]...)
	for i, c := range payload {
		dst = append(dst, c^key[i&3])
	}
	return dst
}

// CloseNoCode stands for a close frame without a code, RFC 6455, section 7.1.5.
const CloseNoCode = 1005

// ParseClose splits the payload of a close frame.
func ParseClose(p []byte) (code int, reason []byte, err error) {
	switch len(p) {
	case 0:
		return CloseNoCode, nil, nil
	case 1:
		return 0, nil, ErrClose
	}
	return int(binary.BigEndian.Uint16(p)), p[2:], nil
}
