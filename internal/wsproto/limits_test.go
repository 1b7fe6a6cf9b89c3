// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"tickedge/internal/protocol"
)

// badUTF8 is text that RFC 3629 forbids.
var badUTF8 = []string{
	"\xff", "\xfe", "\x80", "a\xbf", // No first byte.
	"\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", // Overlong.
	"\xc0\x80",                     // NUL, as some encode it.
	"\xed\xa0\x80", "\xed\xbf\xbf", // Surrogates.
	"\xed\xa0\xbd\xed\xb8\x80",         // A pair of surrogates (CESU-8).
	"\xf4\x90\x80\x80", "\xf5\x80\x80", // Beyond U+10FFFF.
	"\xf8\x88\x80\x80\x80",             // Five bytes.
	"\xc3", "\xe2\x82", "\xf0\x9f\x98", // Cut off.
	"\xc3a", "\xe2\x82a", "\xf0\x9f\x98a", // Cut short.
	"κόσμε\xed\xa0\x80edited", // From Autobahn's case 6.3.1.
}

// 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte
// stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
// Connection_."
func TestRFC6455_8_1_TextIsUTF8(t *testing.T) {
	for _, s := range badUTF8 {
		t.Run(fmt.Sprintf("%q", s), func(t *testing.T) {
			wantEvents(t, roomy, last(opText, s), "fail 1007")
			wantEvents(t, roomy, last(opText, "before"+s+"after"), "fail 1007")
			for cut := range len(s) + 1 {
				wantEvents(t, roomy, join(more(opText, s[:cut]), last(opCont, s[cut:])), "fail 1007")
			}
		})
	}
	for _, s := range []string{"", "\x00", "\x7f", "é", "\uffff", "\ue000", "\ufeff", "€", "😀", "\U0010ffff", "κόσμε"} {
		wantEvents(t, roomy, last(opText, s), "text "+show([]byte(s)))
	}
}

// 8.1 and 5.6: a rune may be cut by fragments; only the whole message is UTF-8.
func TestRFC6455_8_1_RunesMayBeCutByFragments(t *testing.T) {
	const s = "aé€😀\U0010ffff"
	for i := range len(s) + 1 {
		for j := i; j <= len(s); j++ {
			in := join(more(opText, s[:i]), last(opPing, ""), more(opCont, s[i:j]), last(opCont, s[j:]))
			wantEvents(t, roomy, in, `ping ""`, "text "+show([]byte(s)))
		}
	}
	var in []byte
	for i := range len(s) {
		in = append(in, more([]byte{opText, opCont}[min(i, 1)], s[i:i+1])...)
	}
	wantEvents(t, roomy, append(in, last(opCont, "")...), "text "+show([]byte(s)))
}

// 7.4.1: "1003 indicates that an endpoint is terminating the connection because it has
// received a type of data it cannot accept".
func TestRFC6455_7_4_1_BinaryIs1003(t *testing.T) {
	wantEvents(t, roomy, last(opBinary, ""), "fail 1003")
	wantEvents(t, roomy, last(opBinary, "ab"), "fail 1003")
	wantEvents(t, roomy, more(opBinary, "ab"), "fail 1003")
	wantEvents(t, roomy, join(last(opText, "a"), more(opBinary, ""), last(opCont, "b")), `text "a"`, "fail 1003")
	// Two bytes say enough.
	wantEvents(t, roomy, []byte{0x82, 0x85}, "fail 1003")

	wantEvents(t, roomyBinary, last(opBinary, "ab"), `binary "ab"`)
	wantEvents(t, roomyBinary, join(more(opBinary, "a"), last(opPing, "p"), last(opCont, "b")), `ping "p"`, `binary "ab"`)
}

// 7.4.1: "1009 indicates that an endpoint is terminating the connection because it has
// received a message that is too big for it to process". A claim is enough, and nothing
// is kept of what it claims.
func TestRFC6455_7_4_1_TooBigByClaim(t *testing.T) {
	lim := &Limits{Message: 20 << 10, Fragments: 16}
	claims := []struct {
		n    uint64
		want protocol.Code
	}{
		{20<<10 + 1, protocol.CodeProtocolError}, // Not the shortest form.
		{65536, protocol.CodeTooBig}, {1 << 31, protocol.CodeTooBig}, {1 << 32, protocol.CodeTooBig}, {1<<32 + 1, protocol.CodeTooBig},
		{1 << 62, protocol.CodeTooBig}, {1<<63 - 1, protocol.CodeTooBig},
		{1 << 63, protocol.CodeProtocolError}, {1<<63 + 5, protocol.CodeProtocolError}, {1<<64 - 1, protocol.CodeProtocolError},
	}
	for _, c := range claims {
		for _, started := range []bool{false, true} {
			for name, follow := range map[string]int{"alone": 0, "one byte": 1, "4 KiB": 4096} {
				t.Run(fmt.Sprintf("%d %s %v", c.n, name, started), func(t *testing.T) {
					var d Decoder
					op, held := byte(opText), 0
					if started {
						if _, err := drain(t, &d, more(opText, "abc"), lim); err != nil {
							t.Fatal(err)
						}
						op, held = opCont, 3
					}
					in := append(claim(op, c.n), make([]byte, follow)...)
					_, err := drain(t, &d, in, lim)
					if err == nil || err.Code != c.want {
						t.Errorf("got %v, want %d", err, c.want)
					}
					if buffered(&d) > held+14 {
						t.Errorf("the decoder holds %d bytes", buffered(&d))
					}
					wantEvents(t, lim, claim(opText, c.n), fmt.Sprintf("fail %d", c.want))
				})
			}
		}
	}
	// The length is enough, the masking key need not be there.
	wantEvents(t, lim, claim(opText, 1<<62)[:10], "fail 1009")
	wantEvents(t, lim, []byte{0x81, 0xfe, 0x50, 0x01}, "fail 1009")
}

