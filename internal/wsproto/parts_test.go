// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"slices"
	"testing"

	"tickedge/internal/protocol"
)

// parts decodes b in reads of n bytes, and returns how many parts each message came in.
func parts(b []byte, n int, lim Limits) (all []int, perr *ProtocolError) {
	var d Decoder
	for read := range slices.Chunk(bytes.Clone(b), n) {
		for {
			ev, rest, err := d.Next(read, &lim)
			if err != nil {
				return all, err
			}
			if ev.Kind == NeedMore {
				break
			}
			all, read = append(all, ev.Parts), rest
		}
	}
	return all, nil
}

// A message counts its fragments, and the reads that it took.
func TestParts(t *testing.T) {
	text, pong := last(1, "0123456789"), last(0xa, "") // 16 and 6 bytes.
	begin, middle, end := more(1, "01"), more(0, "23"), last(0, "45")
	fragments := slices.Concat(begin, middle, pong, end) // 8 each.
	for _, tc := range []struct {
		name string
		b    []byte
		read int
		want []int
	}{
		{"at once", slices.Concat(text, pong, text), 100, []int{1, 1, 1}},
		{"byte by byte", slices.Concat(text, pong, text), 1, []int{16, 6, 16}},
		{"two reads each", slices.Concat(text, text), 8, []int{2, 2}},
		{"cut once", slices.Concat(text, text), 20, []int{1, 2}},
		{"fragments at once", fragments, 100, []int{1, 3}},
		{"fragments byte by byte", slices.Concat(fragments, text), 1, []int{6, 24, 16}},
		{"fragments and cuts", slices.Concat(fragments, text), 12, []int{1, 5, 2}},
	} {
		lim := Limits{Message: 1 << 10, Fragments: 10}
		if got, err := parts(tc.b, tc.read, lim); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v %v, want %v", tc.name, got, err, tc.want)
		}
		// That many are taken, and one less is not.
		lim.Parts = slices.Max(tc.want)
		if _, err := parts(tc.b, tc.read, lim); err != nil {
			t.Errorf("%s, at most %d: %v", tc.name, lim.Parts, err)
		}
		if lim.Parts--; lim.Parts > 0 {
			if _, err := parts(tc.b, tc.read, lim); err == nil || err.Code != protocol.CodeTooBig {
				t.Errorf("%s, at most %d: %v", tc.name, lim.Parts, err)
			}
		}
	}
	// A last fragment that is empty does not count, unless it takes reads of its own.
	spare := slices.Concat(begin, middle, last(0, ""))
	for _, tc := range []struct{ read, most int }{{100, 2}, {16, 2}, {20, 4}} {
		lim := Limits{Message: 1 << 10, Fragments: 2, Parts: tc.most}
		if _, err := parts(spare, tc.read, lim); err != nil {
			t.Errorf("in reads of %d, at most %d: %v", tc.read, tc.most, err)
		}
		lim.Parts--
		if _, err := parts(spare, tc.read, lim); err == nil {
			t.Errorf("in reads of %d, at most %d: no error", tc.read, lim.Parts)
		}
	}
	// A frame that is not complete counts with the fragments before it.
	var d Decoder
	lim := Limits{Message: 1 << 10, Fragments: 10, Parts: 4}
	for i, read := range [][]byte{join(begin, middle, middle), end[:1], end[1:2]} {
		_, _, err := d.Next(bytes.Clone(read), &lim)
		if (err != nil) != (i == 2) {
			t.Errorf("read %d: %v", i, err)
		}
	}
}
