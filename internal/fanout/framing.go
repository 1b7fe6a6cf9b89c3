// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"tickedge/internal/protocol"
	"tickedge/internal/sse"
	"tickedge/internal/wsproto"
)

// Framing is what stands around the payloads of a conn. It is chosen when the conn opens, and
// is the bits of its flags above the others. All that differs by framing is in this file: a
// further one is a package beside wsproto, and a case in each switch.
type Framing uint8

const (
	WebSocket   Framing = iota // RFC 6455: each message is a text frame.
	Events                     // Server-sent events, named by the kind of their message.
	PlainEvents                // The same without names.
)

func (c *conn) framing() Framing { return Framing(c.flags >> framingShift) }

// begin opens a message at the end of dst. Its payload is to follow, and then end:
//
//	dst = f.end(protocol.AppendPong(f.begin(dst), ping, now), len(dst))
func (f Framing) begin(dst []byte) []byte {
	switch f {
	case Events, PlainEvents:
		return sse.Begin(dst)
	default: // WebSocket
		return wsproto.BeginText(dst)
	}
}

// end closes the message that was begun at start. One without a payload is taken back.
func (f Framing) end(dst []byte, start int) []byte {
	switch f {
	case Events, PlainEvents:
		if len(dst) == start+sse.Room {
			return dst[:start]
		}
		return sse.End(dst, start, f == PlainEvents)
	default: // WebSocket
		if len(dst) == start+wsproto.TextRoom {
			return dst[:start]
		}
		return wsproto.EndText(dst, start)
	}
}

// token appends what a client resumes with. Of a stream it is the id of the last event in dst.
func (f Framing) token(dst []byte, token string) []byte {
	switch f {
	case Events, PlainEvents:
		return sse.AppendID(dst, token)
	default: // WebSocket
		return f.end(protocol.AppendResume(f.begin(dst), token), len(dst))
	}
}

// ping appends what a client answers by itself, if it is there: its program, or its kernel (see
// Shard.acked).
func (f Framing) ping(dst []byte) []byte {
	switch f {
	case Events, PlainEvents:
		return sse.AppendComment(dst)
	default: // WebSocket
		return wsproto.AppendPing(dst)
	}
}

// streamRetryMin is how long a client of a stream waits at least before it comes back, in
// milliseconds: where nobody answers a browser tries again in the same time, again and again.
const streamRetryMin = 1000

// close appends what says that nothing follows, why, and when to come back. retryMS of 0 is no
// advice.
func (f Framing) close(dst []byte, code protocol.Code, reason string, retryMS int) []byte {
	switch f {
	case Events, PlainEvents:
		if retryMS > 0 {
			dst = sse.AppendRetry(dst, max(retryMS, retryMS%streamRetryMin+streamRetryMin))
		}
		return dst
	default: // WebSocket
		return wsproto.AppendClose(dst, code, reason)
	}
}