func TestMessageLimit(t *testing.T) {
	for _, limit := range []int{0, 1, 125, 126, 65535, 65536} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			lim := &Limits{Message: limit, Fragments: 16}
			fits := strings.Repeat("x", limit)
			want := "text " + show([]byte(fits))
			wantEvents(t, lim, last(opText, fits), want)
			wantEvents(t, lim, last(opText, fits+"x"), "fail 1009")
			// The same in fragments: it is the sum that counts.
			half := limit / 2
			wantEvents(t, lim, join(more(opText, fits[:half]), last(opCont, fits[half:])), want)
			wantEvents(t, lim, join(more(opText, fits[:half]), more(opCont, fits[half:]), last(opCont, "")), want)
			wantEvents(t, lim, join(more(opText, fits[:half]), last(opCont, fits[half:]+"x")), "fail 1009")
			wantEvents(t, lim, join(more(opText, fits), more(opCont, "x")), "fail 1009")
			// The next message has the whole limit again.
			wantEvents(t, lim, join(more(opText, fits), last(opCont, ""), last(opText, fits)), want, want)
		})
	}
}

func TestFragmentsLimit(t *testing.T) {
	lim := &Limits{Message: 100, Fragments: 3}
	wantEvents(t, lim, join(more(opText, "a"), more(opCont, "b"), last(opCont, "c")), `text "abc"`)
	wantEvents(t, lim, join(more(opText, "a"), more(opCont, "b"), more(opCont, "c"), last(opCont, "d")), "fail 1009")
	wantEvents(t, lim, bytes.Join([][]byte{more(opText, ""), more(opCont, ""), more(opCont, ""), more(opCont, "")}, last(opPing, "")),
		`ping ""`, `ping ""`, `ping ""`, "fail 1009")
	// A last one that is empty does not count, as those have who learn of the end behind it.
	wantEvents(t, lim, join(more(opText, "a"), more(opCont, "b"), more(opCont, "c"), last(opCont, "")), `text "abc"`)
	wantEvents(t, lim, join(more(opText, "a"), more(opCont, "b"), more(opCont, "c"), more(opCont, ""), last(opCont, "")), "fail 1009")
	// Control frames and whole messages are no fragments, and the count starts again.
	three := join(more(opText, "a"), last(opPing, ""), more(opCont, "b"), last(opPing, ""), last(opCont, "c"))
	wantEvents(t, lim, join(three, last(opText, "d"), three), `ping ""`, `ping ""`, `text "abc"`, `text "d"`, `ping ""`, `ping ""`, `text "abc"`)
}

func TestBoundaryLengths(t *testing.T) {
	tests := []struct {
		name   string
		n      int
		header int
	}{
		{"empty", 0, 6},
		{"last of 7 bits", 125, 6},
		{"first of 16 bits", 126, 8},
		{"last of 16 bits", 65535, 8},
		{"first of 64 bits", 65536, 14},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			payload := bytes.Repeat([]byte("abcdefg"), tt.n/7+1)[:tt.n]
			in := last(opText, string(payload))
			if len(in) != tt.header+tt.n {
				t.Fatalf("the frame has %d bytes", len(in))
			}
			want := "text " + show(payload)
			wantEvents(t, roomy, in, want)
			wantEvents(t, roomy, join(in, last(opPing, ""), in), want, `ping ""`, want)
			wantEvents(t, roomy, join(more(opText, "é"), last(opCont, string(payload))), "text "+show(append([]byte("é"), payload...)))
			for cut := range min(len(in), 20) {
				if got := replay(t, roomy, in[:cut], in[cut:]); !sameEvents(got, []string{want}) {
					t.Errorf("cut at %d: %s", cut, lines(got))
				}
				var d Decoder
				if _, err := drain(t, &d, in[:cut], roomy); err != nil || buffered(&d) != cut {
					t.Errorf("of %d bytes the decoder holds %d (%v)", cut, buffered(&d), err)
				}
			}
		})
	}
}
