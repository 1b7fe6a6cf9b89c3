// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/procfs"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{nil, spread{}, "0.0"},
		{[]float64{3}, spread{3, 3, 3}, "3.0"},
		{[]float64{9, 1, 5}, spread{5, 1, 9}, "5.0 (1.0-9.0)"},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}, "3.0 (1.0-9.0)"},
	} {
		if got := spreadOf(c.values); got != c.want || got.text("%.1f") != c.text {
			t.Errorf("%v: %+v, %q", c.values, got, got.text("%.1f"))
		}
	}
}

func TestRatiosAreFormedWithinARound(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want spread
	}{
		// The machine was half as fast in the second round: the ratio is the same.
		{[]float64{10, 20, 10}, []float64{5, 10, 5}, spread{2, 2, 2}},
		{[]float64{10, 20, 30}, []float64{10, 10, 10}, spread{2, 1, 3}},
		{[]float64{10, 0, 30}, []float64{10, 10, 0}, spread{1, 1, 1}},
		{nil, []float64{1}, spread{}},
	} {
		if got := ratiosOf(c.a, c.b); got != c.want {
			t.Errorf("%v / %v: %+v, want %+v", c.a, c.b, got, c.want)
		}
	}
}

func TestFanoutComparesRounds(t *testing.T) {
	round := func(perFrame, percent, frames float64) fanoutRound {
		return fanoutRound{CPUPerFrame: perFrame, CPUPercent: percent, Frames: frames}
	}
	f := newFanoutResult(&labConfig{targets: targets, rounds: 2})
	for name, rounds := range map[string][]fanoutRound{
		edgeName:    {round(20, 20, 10_000), round(30, 30, 10_000)},
		feedName:    {round(0, 10, 36), round(0, 15, 36)},
		floorName:   {round(8, 8, 10_000), round(12, 12, 10_000)},
		gorillaName: {round(40, 40, 10_000), round(60, 60, 10_000)},
	} {
		f.find(name).Rounds = rounds
	}
	f.find(gorillaName).Rounds[1].Problems = []string{"3 conns lost"}
	f.conclude()
	e := f.find(edgeName)
	if e.CPUPerFrame.Median != 25 || e.ToFloor.Median != 2.5 || e.ToFloor.Min != 2.5 || e.ToGorilla.Median != 0.5 {
		t.Errorf("edge %+v, to floor %+v, to gorilla %+v", e.CPUPerFrame, e.ToFloor, e.ToGorilla)
	}
	if e.CPUNet.Min != 10 || e.CPUNet.Max != 15 || e.NetToFloor.Median != 1.25 {
		t.Errorf("net of the feed %+v, to floor %+v", e.CPUNet, e.NetToFloor)
	}
	if f.find(feedName).ToFloor != nil {
		t.Error("the feed's few frames are compared")
	}
	if f.Good || len(f.Problems) != 1 || f.Problems[0] != "gorilla in round 2: 3 conns lost" {
		t.Errorf("%v", f.Problems)
	}
}

func TestCoverage(t *testing.T) {
	for _, c := range []struct{ universe, topics, want int }{{10, 10, 1}, {256, 256, 1}, {1000, 256, 18}} {
		got := coverage(c.universe, c.topics)
		if got != c.want {
			t.Errorf("%d of %d: %d conns, want %d", c.topics, c.universe, got, c.want)
		}
		if missed := math.Pow(1-float64(c.topics)/float64(c.universe), float64(got)); missed > 0.005 {
			t.Errorf("%d of %d: %d conns miss %.4f", c.topics, c.universe, got, missed)
		}
	}
}

