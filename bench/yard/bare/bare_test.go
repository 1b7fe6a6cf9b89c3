// SPDX-License-Identifier: Apache-2.0

package bare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/wire"
)

var start = time.UnixMilli(1732181723000)

func rowsOf(t testing.TB, pattern string, universe int) *Rows {
	t.Helper()
	names, err := Names(pattern, universe)
	if err != nil {
		t.Fatal(err)
	}
	return NewRows(names, 1000, start)
}

// frameText checks that b is one text frame and returns what is in it.
func frameText(t testing.TB, b []byte) []byte {
	t.Helper()
	h, err := wire.ParseHeader(b)
	if err != nil || h.Op != wire.OpText || !h.Fin || h.Size+h.Length != len(b) {
		t.Fatalf("frame of %d bytes: %+v, %v", len(b), h, err)
	}
	return b[h.Size:]
}

func TestGather(t *testing.T) {
	r := rowsOf(t, "SYM%04d", 1000)
	r.Refresh(start.Add(20 * time.Second)) // 20,000 ticks.
	topics := []uint16{7, 999, 0, 500, 3, 11, 12, 13, 14, 15}
	buf := make([]byte, FrameSize(len(topics)))
	frame := r.Gather(buf, topics, 1732181744000)
	if len(frame) < 800 || len(frame) > 900 {
		t.Errorf("a frame of %d bytes", len(frame))
	}
	var u struct {
		T  string
		TS int64
		D  []struct {
			S string
			N uint64
			V struct {
				P, B, A float64
				TS      int64
			}
		}
	}
	text := frameText(t, frame)
	if err := json.Unmarshal(text, &u); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if u.T != "update" || u.TS != 1732181744000 || len(u.D) != len(topics) {
		t.Errorf("%+v", u)
	}
	for i, row := range u.D {
		if row.S != fmt.Sprintf("SYM%04d", topics[i]) || row.N < 2 || row.V.P < 10 || row.V.TS != start.UnixMilli()+20000 ||
			row.V.B >= row.V.P || row.V.A <= row.V.P {
			t.Errorf("row %d: %+v", i, row)
		}
	}
}

// The lengths at which a frame's header changes, and the longest rows there can be.
func TestGatherSizes(t *testing.T) {
	short := rowsOf(t, "%d", 10)
	long := rowsOf(t, strings.Repeat("x", 60)+"%04d", TopicsMax)
	all := make([]uint16, TopicsMax)
	for i := range all {
		all[i] = uint16(i)
	}
	for i := range long.rows {
		long.rows[i].n = 1<<64 - 2
		long.rows[i].set(bytes.Repeat([]byte{'9'}, 80))
	}
	for _, c := range []struct {
		rows *Rows
		n    int
	}{{short, 1}, {short, 3}, {short, 10}, {long, 1}, {long, TopicsMax}} {
		text := frameText(t, c.rows.Gather(make([]byte, FrameSize(c.n)), all[:c.n], 1732181744000))
		if !json.Valid(text) {
			t.Errorf("%d rows: %s", c.n, text)
		}
	}
}

