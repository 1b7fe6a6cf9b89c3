// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"

	"tickedge/internal/protocol"
)

// The client's frames of these tests are those that gobwas/ws would send.
func TestClientFramesAreWhatAnotherClientSends(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		for _, op := range []byte{opCont, opText, opBinary} {
			for _, fin := range []bool{true, false} {
				payload := bytes.Repeat([]byte{'x'}, n)
				var other bytes.Buffer
				f := ws.NewFrame(ws.OpCode(op), fin, bytes.Clone(payload))
				if err := ws.WriteFrame(&other, ws.MaskFrameInPlaceWith(f, testKey)); err != nil {
					t.Fatal(err)
				}
				ours := clientFrame{op: op, more: !fin, key: testKey, payload: payload}.bytes()
				if !bytes.Equal(ours, other.Bytes()) {
					t.Errorf("op %d, fin %v, %d bytes: the frames differ", op, fin, n)
				}
			}
		}
	}
}

// 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
func TestRFC6455_5_1_ClientFramesAreMasked(t *testing.T) {
	for _, op := range []byte{opText, opBinary, opClose, opPing, opPong} {
		f := clientFrame{op: op, unmasked: true, payload: []byte("ab")}
		wantEvents(t, roomyBinary, f.bytes(), "fail 1002")
	}
	unmasked := clientFrame{op: opCont, unmasked: true}.bytes()
	wantEvents(t, roomy, join(more(opText, "a"), unmasked), "fail 1002")
}

// 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero
// values". None ever is.
func TestRFC6455_5_2_ReservedBitsAreZero(t *testing.T) {
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{opText, opPing, opPong, opClose} {
			wantEvents(t, roomy, clientFrame{op: op, rsv: rsv}.bytes(), "fail 1002")
		}
		wantEvents(t, roomy, join(more(opText, ""), clientFrame{op: opCont, rsv: rsv}.bytes()), "fail 1002")
	}
}

// 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the
// WebSocket Connection_."
func TestRFC6455_5_2_ReservedOpcodesFail(t *testing.T) {
	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		t.Run(fmt.Sprintf("%X", op), func(t *testing.T) {
			wantEvents(t, roomyBinary, last(op, ""), "fail 1002")
			wantEvents(t, roomyBinary, last(op, "payload"), "fail 1002")
			wantEvents(t, roomyBinary, join(more(opText, "a"), last(op, "")), "fail 1002")
			wantEvents(t, roomyBinary, join(last(opText, "a"), more(op, "")), `text "a"`, "fail 1002")
		})
	}
}

// 5.2: "in all cases, the minimal number of bytes MUST be used to encode the length".
func TestRFC6455_5_2_LengthIsInItsShortestForm(t *testing.T) {
	tests := []struct {
		form, n int
		ok      bool
	}{
		{0, 0, true}, {0, 125, true},
		{2, 0, false}, {2, 1, false}, {2, 125, false}, {2, 126, true}, {2, 65535, true},
		{8, 0, false}, {8, 125, false}, {8, 126, false}, {8, 65535, false}, {8, 65536, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d bytes in form %d", tt.n, tt.form), func(t *testing.T) {
			payload := bytes.Repeat([]byte{'x'}, tt.n)
			want := "fail 1002"
			if tt.ok {
				want = "text " + show(payload)
			}
			wantEvents(t, roomy, clientFrame{op: opText, form: tt.form, key: testKey, payload: payload}.bytes(), want)
		})
	}
}

// 5.2: "the most significant bit MUST be 0".
func TestRFC6455_5_2_TopBitOfLengthIsZero(t *testing.T) {
	for _, n := range []uint64{1 << 63, 1<<63 + 5, 1<<63 + 65536, 1<<64 - 1} {
		wantEvents(t, roomy, claim(opText, n), "fail 1002")
	}
}

// 5.3: the payload is XORed with the key, octet i with octet i modulo 4 of the key.
func TestRFC6455_5_3_PayloadIsUnmasked(t *testing.T) {
	// The masked "Hello" of section 5.7.
	wantEvents(t, roomy, []byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), `text "Hello"`)
	for _, key := range [][4]byte{{}, {0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff}, {1, 2, 3, 4}} {
		for n := range 40 {
			payload := bytes.Repeat([]byte("tick"), 10)[:n]
			in := clientFrame{op: opText, key: key, payload: payload}.bytes()
			wantEvents(t, roomy, in, "text "+show(payload))
		}
	}
}

// 5.4: "Control frames [...] MAY be injected in the middle of a fragmented message."
func TestRFC6455_5_4_ControlFramesBetweenFragments(t *testing.T) {
	wantEvents(t, roomy, join(
		last(opPing, "0"), more(opText, "He"), last(opPing, "1"), last(opPong, "2"), more(opCont, "l"),
		last(opPing, ""), last(opCont, "lo"), last(opPong, "4"),
	), `ping "0"`, `ping "1"`, `pong "2"`, `ping ""`, `text "Hello"`, `pong "4"`)
	wantEvents(t, roomy, join(more(opText, "He"), last(opClose, closeBody(1000, ""))), `close 1000 ""`)
}

