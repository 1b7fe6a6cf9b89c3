// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"time"

	"tickedge/bench/internal/hist"
	"tickedge/bench/internal/swarm"
	"tickedge/bench/internal/wire"
)

const (
	// lateOften is how many late polls in a second of holding, over all swarms, make
	// the swarms suspects.
	lateOften = 1.0
	// cpuFull is the share of a core, in percent, from which on a swarm is suspected
	// to be the bottleneck.
	cpuFull = 90.0
)

// result is a whole run. Its JSON is for later comparison.
type result struct {
	Good     bool     `json:"good"`
	Problems []string `json:"problems,omitempty"` // Why it is not good.
	Behind   []string `json:"behind,omitempty"`   // Signs that bench itself was the bottleneck.

	Conns          int     `json:"conns"`
	Topics         int     `json:"topics"`
	Universe       int     `json:"universe"`
	Seed           uint64  `json:"seed"`
	WindowMin      uint64  `json:"window_min_ms"` // As the hellos said.
	WindowMax      uint64  `json:"window_max_ms"`
	ConnectSeconds float64 `json:"connect_seconds"`
	Connected      uint64  `json:"connected"`
	Open           int     `json:"open"`  // At the end.
	Acked          int     `json:"acked"` // At the end.
	Unserved       int     `json:"unserved"`
	UnservedWorst  int     `json:"unserved_worst"` // Of all seconds of holding.

	HoldSeconds float64           `json:"hold_seconds"`
	Frames      uint64            `json:"frames"` // From here on: while holding.
	Types       map[string]uint64 `json:"frames_by_type"`
	Rows        uint64            `json:"rows"`
	Outs        uint64            `json:"names_out_of_screens,omitempty"`
	Bytes       uint64            `json:"bytes"`
	Pings       uint64            `json:"pings"`
	Repeated    uint64            `json:"repeated_rows"`
	Undated     uint64            `json:"undated_rows"`
	Ahead       uint64            `json:"rows_from_the_future"`
	PerConn     spread            `json:"frames_per_conn_per_second"`
	Update      staleness         `json:"staleness_of_updates"`
	Snapshot    staleness         `json:"staleness_of_snapshots"` // Of the whole run.

	Refused    swarm.Tallies `json:"refused,omitempty"`
	Lost       swarm.Tallies `json:"lost,omitempty"`
	Violations swarm.Tallies `json:"violations,omitempty"`
	Byes       swarm.Tallies `json:"byes,omitempty"`

	// Of a hold with churn: conns that bench ended to replace them, by swarm.Way, and
	// topics exchanged for others.
	Ended   [swarm.Ways]uint64 `json:"ended_by_close_fin_rst,omitzero"`
	Changed uint64             `json:"topics_exchanged,omitempty"`

	Client  clientCost   `json:"client"`
	Servers []serverCost `json:"servers,omitempty"`
	TCPMem  [3]int64     `json:"tcp_mem_bytes"` // Before, when held, after; all sockets of the host.
}

