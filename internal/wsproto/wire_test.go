// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
)

// Opcodes of RFC 6455, section 5.2. They are spelled out so that the tests' frames
// share no code with the package.
const (
	opCont   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// clientFrame is one frame as a client builds it. The zero value of each field is
// what a well-behaved client sends.
type clientFrame struct {
	op       byte
	more     bool // FIN is clear.
	rsv      byte // The three reserved bits.
	unmasked bool
	key      [4]byte // The masking key; zero is a legal one.
	form     int     // Bytes of extended length, 2 or 8; 0 picks the shortest form.
	payload  []byte
}

func (f clientFrame) bytes() []byte {
	b0 := f.op | f.rsv<<4
	if !f.more {
		b0 |= 0x80
	}
	b1 := byte(0x80)
	if f.unmasked {
		b1 = 0
	}
	n := len(f.payload)
	form := f.form
	if form == 0 && n > 125 {
		form = 2
	}
	if form == 2 && n > 65535 {
		form = 8
	}
	var out []byte
	switch form {
	case 0:
		out = append(out, b0, b1|byte(n))
	case 2:
		out = append(out, b0, b1|126, byte(n>>8), byte(n))
	case 8:
		out = append(out, b0, b1|127)
		out = binary.BigEndian.AppendUint64(out, uint64(n))
	default:
		panic("no such length form")
	}
	if f.unmasked {
		return append(out, f.payload...)
	}
	out = append(out, f.key[:]...)
	for i, c := range f.payload {
		out = append(out, c^f.key[i%4])
	}
	return out
}

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// last is a final, masked frame.
func last(op byte, payload string) []byte {
	return clientFrame{op: op, key: testKey, payload: []byte(payload)}.bytes()
}

// more is a masked frame after which more fragments follow.
func more(op byte, payload string) []byte {
	return clientFrame{op: op, more: true, key: testKey, payload: []byte(payload)}.bytes()
}

// claim is the masked header of a final frame that claims n bytes in the 64-bit form.
func claim(op byte, n uint64) []byte {
	out := binary.BigEndian.AppendUint64([]byte{0x80 | op, 0x80 | 127}, n)
	return append(out, testKey[:]...)
}

// closeBody is the body of a close frame.
func closeBody(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// roomy are limits that no test meets by accident.
var roomy = &Limits{Message: 1 << 20, Fragments: 100}

// roomyBinary is the same with binary messages.
var roomyBinary = &Limits{Message: 1 << 20, Fragments: 100, Binary: true}

var kindNames = map[Kind]string{Text: "text", Binary: "binary", Ping: "ping", Pong: "pong", Close: "close"}

// show names a payload: itself if it is short.
func show(p []byte) string {
	if len(p) > 300 {
		return fmt.Sprintf("%d bytes, crc %08x", len(p), crc32.ChecksumIEEE(p))
	}
	return fmt.Sprintf("%q", p)
}

func showEvent(ev Event) string {
	if ev.Kind == Close {
		if len(ev.Payload) == 0 {
			return fmt.Sprintf("close %d", ev.Code)
		}
		return fmt.Sprintf("close %d %s", ev.Code, show(ev.Payload[2:]))
	}
	return kindNames[ev.Kind] + " " + show(ev.Payload)
}

// buffered is how many bytes a decoder holds for incomplete input.
func buffered(d *Decoder) int {
	if d.partial == nil {
		return 0
	}
	return len(d.partial.frame) + len(d.partial.message)
}

// drain gives one read's bytes to d and returns its events as lines, up to "fail CODE
// REASON". in is copied, as the decoder overwrites it, and the copy is lost afterwards, as
// a socket's buffer is. The rules of Next that hold for any input are checked here.
func drain(t testing.TB, d *Decoder, in []byte, lim *Limits) (events []string, failed *ProtocolError) {
	t.Helper()
	buf := bytes.Clone(in)
	defer clear(buf)
	left := buf
	for {
		before := buffered(d) + len(left)
		ev, rest, err := d.Next(left, lim)
		if buffered(d)+len(rest) > before {
			t.Fatalf("the decoder holds %d bytes and %d are left, of %d", buffered(d), len(rest), before)
		}
		// A message and, between its fragments, a control frame with its header.
		if buffered(d)-125-6 > lim.Message {
			t.Fatalf("the decoder holds %d bytes with a message limit of %d", buffered(d), lim.Message)
		}
		if err != nil {
			return append(events, fmt.Sprintf("fail %d %s", err.Code, err.Reason)), err
		}
		if !bytes.HasSuffix(left, rest) {
			t.Fatal("rest is no suffix of the input")
		}
		if ev.Kind == NeedMore {
			if len(rest) != 0 {
				t.Fatalf("NeedMore with %d bytes left", len(rest))
			}
			return events, nil
		}
		events = append(events, showEvent(ev))
		// Whoever appends to a payload must not reach what follows it.
		if len(ev.Payload) > 0 {
			_ = append(ev.Payload, "overwritten"...)
		}
		left = rest
	}
}

// replay gives the chunks to a new decoder, one read each.
func replay(t testing.TB, lim *Limits, chunks ...[]byte) []string {
	t.Helper()
	var d Decoder
	var all []string
	for _, c := range chunks {
		events, err := drain(t, &d, c, lim)
		all = append(all, events...)
		if err != nil {
			break
		}
	}
	return all
}

// chunked cuts in into pieces of n bytes.
func chunked(in []byte, n int) [][]byte { return slices.Collect(slices.Chunk(in, n)) }

// wantEvents replays in whole and byte by byte. A wanted "fail 1002" stands for any
// reason; the reasons of both replays must be the same.
func wantEvents(t testing.TB, lim *Limits, in []byte, want ...string) {
	t.Helper()
	got := replay(t, lim, in)
	if !sameEvents(got, want) {
		t.Errorf("in one read:\n got %s\nwant %s", lines(got), lines(want))
	}
	if slow := replay(t, lim, chunked(in, 1)...); !slices.Equal(slow, got) {
		t.Errorf("byte by byte:\n got %s\nwant %s", lines(slow), lines(got))
	}
}

func sameEvents(got, want []string) bool {
	return slices.EqualFunc(got, want, func(g, w string) bool {
		return g == w || strings.HasPrefix(w, "fail ") && strings.HasPrefix(g, w+" ")
	})
}

func lines(events []string) string {
	if len(events) == 0 {
		return "nothing"
	}
	return strings.Join(events, "; ")
}
