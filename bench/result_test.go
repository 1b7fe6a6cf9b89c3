// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/procfs"
	"tickedge/bench/internal/swarm"
)

func TestCostsAreOfTheHoldingTime(t *testing.T) {
	at := time.Now()
	host := func(seconds int, cpu time.Duration, rss int64) *hostSample {
		return &hostSample{
			at:    at.Add(time.Duration(seconds) * time.Second),
			procs: []procfs.Sample{{CPU: cpu, RSS: rss}}, errs: make([]error, 1),
		}
	}
	before, held, after := host(0, time.Second, 10e6), host(5, 2*time.Second, 19e6), host(15, 4*time.Second, 20e6)
	c := costs([]int{1}, before, held, after, 200_000, 10_000)[0]
	if c.CPUSeconds != 2 || c.CPUPercent != 20 || c.CPUPerFrame != 10 || c.RSSPerConn != 1000 {
		t.Errorf("%+v, want 2 s, 20 %%, 10 µs per frame, 1000 B per conn", c)
	}
	if c := costs([]int{1}, before, held, after, 0, 0)[0]; c.CPUPerFrame != 0 || c.RSSPerConn != 0 {
		t.Errorf("without frames and conns: %+v", c)
	}
	after.errs[0] = errors.New("gone")
	if c := costs([]int{1}, before, held, after, 1, 1)[0]; c.Error != "gone" || c.CPUSeconds != 0 {
		t.Errorf("of a process that ended: %+v", c)
	}
}

func TestBenchSaysThatItWasBehind(t *testing.T) {
	for _, c := range []struct {
		client clientCost
		want   string
	}{
		{clientCost{Workers: 1, LatePolls: 5, LongestGapMS: 300, CPUBusiest: 50}, ""},
		{clientCost{Workers: 1, LatePolls: 50, LongestGapMS: 40}, "up to 40 ms of staleness"},
		{clientCost{Workers: 2, CPUBusiest: 97}, "-workers 3"},
	} {
		res := result{HoldSeconds: 10, Client: c.client}
		res.conclude(nil)
		if got := strings.Join(res.Behind, "; "); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.client, got, c.want)
		}
		if !res.Good {
			t.Errorf("being behind is no fault of the server: %v", res.Problems)
		}
	}
}

func TestAnyProblemMakesTheResultBad(t *testing.T) {
	one := swarm.Tallies{"kind": {Count: 1}}
	for name, res := range map[string]*result{
		"1 conns refused":                       {Refused: one},
		"1 conns lost":                          {Lost: one},
		"1 violations":                          {Violations: one},
		"process 7 was not measured: not found": {Servers: []serverCost{{PID: 7, Error: "not found"}}},
	} {
		if res.conclude(nil); res.Good || len(res.Problems) != 1 || res.Problems[0] != name {
			t.Errorf("%q, want %q", res.Problems, name)
		}
	}
}