// staleness is in milliseconds.
type staleness struct {
	Rows uint64  `json:"rows"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

func stalenessOf(h *hist.Hist) staleness {
	ms := func(us uint64) float64 { return float64(us) / 1000 }
	return staleness{h.N(), ms(h.Quantile(0.5)), ms(h.Quantile(0.99)), ms(h.Quantile(0.999)), ms(h.Max())}
}

// clientCost is what bench itself used while holding.
type clientCost struct {
	Workers      int     `json:"workers"`
	CPUPercent   float64 `json:"cpu_percent"`         // Of one core, all processes.
	CPUBusiest   float64 `json:"cpu_percent_busiest"` // Of one core, the busiest swarm.
	CPUPerFrame  float64 `json:"cpu_us_per_frame"`
	Polls        uint64  `json:"polls"`
	LatePolls    uint64  `json:"late_polls"`
	LongestGapMS float64 `json:"longest_gap_ms"`
}

// judge makes the result of a run.
func (r *holdRun) judge() *result {
	cfg, all, held := r.cfg, r.all, r.held
	seconds := r.ended.Sub(r.holding).Seconds()
	if r.holding.IsZero() {
		seconds = 0
	}
	frames := held.Frames()
	res := &result{
		Conns: cfg.conns, Topics: cfg.topics, Universe: cfg.universe, Seed: cfg.seed,
		WindowMin: all.WindowMin, WindowMax: all.WindowMax,
		ConnectSeconds: r.connected.Sub(r.began).Seconds(), Connected: all.Connected,
		Open: r.gauges().Open, Acked: r.gauges().Acked, Unserved: r.gauges().Unserved, UnservedWorst: r.unservedWorst,
		HoldSeconds: seconds, Frames: frames, Types: map[string]uint64{},
		Rows: held.Rows, Outs: held.Outs, Bytes: held.Bytes, Pings: held.Pings,
		Repeated: held.Repeated, Undated: held.Undated, Ahead: held.Ahead,
		Update: stalenessOf(held.Update), Snapshot: stalenessOf(all.Snapshot),
		Refused: all.Refused, Lost: all.Lost, Violations: all.Violations, Byes: all.Byes,
		Ended: all.Left, Changed: all.Changed,
		Client: clientCost{
			Workers: cfg.workers, CPUPercent: ratio(100*r.holdCPU().Seconds(), seconds),
			CPUPerFrame: ratio(1e6*r.holdCPU().Seconds(), float64(frames)),
			Polls:       held.Polls, LatePolls: held.LatePolls,
			LongestGapMS: float64(held.LongestGap) / float64(time.Millisecond),
		},
	}
	for t, n := range held.Types {
		if n > 0 {
			res.Types[wire.Type(t).String()] = n
		}
	}
	if held.Rates != nil {
		per := func(n uint64) float64 { return float64(n) / 1000 }
		res.PerConn = spread{Median: per(held.Rates.Quantile(0.5)), Min: per(held.Rates.Min()), Max: per(held.Rates.Max())}
	}
	for _, m := range r.members {
		res.Client.CPUBusiest = max(res.Client.CPUBusiest, ratio(100*m.cpu.Seconds(), seconds))
	}
	if r.hosts[2] != nil {
		res.Servers = costs(cfg.pids, r.hosts[0], r.hosts[1], r.hosts[2], frames, res.Open)
		res.TCPMem = [3]int64{r.hosts[0].tcpMem, r.hosts[1].tcpMem, r.hosts[2].tcpMem}
	}
	res.conclude(r.problems)
	return res
}

// conclude says whether the run was good, and whether bench was in its own way.
func (res *result) conclude(problems []string) {
	res.Problems = append(res.Problems, problems...)
	note := func(n uint64, what string) {
		if n > 0 {
			res.Problems = append(res.Problems, fmt.Sprintf("%d %s", n, what))
		}
	}
	note(res.Refused.Total(), "conns refused")
	note(res.Lost.Total(), "conns lost")
	note(res.Violations.Total(), "violations")
	for _, s := range res.Servers {
		if s.Error != "" {
			res.Problems = append(res.Problems, fmt.Sprintf("process %d was not measured: %s", s.PID, s.Error))
		}
	}
	res.Good = len(res.Problems) == 0

	if often := ratio(float64(res.Client.LatePolls), res.HoldSeconds); often > lateOften {
		res.Behind = append(res.Behind, fmt.Sprintf(
			"%.1f polls per second came more than 20 ms after the one before: up to %.0f ms of staleness are bench's own", often, res.Client.LongestGapMS))
	}
	if res.Client.CPUBusiest > cpuFull {
		res.Behind = append(res.Behind, fmt.Sprintf(
			"a swarm used %.0f %% of a core: spread it with -workers %d", res.Client.CPUBusiest, res.Client.Workers+1))
	}
}
