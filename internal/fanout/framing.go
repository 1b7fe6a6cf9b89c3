// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"tickedge/internal/protocol"
	"tickedge/internal/wsproto"
)

// Framing is what stands around the payloads of a conn. It is chosen when the conn opens, and
// is the bits of its flags above the others. All that differs by framing is in this file: a
// further one is a package beside wsproto, and a case in each switch.
type Framing uint8

// WebSocket is RFC 6455: each message is a text frame.
const WebSocket Framing = 0

func (c *conn) framing() Framing { return Framing(c.flags >> framingShift) }

// begin opens a message at the end of dst. Its payload is to follow, and then end:
//
//	dst = f.end(protocol.AppendPong(f.begin(dst), ping, now), len(dst))
func (f Framing) begin(dst []byte) []byte {
	switch f {
	default: // WebSocket
		return wsproto.BeginText(dst)
	}
}

// end closes the message that was begun at start. One without a payload is taken back.
func (f Framing) end(dst []byte, start int) []byte {
	switch f {
	default: // WebSocket
		if len(dst) == start+wsproto.TextRoom {
			return dst[:start]
		}
		return wsproto.EndText(dst, start)
	}
}

// ping appends what a client answers by itself, if it is there.
func (f Framing) ping(dst []byte) []byte {
	switch f {
	default: // WebSocket
		return wsproto.AppendPing(dst)
	}
}

// close appends what says that nothing follows, and why.
func (f Framing) close(dst []byte, code protocol.Code, reason string) []byte {
	switch f {
	default: // WebSocket
		return wsproto.AppendClose(dst, code, reason)
	}
}
