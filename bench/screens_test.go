// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestScreens(t *testing.T) {
	var res screensResult
	labBench(t, &res, "screens", "-for", "1s", "-interval", "100ms", "-screens", "5", "-names", "20", "-one", "5", "-rounds", "1")
	if len(res.Cases) != 4 || res.Ratio == nil || res.Ratio.Median <= 0 || res.Flat == nil || res.ByCPU == nil {
		t.Fatalf("%+v", res)
	}
	for i, want := range []struct{ conns, conditions int }{{50, 0}, {50, 5}, {5, 5}, {5, 1}} {
		c := res.Cases[i]
		r := c.Rounds[0]
		if c.Conns != want.conns || c.Conditions != want.conditions || r.CPUPerTick <= 0 || r.Ticks == 0 || r.Rows == 0 || r.RSS == 0 {
			t.Errorf("%s: %+v", c.Name, c)
		}
		// Each condition is looked at for each tick, whatever the clock says; the two counters are not read at one time.
		if per := ratio(r.Evaluations, r.Ticks); per < 0.7*float64(want.conditions) || per > 1.4*float64(want.conditions) {
			t.Errorf("%s: %.2f conditions for a tick", c.Name, per)
		}
	}
	if names, screens := res.Cases[0].Rounds[0], res.Cases[1].Rounds[0]; names.Outs != 0 || screens.Staleness.Rows == 0 {
		t.Errorf("%+v\n%+v", names, screens)
	}
}

func TestScreensRefusesFlags(t *testing.T) {
	for _, c := range [][2]string{
		{"-screens 0", "-screens 0: want 1 to"}, {"-screens 101", "-screens 101"}, {"-one 0", "-one 0: want numbers"}, {"-one 1,x", "-one 1,x"},
		{"-one 10001", "-one 10001"}, {"-names 2000", "-topics 2000"}, {"-topics 10 -names 20", "20"},
	} {
		code, _, stderr := bench(append([]string{"screens"}, strings.Fields(c[0])...)...)
		if code != exitUsage || !strings.Contains(stderr, c[1]) {
			t.Errorf("%s: exit code %d, %s", c[0], code, stderr)
		}
	}
}

// A round whose parts are known gives the known numbers.
func TestScreensConclude(t *testing.T) {
	round := func(perTick, eval, clients float64) []screensRound {
		return []screensRound{{CPUPerTick: perTick, Ticks: 1000, Evaluations: 50_000, Share: 0.002, Rows: 1,
			Profile: []share{{evalPart, eval}, {clientsPart, clients}, {"the rest", 100 - eval - clients}}}}
	}
	res := &screensResult{Screens: 50, Cases: []screensCaseResult{
		{namesCase, 1000, 0, round(4, 0, 50)}, {screensCase, 1000, 50, round(10, 20, 50)}, {eachCase, 50, 50, round(6.9, 40, 10)},
		{"1 screen, 100 clients", 100, 1, round(3, 1, 20)}, {"1 screen, 1 clients", 1, 1, round(2, 1, 0)},
	}}
	res.conclude()
	near := func(what string, s *spread, want float64) {
		if s == nil || s.Median < want-0.001 || s.Median > want+0.001 {
			t.Errorf("%s: %+v, want %v", what, s, want)
		}
	}
	near("ratio", res.Ratio, 2.5)
	near("by the edge", &res.Sampled, 40)
	near("by profile", &res.Profiled, 40) // 20 % of 10 µs for 50 conditions.
	near("by CPU", res.ByCPU, 100)        // 4.9 µs more for 49 more.
	near("flat", res.Flat, 1.2)           // 2.4 µs but for clients, to 2.
	if !res.Good || res.MostOf != [2]int{100, 1} {
		t.Errorf("%+v", res)
	}
	c := testConfig("screens")
	wantLines(t, reported(t, c, res), "| CPU per tick with screens, to names | 2.50 |", "| ns a condition and tick, by the profile | 40 |",
		"| CPU per tick but for clients, 100 clients of a screen to 1 | 1.20 |", "![CPU per tick by case](cpu.svg)",
		"| conditions | 0 | 2000 | 2760 | 30 | 20 |", "| clients | 2000 | 5000 | 690 | 600 | 0 |",
		"| all but clients | 2000 | 5000 | 6210 | 2400 | 2000 |")
	res.Cases[1].Rounds[0].Problems = []string{"no rows came"}
	if res.conclude(); res.Good || len(res.Problems) == 0 || res.Problems[0] != "screens in round 1: no rows came" {
		t.Errorf("%+v", res.conclusion)
	}
}