// 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of
// another message".
func TestRFC6455_5_4_DataFramesAreNotInterleaved(t *testing.T) {
	for _, op := range []byte{opText, opBinary} {
		wantEvents(t, roomyBinary, join(more(opText, "a"), last(op, "b")), "fail 1002")
		wantEvents(t, roomyBinary, join(more(opText, "a"), more(op, "b")), "fail 1002")
		wantEvents(t, roomyBinary, join(more(opText, "a"), more(opCont, ""), last(op, "b")), "fail 1002")
		wantEvents(t, roomyBinary, join(more(opText, "a"), last(opPing, ""), last(op, "b")), `ping ""`, "fail 1002")
	}
}

// 5.4: a continuation frame continues something.
func TestRFC6455_5_4_StrayContinuationFails(t *testing.T) {
	wantEvents(t, roomy, last(opCont, ""), "fail 1002")
	wantEvents(t, roomy, more(opCont, "a"), "fail 1002")
	wantEvents(t, roomy, join(last(opText, "a"), last(opCont, "b")), `text "a"`, "fail 1002")
	wantEvents(t, roomy, join(more(opText, "a"), last(opCont, "b"), last(opCont, "c")), `text "ab"`, "fail 1002")
	wantEvents(t, roomy, join(last(opPing, "a"), last(opCont, "b")), `ping "a"`, "fail 1002")
}

// 5.4: "The message is [...] the concatenation of the [...] fragments". Some may be empty.
func TestRFC6455_5_4_FragmentsAreJoined(t *testing.T) {
	wantEvents(t, roomy, join(more(opText, "a"), last(opCont, "b")), `text "ab"`)
	wantEvents(t, roomy, join(more(opText, ""), last(opCont, "")), `text ""`)
	wantEvents(t, roomy, join(more(opText, ""), more(opCont, "a"), more(opCont, ""), last(opCont, "")), `text "a"`)
	wantEvents(t, roomyBinary, join(more(opBinary, "\xff"), last(opCont, "\x00")), `binary "\xff\x00"`)
	// The second message starts from nothing.
	wantEvents(t, roomyBinary, join(more(opBinary, "\xff"), last(opCont, "b"), more(opText, "c"), last(opCont, "d")),
		`binary "\xffb"`, `text "cd"`)
	// Each frame has a key of its own.
	second := clientFrame{op: opCont, key: [4]byte{9, 8, 7, 6}, payload: []byte("67890")}
	wantEvents(t, roomy, join(more(opText, "12345"), second.bytes()), `text "1234567890"`)
}

// 5.5: "All control frames MUST have a payload length of 125 bytes or less".
func TestRFC6455_5_5_ControlFramesAreShort(t *testing.T) {
	for _, op := range []byte{opPing, opPong} {
		payload := bytes.Repeat([]byte{'p'}, 125)
		wantEvents(t, roomy, last(op, string(payload)), kindNames[map[byte]Kind{opPing: Ping, opPong: Pong}[op]]+" "+show(payload))
	}
	wantEvents(t, roomy, last(opClose, closeBody(1000, string(bytes.Repeat([]byte{'r'}, 123)))),
		"close 1000 "+show(bytes.Repeat([]byte{'r'}, 123)))
	for _, op := range []byte{opClose, opPing, opPong} {
		wantEvents(t, roomy, last(op, closeBody(1000, string(bytes.Repeat([]byte{'r'}, 124)))), "fail 1002")
		wantEvents(t, roomy, claim(op, 65536), "fail 1002")
		wantEvents(t, roomy, claim(op, 1<<63-1), "fail 1002")
		// Even an honest long form is over the limit as soon as its second byte is there.
		wantEvents(t, roomy, []byte{0x80 | op, 0x80 | 126}, "fail 1002")
	}
	// A control frame does not count against the message limit.
	wantEvents(t, &Limits{Message: 4, Fragments: 2}, join(more(opText, "abcd"), last(opPing, "12345678"), last(opCont, "")),
		`ping "12345678"`, `text "abcd"`)
}

// 5.5: "All control frames [...] MUST NOT be fragmented."
func TestRFC6455_5_5_ControlFramesAreNotFragmented(t *testing.T) {
	for _, op := range []byte{opClose, opPing, opPong} {
		wantEvents(t, roomy, more(op, ""), "fail 1002")
		wantEvents(t, roomy, more(op, closeBody(1000, "")), "fail 1002")
		wantEvents(t, roomy, join(more(opText, "a"), more(op, "")), "fail 1002")
	}
}