func TestDensityIsPerConn(t *testing.T) {
	res := &result{Open: 100, Servers: []serverCost{
		{Before: procfs.Sample{RSS: 1e6, PSS: 9e5, FDs: 10}, After: procfs.Sample{RSS: 11e5, PSS: 10e5, FDs: 110}, CPUPercent: 5},
	}}
	p := densityPointOf(res, lab.Kernel{Slab: 1e6, TCPMem: 500}, lab.Kernel{Slab: 14e5, TCPMem: 700})
	if p.RSS != 1000 || p.PSS != 1000 || p.FDs != 1 || p.Slab != 4000 || p.TCPMem != 2 || p.CPUPercent != 5 {
		t.Errorf("%+v", p)
	}
	if p := densityPointOf(&result{}, lab.Kernel{}, lab.Kernel{Slab: 1}); p.Slab != 0 {
		t.Errorf("without conns: %+v", p)
	}
	d := density{Servers: []densityPoint{
		{Server: edgeName, State: idleState, RSS: 900, Raw: res}, {Server: gnetName, State: idleState, RSS: 600, Raw: res},
		{Server: edgeName, State: fanoutState, RSS: 1200, Raw: &result{Problems: []string{"lost"}}},
	}}
	d.conclude()
	if d.Servers[0].RSSToGnet != 1.5 || d.Servers[1].RSSToGnet != 1 || d.Servers[2].RSSToGnet != 0 {
		t.Errorf("to gnet: %+v", d.Servers)
	}
	if d.Good || d.Problems[0] != "edge, fan-out: lost" {
		t.Errorf("%v", d.Problems)
	}
}

func TestTicksAreComparedNetOfTheFeed(t *testing.T) {
	res := ticksResult{Rates: []tickRate{{
		Asked:   10_000,
		with:    []fanoutRound{{CPUPercent: 12, Frames: 10_000}, {CPUPercent: 14, Frames: 10_000}},
		without: []fanoutRound{{CPUPercent: 2}, {CPUPercent: 4, Problems: []string{"lost"}}},
		ticks:   []float64{10_000, 10_000}, rows: []float64{9, 10},
	}}}
	res.conclude()
	r := res.Rates[0]
	if r.CPUNet != (spread{10, 10, 10}) || r.FeedTick != (spread{3, 2, 4}) || r.Rows.Median != 9.5 {
		t.Errorf("%+v", r)
	}
	if res.Good || res.Problems[0] != "10000 ticks/s in round 2: lost" {
		t.Errorf("%v", res.Problems)
	}
}

func TestStormIsComparedWithTheCalm(t *testing.T) {
	hold := func(cpu float64) *result { return &result{HoldSeconds: 10, Servers: []serverCost{{CPUSeconds: cpu}}} }
	res := stormResult{}
	res.conclude(hold(1), hold(1.5), &result{Connected: 5000, ConnectSeconds: 2})
	if res.CPU != 100 || res.PerSec != 2500 || !res.Good {
		t.Errorf("%+v", res)
	}
	res = stormResult{}
	res.conclude(hold(1), &result{Problems: []string{"1 conns lost"}}, &result{})
	if res.Good || res.Problems[0] != "storm: 1 conns lost" || res.PerSec != 0 {
		t.Errorf("%+v", res)
	}
	res = stormResult{}
	res.conclude(hold(1), hold(1), &result{ConnectSeconds: 9})
	if res.Good || !strings.Contains(res.Problems[0], "ask for a longer -for") {
		t.Errorf("%+v", res)
	}
}

func TestSlowClientsAreEvictedInTime(t *testing.T) {
	for want, res := range map[string]slowResult{
		"":                     {Slow: 2, Evicted: 2, Evictions: 2, Timeout: 10, Stuck: spread{10, 9.6, 11.5}},
		"1 slow clients were":  {Slow: 2, Evicted: 1, Evictions: 1, Timeout: 10, Stuck: spread{10, 10, 10}},
		"the edge counts 3":    {Slow: 2, Evicted: 2, Evictions: 3, Timeout: 10, Stuck: spread{10, 10, 10}},
		"evicted after 12.5 s": {Slow: 2, Evicted: 2, Evictions: 2, Timeout: 10, Stuck: spread{10, 10, 12.5}},
		"4.0 s, before its":    {Slow: 2, Evicted: 2, Evictions: 2, Timeout: 10, Stuck: spread{10, 4, 10}},
	} {
		res.conclude()
		if got := strings.Join(res.Problems, "; "); (want == "") != res.Good || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTurns(t *testing.T) {
	var got []int
	if err := turns(3, 2, func(round, i int) error {
		got = append(got, 10*round+i)
		return nil
	}); err != nil || !slices.Equal(got, []int{0, 1, 11, 10, 20, 21}) {
		t.Errorf("%v, %v", got, err)
	}
	want := errors.New("of a turn")
	calls := 0
	if err := turns(3, 2, func(int, int) error { calls++; return want }); err != want || calls != 1 {
		t.Errorf("%v after %d turns", err, calls)
	}
}
