// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"fmt"
	"testing"
	"unicode/utf8"

	"tickedge/internal/protocol"
)

// inPieces gives s to a stream in pieces that end where the bits of cuts are set, and at the
// end, and compares what it says after each with the whole of what came.
func inPieces(t testing.TB, s string, cuts uint64) {
	t.Helper()
	var u utf8Stream
	begin := 0
	for i := 1; i <= len(s); i++ {
		if i < len(s) && cuts>>((i-1)%64)&1 == 0 {
			continue
		}
		ok, want := u.take([]byte(s[begin:i])), viable([]byte(s[:i]))
		if ok != want {
			t.Fatalf("%q cut by %b: at %d it can become UTF-8: %v", s, cuts, i, ok)
		}
		if !ok {
			return
		}
		begin = i
	}
	if u.cut() == utf8.ValidString(s) {
		t.Fatalf("%q cut by %b ends in the middle: %v", s, cuts, u.cut())
	}
}

// borders are the bytes at which the rules of UTF-8 (RFC 3629, 4) change.
const borders = "\x00a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff"

// Every text of up to four of these bytes, in all ways to cut it.
func TestTextIsUTF8HoweverItIsCut(t *testing.T) {
	var all func(s string, left int)
	all = func(s string, left int) {
		for cuts := range uint64(1) << max(0, len(s)-1) {
			inPieces(t, s, cuts)
		}
		if left == 0 || !viable([]byte(s)) {
			return // What is wrong does not become right.
		}
		for i := range len(borders) {
			all(s+borders[i:i+1], left-1)
		}
	}
	all("", 4)
	for _, s := range badUTF8 {
		for _, s := range []string{s, "aé€😀" + s, s + "aé€😀"} {
			for cuts := range uint64(1) << min(8, len(s)) {
				inPieces(t, s, cuts)
			}
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range badUTF8 {
		f.Add("κόσμε"+s, uint64(0x5555))
	}
	f.Fuzz(func(t *testing.T, s string, cuts uint64) { inPieces(t, s, cuts) })
}

// 8.1: text that is not UTF-8 fails the connection in the frame where it shows, and in that as
// soon as the byte has come that nothing can follow, however much the frame claims.
func TestRFC6455_8_1_BadTextIsRefusedAtOnce(t *testing.T) {
	for _, s := range badUTF8 {
		shows := 0 // How many bytes of it say that it is wrong; 0 if only its end does.
		for i := 1; i <= len(s) && shows == 0; i++ {
			if !viable([]byte(s[:i])) {
				shows = i
			}
		}
		if shows == 0 {
			continue
		}
		t.Run(fmt.Sprintf("%q", s), func(t *testing.T) {
			for _, before := range []string{"", "aé€😀"} {
				s, shows := before+s, len(before)+shows
				// Behind it comes nothing that would be taken: no fragment and no ping.
				ping := last(opPing, "")
				wantEvents(t, roomy, join(more(opText, s), ping, last(opCont, "")), "fail 1007")
				for cut := range len(s) + 1 {
					want := []string{"fail 1007"}
					if cut < shows {
						want = []string{`ping ""`, "fail 1007"}
					}
					wantEvents(t, roomy, join(more(opText, s[:cut]), ping, more(opCont, s[cut:]), ping), want...)
				}
				// One frame, and one that goes on, of which more is claimed than comes.
				for _, begun := range [][]byte{nil, more(opText, "b")} {
					op := byte(opText)
					if begun != nil {
						op = opCont
					}
					var d Decoder
					in := last(op, s+"and so on")
					in = append(begun, in[:len(in)-len("and so on")]...)
					good := len(in) - len(s) + shows - 1
					if _, err := drain(t, &d, in[:good], roomy); err != nil {
						t.Fatalf("%q: before it shows: %v", s, err)
					}
					if _, err := drain(t, &d, in[good:good+1], roomy); err == nil || err.Code != protocol.CodeBadUTF8 {
						t.Errorf("%q: after byte %d of the text: %v", s, shows, err)
					}
				}
			}
		})
	}
	// What is not text is not looked at.
	wantEvents(t, roomyBinary, join(more(opBinary, "\xff"), last(opPing, "\xff"), last(opCont, "\xff")), `ping "\xff"`, `binary "\xff\xff"`)
}