// What a profile is split by are functions that there are, and clients are not taken for conditions.
func TestScreensLayers(t *testing.T) {
	for mark, file := range map[string]string{
		"func (ps *Paths) Extract(": "extract.go", "func (p *Program) Eval(": "eval.go", "func (v *View) put(": "view.go",
	} {
		b, err := os.ReadFile(filepath.Join("..", "internal", "screen", file))
		if err != nil || !strings.Contains(string(b), mark[strings.Index(mark, "*"):]) {
			t.Errorf("%s has no %s: %v", file, mark, err)
		}
	}
	for want, stack := range map[string]string{
		evalPart:    "tickedge/internal/screen.(*Program).Eval tickedge/internal/screen.(*watch).look tickedge/internal/topics.(*Table).Publish",
		extractPart: "tickedge/internal/screen.(*Paths).Extract tickedge/internal/screen.(*watch).look tickedge/internal/topics.(*Table).Publish",
		putPart:     "runtime.mallocgc tickedge/internal/screen.(*View).put tickedge/internal/screen.(*watch).look",
		watchPart:   "tickedge/internal/screen.(*watch).look tickedge/internal/topics.(*Table).Publish tickedge/internal/feed.x",
		clientsPart: "tickedge/internal/screen.(*View).Changes tickedge/internal/loop.turn",
		readingPart: "syscall.read internal/poll.(*FD).Read tickedge/internal/broker/redis.x",
		"the rest":  "runtime.findRunnable",

		"the topic table": "tickedge/internal/topics.(*Table).Publish tickedge/internal/feed.x",
	} {
		if got := screensLayers[layerOf(screensLayers, strings.Fields(stack))].name; got != want {
			t.Errorf("%s is %q, want %q", stack, got, want)
		}
	}
}

// A generator that is at its end is told, and no edge is taken to be slow for it.
func TestScreensBehind(t *testing.T) {
	w := &screensWatch{session: &session{labConfig: &labConfig{rate: 1000}}, plan: &screensPlan{screens: []string{where(0)}},
		end: screensMark{metrics: map[string]float64{"edge_screen_conditions": 1}}}
	for want, r := range map[string]screensRound{
		"":                                {Rows: 1, Published: 1000, Ticks: 990},
		"900 of 1000 ticks a second were": {Rows: 1, Published: 900, Ticks: 900},
		"900 of 1000 ticks a second came": {Rows: 1, Published: 1000, Ticks: 900},
		"redis used 95 %":                 {Rows: 1, Published: 1000, Ticks: 1000, BrokerCPU: 95},
		"publisher used 95 %":             {Rows: 1, Published: 1000, Ticks: 1000, PublisherCPU: 95},
	} {
		r.check(w)
		if text := strings.Join(r.Behind, "; "); !strings.HasPrefix(text, want) || (want == "") != (text == "") || len(r.Problems) > 0 {
			t.Errorf("want %q: %q, %q", want, r.Behind, r.Problems)
		}
	}
	w.end.metrics["edge_screen_conditions"], w.end.metrics["edge_screen_topics_refused_total"] = 2, 3
	var r screensRound
	if r.check(w); len(r.Problems) != 3 {
		t.Errorf("%q", r.Problems)
	}
}