// 5.5.2 and 5.5.3: "A Pong frame [...] must have identical "Application data" as found
// in the message body of the Ping frame".
func TestRFC6455_5_5_3_PongHasThePingsPayload(t *testing.T) {
	for _, payload := range []string{"", "a", "\x00\xff\xfe", string(bytes.Repeat([]byte{0x80}, 125))} {
		ev, _, err := new(Decoder).Next(last(opPing, payload), roomy)
		if err != nil || ev.Kind != Ping || string(ev.Payload) != payload {
			t.Fatalf("ping %q: %v %v", payload, ev, err)
		}
		pong := AppendPong([]byte("before"), ev.Payload)
		h, body := readFrame(t, pong[len("before"):])
		if h.OpCode != ws.OpPong || !h.Fin || h.Masked || string(body) != payload {
			t.Errorf("ping %q is answered by %+v %q", payload, h, body)
		}
	}
	// 5.5.3: an unsolicited pong is fine.
	wantEvents(t, roomy, last(opPong, "unasked"), `pong "unasked"`)
	if got := AppendPing(nil); !bytes.Equal(got, []byte{0x89, 0}) {
		t.Errorf("ping is % x", got)
	}
}

// 5.6: binary data is arbitrary.
func TestRFC6455_5_6_BinaryIsNotUTF8(t *testing.T) {
	wantEvents(t, roomyBinary, last(opBinary, "\xff\x00\xc0"), `binary "\xff\x00\xc0"`)
}

// The first rule that breaks ends the replay, and what came before it stands.
func TestFramesBeforeAnErrorStand(t *testing.T) {
	wantEvents(t, roomy, join(last(opText, "a"), last(opText, "b"), last(opPing, "c"), last(7, ""), last(opText, "d")),
		`text "a"`, `text "b"`, `ping "c"`, "fail 1002")
}

// A conn between two messages costs one word and nothing else.
func TestDecoderIsOneWord(t *testing.T) {
	var d Decoder
	if size := unsafe.Sizeof(d); size != unsafe.Sizeof(uintptr(0)) {
		t.Errorf("a decoder has %d bytes", size)
	}
	in := join(last(opText, "a"), more(opText, "b"), last(opPing, "c"), last(opCont, "d"), last(opPong, ""))
	for i, c := range chunked(in, 1) {
		if _, err := drain(t, &d, c, roomy); err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if d != (Decoder{}) || buffered(&d) != 0 {
		t.Errorf("after whole messages the decoder keeps %d bytes", buffered(&d))
	}
	// Nor if the last frame came whole.
	if _, err := drain(t, &d, join(more(opText, "a"), last(opCont, "b")), roomy); err != nil || d != (Decoder{}) {
		t.Errorf("after a fragmented message in one read the decoder keeps %+v (%v)", d.partial, err)
	}
	if _, err := drain(t, &d, more(opText, "abc"), roomy); err != nil || buffered(&d) != 3 {
		t.Errorf("after a fragment of 3 bytes the decoder keeps %d bytes (%v)", buffered(&d), err)
	}
}

// Every encoder leaves what is in dst before and appends the same as to nothing.
func TestEncodersAppend(t *testing.T) {
	text := func(n int) func(dst []byte) []byte {
		return func(dst []byte) []byte {
			return EndText(append(BeginText(dst), strings.Repeat("x", n)...), len(dst))
		}
	}
	encoders := map[string]func(dst []byte) []byte{
		"text": text(100), "longer text": text(300), "long text": text(100_000),
		"pong":  func(dst []byte) []byte { return AppendPong(dst, []byte("p")) },
		"ping":  AppendPing,
		"close": func(dst []byte) []byte { return AppendClose(dst, protocol.CodeRestart, "r") },
	}
	for name, encode := range encoders {
		alone := encode(nil)
		for _, before := range []string{"x", strings.Repeat("before", 100)} {
			for _, room := range []int{0, 1, 5, 100000} {
				dst := append(make([]byte, 0, len(before)+room), before...)
				if got := encode(dst); string(got) != before+string(alone) {
					t.Errorf("%s after %d bytes with room for %d: %.200q", name, len(before), room, got)
				}
			}
		}
		// Two in a row are two frames.
		twice := encode(encode(nil))
		readFrame(t, twice[:len(alone)])
		readFrame(t, twice[len(alone):])
	}
}

func TestTextFrameAtBoundaryLengths(t *testing.T) {
	for _, n := range []int{0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537, 200000} {
		payload := bytes.Repeat([]byte("abcdefg"), n/7+1)[:n]
		for _, before := range []int{0, 1, 1000} {
			for _, room := range []int{0, 3, n + 4, n + 5, n + 10, 2 * n} {
				t.Run(fmt.Sprintf("%d after %d with room for %d", n, before, room), func(t *testing.T) {
					dst := append(make([]byte, 0, before+room), bytes.Repeat([]byte{0xee}, before)...)
					start := len(dst)
					dst = EndText(append(BeginText(dst), payload...), start)
					if got := bytes.Count(dst[:start], []byte{0xee}); got != before {
						t.Error("what was there before is overwritten")
					}
					if h, body := readFrame(t, dst[start:]); h.OpCode != ws.OpText || !h.Fin || h.Masked || !bytes.Equal(body, payload) {
						t.Errorf("header %+v, payload %s", h, show(body))
					}
					// AppendFrame writes the same.
					if !bytes.Equal(AppendFrame(nil, ws.OpText, payload), dst[start:]) {
						t.Error("AppendFrame differs")
					}
				})
			}
		}
	}
}
