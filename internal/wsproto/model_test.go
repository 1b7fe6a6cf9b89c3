// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"

	"tickedge/internal/protocol"
)

// model is RFC 6455, section 5 once more, for input that is there as a whole and without
// a thought for speed. It says what the decoder's events are, fails without reasons.
func model(in []byte, lim *Limits) (events []string) {
	var kind byte // Of the fragmented message, 0 while there is none.
	var message []byte
	fragments := 0
	fail := func(code int) []string { return append(events, fmt.Sprintf("fail %d", code)) }
	for len(in) >= 2 {
		fin, rsv, op := in[0]>>7 == 1, in[0]>>4&7, in[0]&15
		masked, length := in[1]>>7 == 1, uint64(in[1]&127)
		control := op >= 8
		if !masked || rsv != 0 || op > opBinary && op < opClose || op > opPong {
			return fail(1002)
		}
		if control && (!fin || length > 125) || !control && (op == opCont) != (kind != 0) {
			return fail(1002)
		}
		in = in[2:]
		if size := map[uint64]int{126: 2, 127: 8}[length]; size > 0 {
			if len(in) < size {
				return events
			}
			var b [8]byte
			copy(b[8-size:], in[:size])
			length = binary.BigEndian.Uint64(b[:])
			if size == 2 && length <= 125 || size == 8 && length <= 65535 || length > 1<<63-1 {
				return fail(1002)
			}
			in = in[size:]
		}
		if !control && length > uint64(lim.Message-len(message)) {
			return fail(1009)
		}
		if op == opBinary && !lim.Binary {
			return fail(1003)
		}
		payload := make([]byte, max(0, min(int64(len(in))-4, int64(length))))
		for i := range payload {
			payload[i] = in[4+i] ^ in[i%4]
		}
		text := op == opText || op == opCont && kind == opText
		if text && !viable(append(slices.Clone(message), payload...)) {
			return fail(1007)
		}
		if uint64(len(in)) < 4+length {
			return events
		}
		in = in[4+length:]
		switch op {
		case opPing:
			events = append(events, showEvent(Event{Kind: Ping, Payload: payload}))
			continue
		case opPong:
			events = append(events, showEvent(Event{Kind: Pong, Payload: payload}))
			continue
		case opClose:
			code, wrong := modelClose(payload)
			if wrong != 0 {
				return fail(wrong)
			}
			events = append(events, showEvent(Event{Kind: Close, Code: protocol.Code(code), Payload: payload}))
			continue
		case opText, opBinary:
			kind = op
		}
		message = append(message, payload...)
		if whole, spare := fin && op != opCont, fin && length == 0; !whole && !spare {
			if fragments++; fragments > lim.Fragments {
				return fail(1009)
			}
		}
		if !fin {
			continue
		}
		if kind == opText && !utf8.Valid(message) {
			return fail(1007)
		}
		events = append(events, showEvent(Event{Kind: map[byte]Kind{opText: Text, opBinary: Binary}[kind], Payload: message}))
		kind, message, fragments = 0, nil, 0
	}
	return events
}

// viable reports whether text may become UTF-8: whether it is, or is with one of the ends of all
// characters behind it.
func viable(text []byte) bool {
	for _, end := range []string{"", "\x80", "\x80\x80", "\x80\x80\x80", "\xa0\x80", "\x90\x80\x80"} {
		if utf8.ValidString(string(text) + end) {
			return true
		}
	}
	return false
}

func modelClose(body []byte) (code, wrong int) {
	if len(body) == 0 {
		return 0, 0
	}
	if len(body) == 1 {
		return 0, 1002
	}
	if !utf8.Valid(body[2:]) {
		return 0, 1007
	}
	switch code = int(body[0])<<8 | int(body[1]); {
	case code >= 3000 && code <= 4999, code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return code, 0
	}
	return 0, 1002
}

// program reads p as a program for a client that keeps the rules and the limits, and
// returns what it sends and what a server should see of it.
func program(p []byte, lim *Limits) (sent []byte, want []string) {
	next := func() byte {
		if len(p) == 0 {
			return 0
		}
		c := p[0]
		p = p[1:]
		return c
	}
	text := func(n int) []byte { // Runes of all lengths.
		var b []byte
		for len(b)+utf8.UTFMax <= n {
			b = utf8.AppendRune(b, []rune{'a', 0, 'é', '€', '😀', 0x10ffff}[next()%6])
		}
		return b
	}
	send := func(op byte, more bool, payload []byte) {
		key := [4]byte{next(), next(), 0, 0xff}
		sent = append(sent, clientFrame{op: op, more: more, key: key, payload: payload}.bytes()...)
	}
	control := func() {
		payload := text(int(next()) % 126)
		switch next() % 3 {
		case 0:
			send(opPing, false, payload)
			want = append(want, showEvent(Event{Kind: Ping, Payload: payload}))
		case 1:
			send(opPong, false, payload)
			want = append(want, showEvent(Event{Kind: Pong, Payload: payload}))
		case 2:
			body := []byte{3, 0xe8}
			send(opClose, false, body)
			want = append(want, showEvent(Event{Kind: Close, Code: 1000, Payload: body}))
		}
	}
	for len(p) > 0 {
		op, kind := byte(opText), Text
		payload := text(int(next()) % (lim.Message + 1))
		if next()%2 == 1 && lim.Binary {
			op, kind = opBinary, Binary
			payload = append(payload, 0xff)
		}
		payload = payload[:min(len(payload), lim.Message)]
		left := payload
		for range int(next()) % lim.Fragments {
			n := int(next()) % (len(left) + 1)
			send(op, true, left[:n])
			op, left = opCont, left[n:]
			if next()%2 == 1 {
				control()
			}
		}
		send(op, false, left)
		want = append(want, showEvent(Event{Kind: kind, Payload: payload}))
		if next()%4 == 3 {
			control()
		}
	}
	return sent, want
}
