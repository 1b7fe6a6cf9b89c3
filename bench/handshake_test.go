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

func TestHandshake(t *testing.T) {
	var res handshakeResult
	labBench(t, &res, "handshake", "-conns", "300", "-for", "300ms", "-rounds", "1")
	if len(res.Servers) != len(targets)-1 || res.Conns != 300 {
		t.Fatalf("%+v", res)
	}
	for _, s := range res.Servers {
		// How much it is depends on the machine.
		if r := s.Rounds[0]; r.Open == 0 || r.Close == 0 || r.Open == r.Close || s.OpenToFloor == nil {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
}

func TestHandshakesAreNetOfTheIdleServer(t *testing.T) {
	used := func(cpu, took time.Duration) lab.Usage { return lab.Usage{CPU: cpu, Took: took} }
	// 1 % of a core when empty, 3 % when full: 2 % of the two seconds is 40 ms.
	r := handshakeRoundOf(1000,
		used(10*time.Millisecond, time.Second), used(60*time.Millisecond, 2*time.Second),
		used(30*time.Millisecond, time.Second), used(50*time.Millisecond, 2*time.Second))
	if math.Round(r.Open) != 20 || math.Round(r.Close) != 10 || r.Idle != 3 {
		t.Errorf("%+v, want 20 µs, 10 µs, 3 %%", r)
	}
	res := &handshakeResult{Servers: []handshakeServer{
		{Name: edgeName, Rounds: []handshakeRound{{Open: 30, Close: 10}, {Open: 20, Close: 30}, {Open: 28, Close: -1}}},
		{Name: floorName, Rounds: []handshakeRound{{Open: 20, Close: 5}, {Open: 10, Close: 10}, {Open: 20, Close: 10}}},
	}}
	res.conclude()
	edge := res.Servers[0]
	if *edge.OpenToFloor != (spread{1.5, 1.4, 2}) || edge.Open != (spread{28, 20, 30}) || edge.Close.Median != 10 {
		t.Errorf("%+v, open to floor %+v", edge, edge.OpenToFloor)
	}
	if len(res.Behind) != 1 || !strings.Contains(res.Behind[0], "edge used more when idle") {
		t.Errorf("behind: %q", res.Behind)
	}
}
