// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"tickedge/internal/protocol"
)

// held is the memory that a decoder keeps for incomplete input.
func held(d *Decoder) int {
	if d.partial == nil {
		return 0
	}
	return cap(d.partial.frame) + cap(d.partial.message)
}

// 5.2: a length is a claim of the peer. Memory follows what has arrived, also if the limit
// would allow what is claimed, and no arithmetic on it overflows.
func TestMemoryFollowsBytesNotClaims(t *testing.T) {
	limits := []int{16 << 20, math.MaxInt - 1, math.MaxInt}
	claims := []uint64{65536, 16 << 20, 1 << 62, 1<<63 - 1, 1 << 63, 1<<63 + 5, 1<<64 - 1}
	for _, limit := range limits {
		for _, n := range claims {
			for _, begun := range []string{"", "abc"} {
				t.Run(fmt.Sprintf("%d of %d after %q", n, limit, begun), func(t *testing.T) {
					lim := &Limits{Message: limit, Fragments: 16, Binary: true}
					var want protocol.Code
					switch {
					case n >= 1<<63:
						want = protocol.CodeProtocolError
					case n > uint64(limit-len(begun)):
						want = protocol.CodeTooBig
					}
					var d Decoder
					op := byte(opBinary)
					if begun != "" {
						if _, err := drain(t, &d, more(opBinary, begun), lim); err != nil {
							t.Fatal(err)
						}
						op = opCont
					}
					arrived := len(begun)
					for i, in := range [][]byte{claim(op, n), {'x'}, make([]byte, 4096)} {
						_, err := drain(t, &d, in, lim)
						if want != 0 {
							if i > 0 || err == nil || err.Code != want {
								t.Fatalf("read %d: got %v, want %d for the header alone", i, err, want)
							}
							break
						}
						if err != nil {
							t.Fatalf("read %d: %v", i, err)
						}
						arrived += len(in)
					}
					// Twice for the growth of a slice, and some for size classes.
					if got := held(&d); got > 2*arrived+64 {
						t.Errorf("%d bytes are held for %d that arrived", got, arrived)
					}
				})
			}
		}
	}
}

// conformance are the limits for what conformance suites send.
var conformance = &Limits{Message: 16 << 20, Fragments: 1 << 16, Binary: true}

// fragmented is a message in frames of size bytes.
func fragmented(op byte, payload []byte, size int) []byte {
	var in []byte
	for len(payload) > size {
		in = append(in, clientFrame{op: op, more: true, key: testKey, payload: payload[:size]}.bytes()...)
		op, payload = opCont, payload[size:]
	}
	return append(in, clientFrame{op: op, key: testKey, payload: payload}.bytes()...)
}

// inReads gives in to a new decoder, size bytes at a time, and returns its events.
// Unlike replay, it copies nothing that it does not have to.
func inReads(t testing.TB, lim *Limits, in []byte, size int) (events []Event, failed *ProtocolError) {
	t.Helper()
	var d Decoder
	buf := make([]byte, size)
	for len(in) > 0 {
		left := buf[:copy(buf, in)]
		in = in[len(left):]
		for {
			ev, rest, err := d.Next(left, lim)
			if err != nil {
				return events, err
			}
			if ev.Kind == NeedMore {
				break
			}
			// The payload may lie in buf, or be the decoder's own until it is called again.
			events, left = append(events, Event{Kind: ev.Kind, Code: ev.Code, Payload: bytes.Clone(ev.Payload)}), rest
		}
	}
	if d != (Decoder{}) {
		t.Errorf("the decoder keeps %d bytes", buffered(&d))
	}
	return events, nil
}

