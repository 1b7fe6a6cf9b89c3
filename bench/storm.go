// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tickedge/bench/internal/lab"
)

// stormRate is more connects per second than any machine makes: as fast as it can.
const stormRate = 1e9

// stormResult is what a storm of connects does to those that are connected.
type stormResult struct {
	conclusion
	Conns    int        `json:"conns"`
	Storm    int        `json:"storm_conns"`
	Calm     besideHold `json:"calm"`  // The same conns without a storm.
	Stormy   besideHold `json:"storm"` // And with it.
	Seconds  float64    `json:"storm_seconds"`
	PerSec   float64    `json:"handshakes_per_second"`
	CPU      float64    `json:"cpu_us_per_handshake"` // What the edge used more than in the calm.
	Snapshot staleness  `json:"staleness_of_snapshots"`
	Refused  uint64     `json:"refused"`
}

// besideHold is conns that are held while something goes on beside them, or nothing does.
type besideHold struct {
	Staleness  staleness `json:"staleness"`
	PerConn    spread    `json:"frames_per_conn_per_second"`
	CPUSeconds float64   `json:"cpu_seconds"`
	Seconds    float64   `json:"seconds"`
}

func runStorm(args []string, stdout, stderr io.Writer) int {
	c := newLab("storm", 2000, 10*time.Second, "")
	f := newLabFlags(c)
	storm := f.Int("storm", 8000, "conns that connect at once, after a fifth of the time")
	return c.run(f, args, stdout, stderr, func() error {
		each, err := connsPerProcess()
		if err == nil && (*storm < 1 || *storm+c.conns > each) {
			err = fmt.Errorf("-storm %d: want 1 or more, and no more than %d together with -conns", *storm, each)
		}
		return err
	}, func(s *session) (outcome, error) { return s.storm(*storm) })
}

// storm holds conns at an edge in the calm, and again while others connect all at
// once, as those of another edge do when that is gone.
func (s *session) storm(conns int) (outcome, error) {
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	res := &stormResult{Conns: s.conns, Storm: conns}
	s.progress("storm: the calm")
	calm, err := s.holdBeside(nil)
	if err != nil {
		return nil, err
	}
	s.progress("storm: %d conns at once", conns)
	var newcomers *result
	stormy, err := s.holdBeside(func(server *lab.Server, _ <-chan struct{}) error {
		if err := pause(s.ctx, s.labConfig.hold/5); err != nil {
			return err
		}
		crowd := *s.labConfig
		crowd.connRate, crowd.hold, crowd.every = stormRate, s.labConfig.hold/10, 20*time.Millisecond
		crowd.seed++
		cs := *s
		cs.labConfig, cs.stderr = &crowd, io.Discard
		var err error
		newcomers, err = cs.hold(server, conns, s.topics, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	if newcomers == nil {
		return nil, fmt.Errorf("there was no storm: %s", strings.Join(stormy.Problems, "; "))
	}
	res.conclude(calm, stormy, newcomers)
	return res, nil
}

func besideHoldOf(r *result) besideHold {
	cpu := r.sum(func(s *serverCost) float64 { return s.CPUSeconds })
	return besideHold{Staleness: r.Update, PerConn: r.PerConn, Seconds: r.HoldSeconds, CPUSeconds: cpu}
}

// more is the CPU that was used more than in the same time of another hold.
func (h *besideHold) more(than *besideHold) (seconds float64) {
	return h.CPUSeconds - than.CPUSeconds*ratio(h.Seconds, than.Seconds)
}

// besideTable compares holds by their names.
func besideTable(names [2]string, of [2]besideHold) *table {
	t := newTable("those held", "p50 ms:%.0f", "p99 ms:%.0f", "p99.9 ms:%.0f", "max ms:%.0f", "frames per conn and s: min:%.2f", "median:%.2f", "max:%.2f")
	for i, h := range of {
		t.row(names[i], h.Staleness.P50, h.Staleness.P99, h.Staleness.P999, h.Staleness.Max, h.PerConn.Min, h.PerConn.Median, h.PerConn.Max)
	}
	return t
}

func (res *stormResult) conclude(calm, stormy, newcomers *result) {
	res.Calm, res.Stormy = besideHoldOf(calm), besideHoldOf(stormy)
	res.Seconds, res.Snapshot, res.Refused = newcomers.ConnectSeconds, newcomers.Snapshot, newcomers.Refused.Total()
	res.PerSec = ratio(float64(newcomers.Connected), res.Seconds)
	if left := 0.8 * stormy.HoldSeconds; res.Seconds > left {
		res.problem("the storm took %.1f s, and the others were held for %.1f s of it: ask for a longer -for", res.Seconds, left)
	}
	// The newcomers' frames of their short hold are in it too.
	res.CPU = ratio(1e6*res.Stormy.more(&res.Calm), float64(newcomers.Connected))
	res.take("calm", calm.Problems, nil)
	res.take("storm", stormy.Problems, nil)
	res.take("newcomers", newcomers.Problems, nil)
	res.conclusion.conclude()
}

func (res *stormResult) headline() string {
	return fmt.Sprintf("edge, %d conns held; %d more at once were open and acked after %.2f s, %.0f/s, %d refused\n"+
		"CPU per newcomer: %.0f µs more than in the calm, subscribe, snapshot and their first frames included",
		res.Conns, res.Storm, res.Seconds, res.PerSec, res.Refused, res.CPU)
}

func (res *stormResult) tables() []*table {
	return []*table{besideTable([2]string{"calm", "storm"}, [2]besideHold{res.Calm, res.Stormy})}
}

func (res *stormResult) report(r *report) {
	measured := fmt.Sprintf("all open and acked after %.2f s", res.Seconds)
	if !res.Good {
		measured = strings.Join(res.Problems, "; ")
	}
	r.goals = append(r.goals, goal{What: fmt.Sprintf("a storm of %d conns", res.Storm), Wanted: "none lost", Measured: measured, Holds: res.Good})
	r.staleness("p99 of staleness of those connected, in the storm", single(res.Stormy.Staleness.P99), false)
	r.picture("staleness", "staleness of rows in the calm and in the storm",
		heldChart("Staleness of rows at those connected", [2]string{"calm", fmt.Sprintf("while %d others connect", res.Storm)}, [2]staleness{res.Calm.Staleness, res.Stormy.Staleness}))
}
