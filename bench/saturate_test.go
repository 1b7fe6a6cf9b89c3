// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestSaturate(t *testing.T) {
	twoCPUs(t)
	var res saturateResult
	labBench(t, &res, "saturate", "-rounds", "1", "-feed-rate", "3000")
	var names []string
	for _, s := range res.Servers {
		names = append(names, s.Name)
		r := s.Rounds[0]
		// 50 conns and 100 of the sample, ten windows a second and twice as many where
		// that is possible; fewer if the machine is busy, and more if the hold takes longer for that.
		most := 2500.0
		if s.Name != edgeName {
			most *= 2
		}
		if r.Frames < 300 || r.Frames > most || r.Rows < 1 || r.Staleness.Rows == 0 || r.CPUPercent <= 0 {
			t.Errorf("%s at %.0f ticks/s: %+v", s.Name, s.Rate, r)
		}
		if (s.Name == edgeName) != (r.Counted != 0) {
			t.Errorf("%s counts %.2f times the frames", s.Name, r.Counted)
		}
		if s.ToFloor == nil || len(r.Behind) == 0 {
			t.Errorf("%s: %v to floor, behind %q: nothing says that it was not saturated", s.Name, s.ToFloor, r.Behind)
		}
	}
	if got := strings.Join(names, " "); got != "edge edge floor gnet" {
		t.Errorf("servers %s", got)
	}
}

func TestSaturateRound(t *testing.T) {
	at := time.Now()
	begin := drainMark{at: at, frames: 1000, late: 10, updates: 500, cpu: time.Second}
	res := &result{HoldSeconds: 10, Frames: 1000, Rows: 9900, Client: clientCost{CPUPercent: 70}}
	good := drainMark{at: at.Add(10 * time.Second), frames: 1000 + 999_000, late: 1010, updates: 500 + 1_000_000, cpu: 10900 * time.Millisecond}
	for _, c := range []struct {
		change  func(m *drainMark)
		problem string
		behind  string
	}{
		{func(*drainMark) {}, "", ""},
		{func(m *drainMark) { m.updates -= 20_000 }, "", ""}, // Its figures are old.
		{func(m *drainMark) { m.updates -= 40_000 }, "0.960 times the frames", ""},
		{func(m *drainMark) { m.updates = begin.updates }, "", ""}, // It does not count.
		{func(m *drainMark) { m.cpu -= time.Second }, "", "89 % of its CPU"},
		{func(m *drainMark) { m.late += 300_000 }, "", "30 % of the frames were read so late"},
		{func(m *drainMark) { m.full = 3 }, "", "3 reads found frames piled up"},
	} {
		end := good
		c.change(&end)
		r := saturateRoundOf(res, begin, end)
		if r.Frames != 100_000 || r.Rows != 9.9 || r.Bench != 70 || math.Abs(r.CPUPerFrame-1e6*(end.cpu-begin.cpu).Seconds()/1e6) > 1e-9 {
			t.Errorf("%+v", r)
		}
		for _, of := range []struct {
			got  []string
			want string
		}{{r.Problems, c.problem}, {r.Behind, c.behind}} {
			if got := strings.Join(of.got, "; "); (got == "") != (of.want == "") || !strings.Contains(got, of.want) {
				t.Errorf("%q, want %q", got, of.want)
			}
		}
	}
}

func TestSaturateWrongFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"saturate -rounds 0", "such as -rounds 5"},
		{"saturate -feed-rate 100", "more ticks per second than -rate 5000"},
		{"saturate -conns 10000000", "-conns 10000000: want"},
		{"saturate -interval 1ms", "such as -interval 500ms"},
		{"handshake -rounds 0", "such as -rounds 5"},
		{"handshake -servers nginx", `no server "nginx"`},
	} {
		code, _, stderr := bench(strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("bench %s: exit code %d, want %d and %q:\n%s", c.args, code, exitUsage, c.want, stderr)
		}
	}
}
