//go:build linux

package main

import (
	"errors"
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
	Good     bool      `json:"good"`
	Conns    int       `json:"conns"`
	Storm    int       `json:"storm_conns"`
	Calm     stormHold `json:"calm"`  // The same conns without a storm.
	Stormy   stormHold `json:"storm"` // And with it.
	Seconds  float64   `json:"storm_seconds"`
	PerSec   float64   `json:"handshakes_per_second"`
	CPU      float64   `json:"cpu_us_per_handshake"` // What the edge used more than in the calm.
	Snapshot staleness `json:"staleness_of_snapshots"`
	Refused  uint64    `json:"refused"`
	Problems []string  `json:"problems,omitempty"`
}

// stormHold is the conns that were there before.
type stormHold struct {
	Staleness  staleness `json:"staleness"`
	PerConn    perConn   `json:"frames_per_conn_per_second"`
	CPUSeconds float64   `json:"cpu_seconds"`
	Seconds    float64   `json:"seconds"`
}

func runStorm(args []string, stdout, stderr io.Writer) int {
	c := &labConfig{mode: "storm", conns: 2000, hold: 10 * time.Second}
	f := newLabFlags(c)
	storm := f.Int("storm", 8000, "conns that connect at once, after a fifth of the time")
	err := c.parse(f, args, stderr)
	if each, limitErr := connsPerProcess(); err == nil && (*storm < 1 || *storm+c.conns > each || limitErr != nil) {
		err = errors.Join(limitErr, fmt.Errorf("-storm %d: want 1 or more, and no more than %d together with -conns", *storm, each))
	}
	if err != nil {
		return flagError(c.mode, err, stderr)
	}
	return runLab(c, stdout, stderr, func(s *session) (outcome, error) { return s.storm(*storm) })
}

// storm holds conns at an edge in the calm, and again while others connect all at
// once, as those of another edge do when that is gone.
func (s *session) storm(conns int) (outcome, error) {
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	res := &stormResult{Conns: s.conns, Storm: conns}
	s.progress("storm: the calm")
	calm, err := s.stormHold(nil)
	if err != nil {
		return nil, err
	}
	s.progress("storm: %d conns at once", conns)
	var newcomers *result
	stormy, err := s.stormHold(func(server *lab.Server) error {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(s.labConfig.hold / 5):
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

// stormHold holds the conns at a new edge. meanwhile begins when they are connected.
func (s *session) stormHold(meanwhile func(*lab.Server) error) (*result, error) {
	server, err := targets[0].start(s.lab, s.setting)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	began := false
	res, err := s.hold(server, s.conns, s.topics, func(moment int) {
		if moment == atHold && meanwhile != nil {
			began = true
			go func() { ended <- meanwhile(server) }()
		}
	})
	if began {
		err = errors.Join(err, <-ended)
	}
	return res, errors.Join(err, s.lab.StopServer(server))
}

func (res *stormResult) conclude(calm, stormy, newcomers *result) {
	hold := func(r *result) stormHold {
		h := stormHold{Staleness: r.Update, PerConn: r.PerConn, Seconds: r.HoldSeconds}
		for _, s := range r.Servers {
			h.CPUSeconds += s.CPUSeconds
		}
		return h
	}
	res.Calm, res.Stormy = hold(calm), hold(stormy)
	res.Seconds, res.Snapshot, res.Refused = newcomers.ConnectSeconds, newcomers.Snapshot, newcomers.Refused.Total()
	res.PerSec = ratio(float64(newcomers.Connected), res.Seconds)
	if left := 0.8 * stormy.HoldSeconds; res.Seconds > left {
		res.Problems = append(res.Problems, fmt.Sprintf("the storm took %.1f s, and the others were held for %.1f s of it: ask for a longer -for", res.Seconds, left))
	}
	// The newcomers' frames of their short hold are in it too.
	more := res.Stormy.CPUSeconds - res.Calm.CPUSeconds*ratio(res.Stormy.Seconds, res.Calm.Seconds)
	res.CPU = ratio(1e6*more, float64(newcomers.Connected))
	for _, r := range []struct {
		name string
		res  *result
	}{{"calm", calm}, {"storm", stormy}, {"newcomers", newcomers}} {
		for _, p := range r.res.Problems {
			res.Problems = append(res.Problems, r.name+": "+p)
		}
	}
	res.Good = len(res.Problems) == 0
}

func (res *stormResult) good() bool { return res.Good }

func (res *stormResult) headline() string {
	return fmt.Sprintf("edge, %d conns held; %d more at once were open and acked after %.2f s, %.0f/s, %d refused\n"+
		"CPU per newcomer: %.0f µs more than in the calm, subscribe, snapshot and their first frames included",
		res.Conns, res.Storm, res.Seconds, res.PerSec, res.Refused, res.CPU)
}

func (res *stormResult) table() *table {
	t := newTable("those held", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "frames per conn and s: min", "median", "max")
	for _, h := range []struct {
		name string
		stormHold
	}{{"calm", res.Calm}, {"storm", res.Stormy}} {
		t.row(h.name, fmt.Sprintf("%.0f", h.Staleness.P50), fmt.Sprintf("%.0f", h.Staleness.P99), fmt.Sprintf("%.0f", h.Staleness.P999),
			fmt.Sprintf("%.0f", h.Staleness.Max), fmt.Sprintf("%.2f", h.PerConn.Min), fmt.Sprintf("%.2f", h.PerConn.Median), fmt.Sprintf("%.2f", h.PerConn.Max))
	}
	return t
}

func (res *stormResult) writeText(w io.Writer) error {
	fmt.Fprintln(w, res.headline())
	if err := res.table().writeText(w, 0); err != nil {
		return err
	}
	return verdict(w, res.Problems)
}