func TestBigMessages(t *testing.T) {
	const size = 16 << 20
	// Runes of four bytes in fragments of 255 and reads of 4096: cut everywhere.
	runes := []byte(strings.Repeat("😀", size/4))
	bits := bytes.Repeat([]byte("\xff\x00\x80"), size/3+1)[:size]
	tests := []struct {
		name string
		in   []byte
		want Event
		code protocol.Code
	}{
		{"text in one frame", last(opText, string(runes)), Event{Kind: Text, Payload: runes}, 0},
		{"binary in one frame", last(opBinary, string(bits)), Event{Kind: Binary, Payload: bits}, 0},
		{"65,536 fragments", fragmented(opBinary, bits, 256), Event{Kind: Binary, Payload: bits}, 0},
		{"runes cut by fragments", fragmented(opText, runes[:8<<20], 255), Event{Kind: Text, Payload: runes[:8<<20]}, 0},
		{"65,536 fragments and an empty one", join(fragmentedOpen(bits[:1<<20], 16), last(opCont, "")), Event{Kind: Binary, Payload: bits[:1<<20]}, 0},
		{"65,537 fragments", join(fragmentedOpen(bits[:1<<20], 16), last(opCont, "x")), Event{}, protocol.CodeTooBig},
		{"a byte too many", last(opBinary, string(bits)+"x"), Event{}, protocol.CodeTooBig},
		{"a byte too many in fragments", fragmented(opBinary, append(bytes.Clone(bits), 'x'), 1<<20), Event{}, protocol.CodeTooBig},
		{"a bad byte at the end", last(opText, string(runes[:size-1])+"\xff"), Event{}, protocol.CodeBadUTF8},
		{"a bad byte in the first fragment", fragmented(opText, append([]byte{0xff}, runes[:1<<20]...), 4096), Event{}, protocol.CodeBadUTF8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events, err := inReads(t, conformance, tt.in, 4096)
			switch {
			case tt.code != 0 && (err == nil || err.Code != tt.code || len(events) > 0):
				t.Errorf("%d events and %v, want %d", len(events), err, tt.code)
			case tt.code == 0 && (err != nil || len(events) != 1 || events[0].Kind != tt.want.Kind || !bytes.Equal(events[0].Payload, tt.want.Payload)):
				t.Errorf("%d events and %v", len(events), err)
			}
		})
	}
}

// fragmentedOpen is a binary message in 1<<16 frames none of which is the last.
func fragmentedOpen(payload []byte, size int) []byte {
	in := more(opBinary, string(payload[:size]))
	for i := 1; i < 1<<16; i++ {
		in = append(in, more(opCont, string(payload[i*size:(i+1)*size]))...)
	}
	return in
}

// What is allocated for a message is in proportion to it, not to its square, however
// small the reads are.
func TestBigMessagesAreNotCopiedAgainAndAgain(t *testing.T) {
	const size = 4 << 20
	payload := make([]byte, size)
	for name, in := range map[string][]byte{
		"one frame": last(opBinary, string(payload)), "fragments": fragmented(opBinary, payload, 256),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			var d Decoder
			buf := make([]byte, 512)
			runtime.ReadMemStats(&before)
			for left := in; len(left) > 0; {
				n := copy(buf, left)
				left = left[n:]
				for b := buf[:n]; ; {
					ev, rest, err := d.Next(b, conformance)
					if err != nil {
						t.Fatal(err)
					}
					if b = rest; ev.Kind == NeedMore {
						break
					}
				}
			}
			runtime.ReadMemStats(&after)
			// A slice that grows by a quarter is allocated five times over, and the odd
			// frame that a read has cut once more.
			if got := after.TotalAlloc - before.TotalAlloc; got > 10*size {
				t.Errorf("%d bytes were allocated for %d", got, size)
			}
		})
	}
}

func BenchmarkDecodeBigMessage(b *testing.B) {
	for _, size := range []int{1 << 20, 16 << 20} {
		payload := make([]byte, size)
		for name, in := range map[string][]byte{
			"frame": last(opText, string(payload)), "fragments": fragmented(opText, payload, 256),
		} {
			b.Run(fmt.Sprintf("%s/%dMiB", name, size>>20), func(b *testing.B) {
				b.SetBytes(int64(size))
				buf := make([]byte, 4096)
				for b.Loop() {
					var d Decoder
					for left := in; len(left) > 0; {
						n := copy(buf, left)
						left = left[n:]
						for in := buf[:n]; ; {
							ev, rest, err := d.Next(in, conformance)
							if err != nil {
								b.Fatal(err)
							}
							if in = rest; ev.Kind == NeedMore {
								break
							}
						}
					}
				}
			})
		}
	}
}
