// SPDX-License-Identifier: Apache-2.0

// Package sse frames messages as server-sent events (HTML Standard, 9.2): lines of a response
// that ends with its connection. It has no clock and no socket, and keeps nothing.
//
// An event here is its data, the payload in one line, and behind that its name: the order of
// an event's fields is free (9.2.6), and the name is known when the payload is there.
package sse

import (
	"bytes"
	"strconv"

	"tickedge/internal/httphead"
)

const data = "data: "

// Room is how many bytes [Begin] appends.
const Room = len(data)

// AppendHead appends the head of the response. header holds more header lines, each with its
// CRLF. The body is all that follows until the connection is closed (RFC 9112, 6.3): chunks
// would say how it ended, which an event stream does not need to know, and cost each event two
// lines that proxies take off again.
func AppendHead(dst []byte, header string) []byte {
	return httphead.AppendStream(dst, "text/event-stream", "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n"+header)
}

// Begin opens an event at the end of dst. Its payload is to follow, and then [End].
func Begin(dst []byte) []byte { return append(dst, data...) }

// End closes the event that was begun at start. Its name is the payload's t, or none if it is to
// be plain: then it is a message event. A payload is JSON, so that a line break in it is blank
// space; as it would end the field, it becomes another blank.
func End(dst []byte, start int, plain bool) []byte {
	payload := dst[start+Room:]
	unbreak(payload, '\n')
	unbreak(payload, '\r')
	if plain {
		return append(dst, "\n\n"...)
	}
	dst = append(dst, "\nevent: "...)
	dst = append(dst, kind(payload)...)
	return append(dst, "\n\n"...)
}

// unbreak makes all of one byte blanks.
func unbreak(payload []byte, b byte) {
	for {
		i := bytes.IndexByte(payload, b)
		if i < 0 {
			return
		}
		payload[i] = ' '
		payload = payload[i+1:]
	}
}

// kind is the value of t, the first member of every message.
func kind(payload []byte) []byte {
	const before = `{"t":"`
	if len(payload) < len(before) {
		return nil
	}
	name, _, _ := bytes.Cut(payload[len(before):], []byte{'"'})
	return name
}

// AppendComment appends a line that means nothing, for who closes what is silent.
func AppendComment(dst []byte) []byte { return append(dst, ":\n\n"...) }

// AppendRetry appends how long a client is to wait, in milliseconds, before it comes back.
func AppendRetry(dst []byte, ms int) []byte {
	dst = strconv.AppendInt(append(dst, "retry: "...), int64(ms), 10)
	return append(dst, "\n\n"...)
}
