// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"tickedge/internal/protocol"
)

// 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned
// integer [...] Following the 2-byte integer, the body MAY contain UTF-8-encoded data".
func TestRFC6455_5_5_1_CloseBody(t *testing.T) {
	wantEvents(t, roomy, last(opClose, ""), "close 0")
	wantEvents(t, roomy, last(opClose, "\x03"), "fail 1002")
	wantEvents(t, roomy, last(opClose, closeBody(1000, "")), `close 1000 ""`)
	wantEvents(t, roomy, last(opClose, closeBody(1001, "tschüß €")), `close 1001 "tschüß €"`)
	// 8.1: a reason that is no UTF-8.
	for _, reason := range badUTF8 {
		wantEvents(t, roomy, last(opClose, closeBody(1000, reason)), "fail 1007")
	}
}

// 7.4: which codes may stand in a close frame.
func TestRFC6455_7_4_CloseCodes(t *testing.T) {
	// 7.4.1, and 1012 to 1014 of the registry that section 11.7 opens.
	valid := map[int]bool{
		1000: true, 1001: true, 1002: true, 1003: true, 1007: true, 1008: true, 1009: true,
		1010: true, 1011: true, 1012: true, 1013: true, 1014: true,
	}
	for code := 3000; code <= 4999; code++ { // 7.4.2: registered and private use.
		valid[code] = true
	}
	for code := 0; code <= 65535; code++ {
		want := "fail 1002"
		if valid[code] {
			want = fmt.Sprintf("close %d \"\"", code)
		}
		if got := replay(t, roomy, last(opClose, closeBody(uint16(code), ""))); !sameEvents(got, []string{want}) {
			t.Errorf("close code %d: got %s, want %s", code, lines(got), want)
		}
	}
}

// The classes of 7.4.1 and 7.4.2 by name, with a reason and cut at every byte.
func TestRFC6455_7_4_2_CloseCodeClasses(t *testing.T) {
	tests := []struct {
		class string
		codes []uint16
		ok    bool
	}{
		{"7.4.2 not used", []uint16{0, 1, 500, 999}, false},
		{"7.4.1 defined", []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011}, true},
		{"7.4.1 reserved", []uint16{1004}, false},
		{"7.4.1 must not be sent", []uint16{1005, 1006, 1015}, false},
		{"11.7 registered later", []uint16{1012, 1013, 1014}, true},
		{"7.4.2 reserved for the protocol", []uint16{1016, 1100, 1999, 2000, 2999}, false},
		{"7.4.2 registered", []uint16{3000, 3999}, true},
		{"7.4.2 private", []uint16{4000, 4001, 4503, 4999}, true},
		{"undefined", []uint16{5000, 5001, 32768, 65535}, false},
	}
	for _, tt := range tests {
		t.Run(tt.class, func(t *testing.T) {
			for _, code := range tt.codes {
				want := "fail 1002"
				if tt.ok {
					want = fmt.Sprintf("close %d \"why\"", code)
				}
				wantEvents(t, roomy, last(opClose, closeBody(code, "why")), want)
			}
		})
	}
}

func TestAppendClose(t *testing.T) {
	tests := []struct {
		name   string
		code   protocol.Code
		reason string
		want   string
	}{
		{"no body", 0, "", "\x88\x00"},
		{"no reason", protocol.CodeNormal, "", "\x88\x02\x03\xe8"},
		{"reason", protocol.CodeGoingAway, "shutting down", "\x88\x0f\x03\xe9shutting down"},
		{"private code", protocol.CodeSlowConsumer, "slow consumer", "\x88\x0f\x0f\xa1slow consumer"},
		{"longest reason", protocol.CodeTooBig, strings.Repeat("r", 123), "\x88\x7d\x03\xf1" + strings.Repeat("r", 123)},
		{"too long", protocol.CodeTooBig, strings.Repeat("r", 124), "\x88\x7d\x03\xf1" + strings.Repeat("r", 123)},
		{"cut at a rune", protocol.CodeTooBig, strings.Repeat("r", 122) + "é", "\x88\x7c\x03\xf1" + strings.Repeat("r", 122)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := AppendClose([]byte("before"), tt.code, tt.reason); string(got) != "before"+tt.want {
				t.Errorf("got %q, want %q", got, "before"+tt.want)
			}
		})
	}
}

// 5.5.1 and 7.4: what we send would be taken by a client that checks as we do.
func TestAppendCloseIsValid(t *testing.T) {
	codes := []protocol.Code{0, protocol.CodeNormal, protocol.CodeGoingAway, protocol.CodeProtocolError, protocol.CodeUnsupported, protocol.CodeBadUTF8, protocol.CodeTooBig,
		protocol.CodeInternal, protocol.CodeRestart, protocol.CodeTryLater, protocol.CodeSlowConsumer, protocol.CodeNoPong, protocol.CodeIdle, protocol.CodeMalformed, protocol.CodeToken, protocol.CodeReplaced}
	for _, code := range codes {
		for n := range 140 {
			reason := strings.Repeat("aé€😀", 20)[:n]
			for !utf8.ValidString(reason) {
				reason = reason[:len(reason)-1]
			}
			h, body := readFrame(t, AppendClose(nil, code, reason))
			if h.OpCode != ws.OpClose || !h.Fin || h.Length > 125 || h.Masked {
				t.Fatalf("close %d with %d bytes: header %+v", code, n, h)
			}
			if _, err := checkClose(body); err != nil {
				t.Fatalf("close %d with %q: %v", code, reason, err)
			}
			if code != 0 && !strings.HasPrefix(reason, string(body[2:])) {
				t.Fatalf("close %d with %q: body %q", code, reason, body)
			}
		}
	}
}

func TestProtocolErrorIsItsReason(t *testing.T) {
	_, _, err := new(Decoder).Next([]byte{0x81, 0}, roomy)
	if err == nil || err.Error() != err.Reason || err.Reason == "" {
		t.Errorf("an unmasked frame fails with %v", err)
	}
}

// readFrame reads the one frame that b is, with another implementation's eyes.
func readFrame(t testing.TB, b []byte) (ws.Header, []byte) {
	t.Helper()
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	if err != nil {
		t.Fatalf("frame header of % x: %v", b[:min(len(b), 14)], err)
	}
	if err := ws.CheckHeader(h, ws.StateClientSide); err != nil {
		t.Fatalf("frame header %+v: %v", h, err)
	}
	if int64(r.Len()) != h.Length {
		t.Fatalf("the header says %d bytes, %d follow", h.Length, r.Len())
	}
	// The shortest form, which another implementation does not insist on.
	if size := int64(len(b)) - h.Length; size != int64(ws.HeaderSize(h)) {
		t.Fatalf("%d bytes have a header of %d bytes", h.Length, size)
	}
	return h, b[len(b)-r.Len():]
}
