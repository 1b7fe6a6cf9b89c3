// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzDecoder reads its input twice. As bytes from a client: no panic, how they arrive
// does not matter, the decoder never holds more than it was given or than the limits
// allow (drain checks this), and the events are those of the model. As a program for a
// client that keeps the rules: what it says is what arrives.
func FuzzDecoder(f *testing.F) {
	for _, seed := range [][]byte{
		last(opText, `{"op":"ping"}`),
		join(last(opPing, "p"), more(opText, "\xe2\x82"), last(opPong, ""), last(opCont, "\xac"), last(opClose, closeBody(1000, "bye"))),
		join(more(opText, "abc"), more(opCont, ""), more(opCont, "d"), more(opCont, "e"), last(opCont, "f")),
		join(last(opText, string(bytes.Repeat([]byte("x"), 126))), last(opBinary, "\xff")),
		clientFrame{op: opText, form: 2, payload: []byte("x")}.bytes(),
		clientFrame{op: opText, unmasked: true}.bytes(),
		last(opText, string(bytes.Repeat([]byte("x"), 300))),
		last(opClose, closeBody(1005, "")), last(opClose, "x"), last(opText, "\xff"),
		claim(opText, 1<<62), claim(opBinary, 1<<63), claim(opPing, 65536),
	} {
		for _, kind := range []uint8{0, 1} {
			f.Add(seed, uint16(0), kind)
			f.Add(seed, uint16(3), kind)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, kind uint8) {
		lim := &Limits{Message: 200 + int(kind>>1), Fragments: 4, Binary: kind&1 != 0}
		sameInPieces(t, lim, in, model(in, lim), cut)
		sent, want := program(in, lim)
		sameInPieces(t, lim, sent, want, cut)
	})
}

func sameInPieces(t *testing.T, lim *Limits, in []byte, want []string, cut uint16) {
	t.Helper()
	whole := replay(t, lim, in)
	if !sameEvents(whole, want) {
		t.Fatalf("% x:\n got %s\nwant %s", in, lines(whole), lines(want))
	}
	i := min(int(cut), len(in))
	for _, chunks := range [][][]byte{{in[:i], in[i:]}, chunked(in, 1+int(cut)%64), chunked(in, 1)} {
		if got := replay(t, lim, chunks...); !slices.Equal(got, whole) {
			t.Fatalf("cut %d: % x:\n got %s\nwant %s", cut, in, lines(got), lines(whole))
		}
	}
}
