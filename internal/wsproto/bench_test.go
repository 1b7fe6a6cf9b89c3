// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"testing"

	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
)

// A whole frame in one read is decoded in place: nothing is allocated for it.
func TestDecodeOfWholeFramesAllocatesNothing(t *testing.T) {
	in := join(last(opText, `{"op":"ping"}`), last(opPing, "p"), last(opPong, ""), last(opClose, closeBody(1000, "")))
	buf := make([]byte, len(in))
	var d Decoder
	got := testing.AllocsPerRun(100, func() {
		copy(buf, in)
		for left := buf; ; {
			ev, rest, err := d.Next(left, roomy)
			if err != nil {
				t.Fatal(err)
			}
			if left = rest; ev.Kind == NeedMore {
				return
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkDecodeSmallFrame(b *testing.B) {
	in := last(opText, `{"op":"ping","id":1}`)
	buf := make([]byte, len(in))
	var d Decoder
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		copy(buf, in)
		if ev, _, err := d.Next(buf, roomy); err != nil || ev.Kind != Text {
			b.Fatal(ev, err)
		}
	}
}

func BenchmarkDecodeFrameInTwoReads(b *testing.B) {
	in := last(opText, `{"op":"ping","id":1}`)
	buf := make([]byte, len(in))
	var d Decoder
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, in)
		if _, _, err := d.Next(buf[:5], roomy); err != nil {
			b.Fatal(err)
		}
		if ev, _, err := d.Next(buf[5:], roomy); err != nil || ev.Kind != Text {
			b.Fatal(ev, err)
		}
	}
}

// browserHead is what a browser sends.
var browserHead = headOf("GET /ws?topics=AAPL&interval=500&token=a.b.c HTTP/1.1", plus(
	"Pragma: no-cache", "Cache-Control: no-cache", "Origin: https://edge.example", "Accept-Encoding: gzip, deflate, br, zstd",
	"Accept-Language: en-US,en;q=0.9", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36")...)

// openUp is all that a usual handshake takes, but for what it says of topics.
func openUp(t testing.TB, out []byte) ([]byte, httphead.Query) {
	size, r := httphead.Head(browserHead, 0, 8<<10)
	if r != nil {
		t.Fatal(r)
	}
	req, r := httphead.ParseRequest(browserHead[:size])
	if r != nil || CheckUpgrade(&req) != nil {
		t.Fatal(r, CheckUpgrade(&req))
	}
	o, r := req.ParseQuery(protocol.ValidInterval)
	if r != nil {
		t.Fatal(r)
	}
	return AppendUpgrade(out, &req, ""), o
}

// A handshake allocates the list of its topics and nothing else: in a storm of them the
// garbage of each would call for the collector.
func TestHandshakeAllocatesOnlyTheListOfTopics(t *testing.T) {
	var out []byte
	out, _ = openUp(t, out)
	if got := testing.AllocsPerRun(100, func() { out, _ = openUp(t, out[:0]) }); got != 1 {
		t.Errorf("%v allocations, want 1", got)
	}
}

func BenchmarkHandshake(b *testing.B) {
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = openUp(b, out[:0])
	}
}

func BenchmarkTextFrame(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 1000)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = EndText(append(BeginText(out[:0]), payload...), 0)
	}
}