func TestGatherDoesNotAllocate(t *testing.T) {
	r := rowsOf(t, "SYM%04d", 1000)
	now, buf := start, make([]byte, FrameSize(3))
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(Turn)
		r.Refresh(now)
		r.Gather(buf, []uint16{1, 2, 3}, 1732181744000)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGather(b *testing.B) {
	r := rowsOf(b, "SYM%04d", 1000)
	r.Refresh(start.Add(20 * time.Second))
	topics := []uint16{7, 999, 0, 500, 3, 11, 12, 13, 14, 15}
	buf := make([]byte, FrameSize(len(topics)))
	for b.Loop() {
		r.Gather(buf, topics, 1732181744000)
	}
}

func TestMarketKeepsItsRate(t *testing.T) {
	m := NewMarket(10, 20000, start)
	total := 0
	for i := range 200 {
		total += m.Due(start.Add(time.Duration(i+1) * 5100 * time.Microsecond))
	}
	if total != 20400 {
		t.Errorf("%d ticks in 1.02 s, want 20400", total)
	}
}

func TestSweepVisitsEachOncePerWindow(t *testing.T) {
	s := Sweep{Window: 500 * time.Millisecond}
	s.Next(start, 1000) // Begins the first window.
	visits := make([]int, 1000)
	for turn := 1; turn <= 400; turn++ { // Four windows.
		from, to := s.Next(start.Add(time.Duration(turn)*Turn), len(visits))
		if to-from > 20 {
			t.Errorf("turn %d visits %d places", turn, to-from)
		}
		for i := from; i < to; i++ {
			visits[i]++
		}
	}
	for i, n := range visits {
		if n != 4 {
			t.Fatalf("place %d was visited %d times in 4 windows", i, n)
		}
	}
}

func TestSweepCatchesUpAtMostOneWindow(t *testing.T) {
	s := Sweep{Window: 100 * time.Millisecond}
	s.Next(start, 50)
	at, visited := start, 0
	for _, late := range []time.Duration{time.Second, Turn, 150 * time.Millisecond} {
		at = at.Add(late)
		from, to := s.Next(at, 50)
		visited += to - from
	}
	if visited != 100 {
		t.Errorf("%d visits, want the 50 of the window that was late and the 50 of the one after it", visited)
	}
}

// What bench sends is understood, and bench understands the answer.
func TestHandshakeAndSubscribe(t *testing.T) {
	key := [16]byte{1, 2, 3}
	request := wire.AppendRequest(nil, "/ws", "127.0.0.1:8080", key)
	for cut := range request {
		if HeadSize(request[:cut]) != 0 {
			t.Fatalf("a head is complete after %d of %d bytes", cut, len(request))
		}
	}
	if n := HeadSize(append(request, "more"...)); n != len(request) {
		t.Errorf("a head of %d bytes, want %d", n, len(request))
	}
	answer, ok := AppendAnswer(nil, request)
	if size, status, err := wire.ParseAnswer(answer, key); !ok || size != len(answer) || status != 101 || err != nil {
		t.Errorf("%q: %d %d %v", answer, size, status, err)
	}
	if _, ok := AppendAnswer(nil, []byte("GET / HTTP/1.1\r\n\r\n")); ok {
		t.Error("a head without a key is answered")
	}

	names, _ := Names("SYM%04d", 20)
	numbers := NewTopics(names)
	cmd := `{"op":"subscribe","topics":["SYM0003","SYM0019"],"id":1}`
	frame := wire.AppendFrame(nil, wire.OpText, [4]byte{9, 8, 7, 6}, []byte(cmd))
	for cut := range frame {
		if _, _, size := NextFrame(bytes.Clone(frame[:cut])); size != 0 {
			t.Fatalf("a frame is complete after %d of %d bytes", cut, len(frame))
		}
	}
	op, payload, size := NextFrame(append(frame, 'x'))
	if op != OpText || string(payload) != cmd || size != len(frame) {
		t.Errorf("%d %q %d", op, payload, size)
	}
	var topics [3]uint16
	if n := numbers.Subscribe(payload, topics[:]); n != 2 || topics[0] != 3 || topics[1] != 19 {
		t.Errorf("%d topics: %v", n, topics)
	}
	for cut := range cmd[:len(cmd)-len(`],"id":1}`)] {
		if n := numbers.Subscribe([]byte(cmd[:cut]), topics[:]); n != 0 {
			t.Errorf("%q has %d topics", cmd[:cut], n)
		}
	}
	if n := numbers.Subscribe([]byte(cmd), topics[:1]); n != 0 {
		t.Errorf("%d topics in the room of one", n)
	}
	if got, want := string(frameText(t, AppendAck(nil, 2))), `{"t":"ack","id":1,"op":"subscribe","topics":2}`; got != want {
		t.Errorf("ack %s", got)
	}
	if got := string(frameText(t, AppendText(nil, Hello(500*time.Millisecond)))); !strings.Contains(got, `"interval":500,`) || !json.Valid([]byte(got)) {
		t.Errorf("hello %s", got)
	}
}
