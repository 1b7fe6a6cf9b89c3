// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/lab"
)

func TestScale(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := bench("scale", "-edges", "2", "-conns", "60", "-for", "2s", "-universe", "100", "-rate", "2000", "-json", "-dir", dir)
	var res scaleResult
	if err := json.Unmarshal([]byte(stdout), &res); err != nil || code != exitGood {
		t.Fatalf("exit code %d, %v\n%s", code, err, stderr)
	}
	noneLeft(t, dir)
	p := res.All
	// Whether every conn got every frame is up to the machine, which may be busy: see TestEveryFrame for the rule. A search begins
	// only where they did not.
	if len(p.Problems) > 0 || p.EveryFrame && (res.Most == nil || res.Most.Conns != 60 || len(res.Tried) > 0) {
		t.Errorf("%+v, %d tried", p, len(res.Tried))
	}
	if p.Edges != 2 || p.Open != 60 || p.EdgeConns.Min+p.EdgeConns.Max != 60 || p.Frames < 60 || p.PerConn.Min < 0.5 {
		t.Errorf("%+v", p)
	}
}

func TestEdgesForConns(t *testing.T) {
	for _, c := range []struct{ conns, room, want int }{
		{1, 19676, 1},
		{19676, 19676, 1}, // One edge has them all, so nothing is left to chance.
		{19677, 19676, 2},
		{39352, 19676, 3}, // Two have no head-room.
		{100_000, 19676, 6},
		{1_000_000, 1_048_000, 1},
		{10, 1, 11}, // With less than one conn each, none has two.
	} {
		if got := edgesFor(c.conns, c.room); got != c.want {
			t.Errorf("%d conns, room for %d: %d edges, want %d", c.conns, c.room, got, c.want)
		}
	}
	// As the kernel does it: no edge runs over.
	rng := rand.New(rand.NewPCG(1, 2))
	for _, conns := range []int{500, 5000, 100_000} {
		const room = 450
		edges := make([]int, edgesFor(conns, room))
		for range conns {
			i := rng.IntN(len(edges))
			if edges[i]++; edges[i] > room {
				t.Fatalf("%d conns at %d edges: one has more than %d", conns, len(edges), room)
			}
		}
	}
}

// The search comes within 5 % of the truth from either side, in few steps.
func TestSearch(t *testing.T) {
	for _, c := range []struct{ asked, first, truth int }{
		{100_000, 45_000, 40_000},
		{100_000, 40_000, 44_000},
		{100_000, 90_000, 99_999},
		{100_000, 60_000, 7_000},
		{1_000, 900, 150},
	} {
		f := search{bad: c.asked}
		steps := 0
		for next := min(c.first, f.next()); !f.done(); next = f.next() {
			if steps++; next <= f.good || next >= f.bad {
				t.Fatalf("%+v tries %d", f, next)
			}
			if next <= c.truth {
				f.good = next
			} else {
				f.bad = next
			}
		}
		if f.good > c.truth || float64(f.good) < 0.94*float64(c.truth) || steps > 18 {
			t.Errorf("%+v: found %d in %d steps", c, f.good, steps)
		}
	}
	f := search{bad: 100_000}
	for steps := 0; !f.done(); f.bad = f.next() {
		if steps++; steps > 50 {
			t.Fatal("the search for something that is not there has no end")
		}
	}
}

// A conn too few, a frame too few, or a problem: not every client got every frame.
func TestEveryFrame(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*result)
		every  bool
		want   string
	}{
		"all":      {func(*result) {}, true, ""},
		"frames":   {func(r *result) { r.PerConn.Min = 1.89 }, false, ""},
		"enough":   {func(r *result) { r.PerConn.Min = 1.91 }, true, ""},
		"unserved": {func(r *result) { r.Unserved = 3 }, false, "3 conns were unserved at the end"},
		"open":     {func(r *result) { r.Open = 9 }, false, "9 conns of 10 were open at the end"},
		"problem":  {func(r *result) { r.Problems = []string{"1 conns lost"} }, false, "1 conns lost"},
	} {
		res := &result{Conns: 10, Open: 10, PerConn: spread{Min: 2, Median: 2, Max: 2}, HoldSeconds: 10}
		c.change(res)
		p := scalePointOf(res, 500*time.Millisecond, [2]lab.Kernel{}, nil)
		if p.EveryFrame != c.every || strings.Join(p.Problems, "; ") != c.want {
			t.Errorf("%s: every frame %v, problems %q", name, p.EveryFrame, p.Problems)
		}
	}
}

func TestScalePointAddsUpEdges(t *testing.T) {
	res := &result{Conns: 100, Open: 100, Servers: []serverCost{
		{CPUPercent: 50, CPUPerFrame: 4, RSSPerConn: 300}, {CPUPercent: 60, CPUPerFrame: 5, RSSPerConn: 400},
	}}
	p := scalePointOf(res, time.Second, [2]lab.Kernel{{Slab: 1000, TCPMem: 5}, {Slab: 9000, TCPMem: 105}}, []lab.Metrics{
		{`edge_connections{state="open"}`: 40, "edge_wheel_lag_seconds": 0.5, `edge_connections_closed_total{code="4002",reason="no_pong"}`: 2},
		{`edge_connections{state="open"}`: 60, "edge_wheel_lag_seconds": 0.1, `edge_connections_closed_total{code="4002",reason="no_pong"}`: 1},
	})
	if p.EdgeCPU != 110 || p.CPUPerFrame != 9 || p.RSSPerConn != 700 || p.Slab != 80 || p.TCPMem != 1 {
		t.Errorf("%+v", p)
	}
	if p.EdgeConns.Min != 40 || p.EdgeConns.Max != 60 || math.Abs(p.Lag-0.5) > 1e-9 || p.Closed[`{code="4002",reason="no_pong"}`] != 3 {
		t.Errorf("%+v", p)
	}
}

func TestWrongFlagsOfScaleAndSoak(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"scale -edges -1", "such as -edges 6"},
		{"scale -find-for 1s", "such as -find-for 20s"},
		{"scale -conns 0", "such as -conns 10000"},
		{"soak -churn 0", "such as -churn 500"},
		{"soak -ack-timeout 0s", "such as -ack-timeout 10s"},
	} {
		code, _, stderr := bench(strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("bench %s: exit code %d, want %d and %q:\n%s", c.args, code, exitUsage, c.want, stderr)
		}
	}
}
