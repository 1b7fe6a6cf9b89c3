// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"strings"
	"testing"

	"tickedge/bench/internal/swarm"
)

func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until topics do not linger any more, 30 s")
	}
	var res soakResult
	// How memory grows within seconds is up to the collector and the machine: see TestSoakFindsWhatIsLeft.
	labBenchBut(t, &res, "RSS grew", "soak", "-churn", "100", "-for", "6s")
	last := res.Series[len(res.Series)-1]
	if last.Phase != soakAfter || last.Topics != 0 || last.Conns != 0 || last.Subscriptions != 0 {
		t.Errorf("%+v", last)
	}
	seen := map[string]bool{}
	most := soakSample{}
	for _, s := range res.Series {
		seen[s.Phase] = true
		most.Conns, most.Topics = max(most.Conns, s.Conns), max(most.Topics, s.Topics)
	}
	if !seen[soakBefore] || !seen[soakChurn] || most.Conns < 20 || most.Topics < 90 {
		t.Errorf("%v, %+v", seen, most)
	}
	if res.Ended[swarm.ByClose] < 20 || res.Ended[swarm.ByFIN] < 20 || res.Ended[swarm.ByRST] < 20 || res.Changed < 20 {
		t.Errorf("%v ended, %d changed", res.Ended, res.Changed)
	}
}

// Whatever is left over is named, and so is memory that grows.
func TestSoakFindsWhatIsLeft(t *testing.T) {
	base := soakSample{Phase: soakBefore, RSS: 10e6, Goroutines: 20, FDs: 30}
	churn := func(rss int64) soakSample { return soakSample{Phase: soakChurn, RSS: rss, Conns: 50} }
	for name, c := range map[string]struct {
		last  func(*soakSample)
		grown int64
		want  string
	}{
		"nothing":       {func(*soakSample) {}, 20e6, ""},
		"fewer":         {func(s *soakSample) { s.Goroutines, s.FDs = 10, 20 }, 20e6, ""},
		"goroutines":    {func(s *soakSample) { s.Goroutines++ }, 20e6, "1 goroutines are left over"},
		"descriptors":   {func(s *soakSample) { s.FDs += soakFetchFDs + 1 }, 20e6, "1 descriptors are left over"},
		"the fetch":     {func(s *soakSample) { s.FDs += soakFetchFDs }, 20e6, ""},
		"conns":         {func(s *soakSample) { s.Conns = 3 }, 20e6, "3 conns are left over"},
		"topics":        {func(s *soakSample) { s.Topics = 4 }, 20e6, "4 topics are left over"},
		"subscriptions": {func(s *soakSample) { s.Subscriptions = 5 }, 20e6, "5 subscriptions are left over"},
		"a little":      {func(*soakSample) {}, 21e6, ""},
		"memory":        {func(*soakSample) {}, 23e6, "RSS grew by 15.0 %"},
	} {
		last := base
		last.Phase = soakAfter
		c.last(&last)
		w := &soakWatch{series: []soakSample{base, churn(20e6), churn(20e6), churn(20e6), churn(c.grown), churn(c.grown), last}}
		res := &soakResult{Series: w.series, Left: w.leftovers(), Hold: &result{Ended: [swarm.Ways]uint64{1, 1, 1}}}
		res.conclude()
		if got := strings.Join(res.Problems, "; "); (c.want == "") != (got == "") || !strings.Contains(got, c.want) || res.Good != (c.want == "") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
