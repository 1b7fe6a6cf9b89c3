// SPDX-License-Identifier: Apache-2.0

// Package resp reads what a Redis sends (RESP, in its version 2) without trusting it. Nothing
// is allocated for what is only claimed, and whatever the other side can make grow has a
// bound.
//
//	follower.go  replies on their way to somebody else's parser, cut off where they leave a bound
//	reader.go    what Redis pushes to a connection that has subscribed
package resp

import (
	"bytes"
	"strconv"
)

// LineMax bounds a line: a simple string, an error, an integer, a length. The longest that
// Redis sends are errors that repeat arguments, of which it cuts each at 128 bytes, and
// those that name a channel or a key of ours. A longer one is an [Error].
const LineMax = 4 << 10

// Error says what of a stream is not what Redis sends, or is beyond a bound.
type Error struct {
	What string
	Near string // The bytes where it was found, quoted and cut.
}

func (e *Error) Error() string { return "not what Redis sends: " + e.What + ": " + e.Near }

// nearMax is how many bytes an error shows: enough to tell an HTTP server, a TLS alert or
// another reply than the one that is due.
const nearMax = 64

func quote(b []byte) string {
	if len(b) > nearMax {
		return strconv.Quote(string(b[:nearMax])) + "…"
	}
	return strconv.Quote(string(b))
}

// line is b up to the end of its first line.
func line(b []byte) []byte {
	if end := bytes.IndexAny(b, "\r\n"); end >= 0 {
		return b[:end]
	}
	return b
}
