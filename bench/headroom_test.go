// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/lab"
)

func TestHeadroom(t *testing.T) {
	twoCPUs(t)
	var res headroomResult
	// A machine that has no time for it may be full at once.
	labBenchBut(t, &res, "the headroom was", "headroom", "-steps", "2", "-topics", "10")
	// So few conns that an edge has nearly all left, unless the machine has none to give.
	if len(res.Steps) == 0 || len(res.Steps) > 2 {
		t.Fatalf("%d steps", len(res.Steps))
	}
	for _, s := range res.Steps {
		if s.Conns <= sampleConns || s.Frames <= 0 || s.Headroom <= 0 || s.Headroom >= 1 || s.Turns <= 0 || s.CPU <= 0 || s.Age.Rows == 0 {
			t.Errorf("%+v", s)
		}
	}
	if len(res.Steps) == 2 && res.Steps[0].Conns >= res.Steps[1].Conns {
		t.Errorf("%+v: no more conns in the second step", res.Steps)
	}
}

func TestHeadroomConcludes(t *testing.T) {
	step := func(conns int, headroom, p99 float64) headroomStep {
		return headroomStep{Conns: conns, Headroom: headroom, Age: staleness{P99: p99}}
	}
	for name, c := range map[string]struct {
		steps   []headroomStep
		low     float64
		part    float64
		problem string
		behind  string
	}{
		"in between":       {[]headroomStep{step(6000, 0.5, 200), step(8000, 0.2, 200), step(10_000, 0, 221)}, 9000, 0.9, "", ""},
		"in the last step": {[]headroomStep{step(8000, 0.2, 200), step(10_000, 0.1, 221)}, 10_000, 1, "", ""},
		"at once":          {[]headroomStep{step(10_000, 0, 221)}, 10_000, 1, "", ""},
		"early":            {[]headroomStep{step(4000, 0.3, 200), step(6000, 0.1, 200), step(10_000, 0, 221)}, 6000, 0.6, "at 60 % of the load already", ""},
		"never":            {[]headroomStep{step(4000, 0.3, 200), step(6000, 0.11, 221)}, 0, 0, "the headroom was never 0.1", ""},
		"never full":       {[]headroomStep{step(4000, 0.3, 200), step(6000, 0.05, 220)}, 5600, 0, "", "ask for more -conns"},
	} {
		res := headroomResult{Window: 200, Steps: c.steps}
		res.conclude()
		if math.Abs(res.LowAt-c.low) > 1 || math.Abs(res.LowPart-c.part) > 1e-3 || res.Good != (c.problem == "") ||
			!strings.Contains(strings.Join(res.Problems, "; "), c.problem) || !strings.Contains(strings.Join(res.Behind, "; "), c.behind) {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

func TestHeadroomStep(t *testing.T) {
	at := time.Now()
	begin := headroomMark{drainMark{at: at, frames: 1000, cpu: time.Second}, lab.Metrics{"edge_turn_seconds_sum": 3}}
	end := headroomMark{drainMark{at: at.Add(10 * time.Second), frames: 101_000, cpu: 6 * time.Second}, lab.Metrics{"edge_turn_seconds_sum": 7,
		"edge_headroom_ratio": 0.4, `edge_load_ratio{of="flush"}`: 0.6, "edge_wheel_lag_seconds": 0.02}}
	got := headroomStepOf(&result{HoldSeconds: 10, Frames: 5000, Update: staleness{P99: 7}}, 2100, begin, end)
	if got.Conns != 2100 || got.Frames != 10_500 || got.Age.P99 != 7 || got.Headroom != 0.4 || got.Flush != 0.6 || got.Turns != 40 || got.CPU != 50 || got.Lag != 20 {
		t.Errorf("%+v", got)
	}
}

func TestHeadroomWrongFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"headroom -steps 1", "such as -steps 20"},
		{"headroom -conns 10 -steps 11", "want 2 to 10"},
		{"headroom -conns 1000000", "want no more than"},
	} {
		code, _, stderr := bench(strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("bench %s: exit code %d, want %d and %q:\n%s", c.args, code, exitUsage, c.want, stderr)
		}
	}
}
