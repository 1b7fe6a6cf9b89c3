// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
)

const (
	// leavesWindow is how old the oldest rows may be, in windows: all that is beyond one is the
	// edge's delay and the way to the client.
	leavesWindow = 1.1
	// headroomLow is the headroom at which operators are woken.
	headroomLow = 0.1
	// headroomEarly is the part of what an edge can do from which on it may say that it is full.
	headroomEarly = 0.7
	// headroomFew is how many conns come at a time.
	headroomFew = 50
)

func runHeadroom(args []string, stdout, stderr io.Writer) int {
	c := newLab("headroom", saturateConns(), 8*time.Second, "-loops 1")
	f := newLabFlags(c)
	setDefault(f, "interval", "125ms")
	// Topics that tick twice a second, so that a row grows old if it is not sent, and so many of them
	// that a core has enough to do with the conns that the file limit allows.
	setDefault(f, "universe", "1000")
	setDefault(f, "rate", "2000")
	setDefault(f, "topics", "200")
	f.Lookup("conns").Usage = "conns beyond which no more are added"
	steps := f.Int("steps", 20, "steps to that number")
	return c.run(f, args, stdout, stderr, func() error {
		each, err := connsPerProcess()
		if err == nil && c.conns+sampleConns > each {
			err = fmt.Errorf("-conns %d: want no more than %d here", c.conns, each-sampleConns)
		}
		if *steps < 2 || *steps > c.conns {
			err = errors.Join(err, fmt.Errorf("-steps %d: want 2 to %d, such as -steps 20", *steps, c.conns))
		}
		return err
	}, func(s *session) (outcome, error) { return s.headroom(*steps) })
}

// headroom gives an edge one CPU, and more and more clients until the rows of those in the sample are
// older than a window.
func (s *session) headroom(steps int) (_ outcome, err error) {
	cpu, release, err := splitHost()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	var server *lab.Server
	if err := startOn(&cpu, func() (err error) {
		server, err = edgeTarget.start(s.lab, s.labConfig)
		return err
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.lab.StopServer(server)) }()
	conns, err := newPlain(server)
	if err != nil {
		return nil, err
	}
	defer conns.closeAll()
	res := &headroomResult{Topics: s.topics, Universe: s.universe, Rate: s.rate, Window: s.window.Seconds() * 1e3, Seconds: s.labConfig.hold.Seconds()}
	for n := 1; n <= steps && !res.left(); n++ {
		s.progress("headroom: step %d, %d conns", n, s.conns*n/steps)
		step, err := s.headroomStep(server, conns, s.conns*n/steps-len(conns.conns))
		if err != nil {
			return nil, err
		}
		res.Steps = append(res.Steps, step)
		if !res.left() {
			continue
		}
		// Anything on the host can delay one hold. What an edge can't do it can't do twice.
		if step, err = s.headroomStep(server, conns, 0); err != nil {
			return nil, err
		}
		res.Steps[len(res.Steps)-1] = step
	}
	res.conclude()
	return res, nil
}

// headroomStep adds so many conns and holds all for a while.
func (s *session) headroomStep(server *lab.Server, conns *plainConns, more int) (step headroomStep, err error) {
	names, err := swarm.Names(lab.TopicPattern, s.universe)
	if err != nil {
		return step, err
	}
	// A few at a time: it is not what they do to the others when they come that is measured.
	for ; more > 0 && err == nil; more -= headroomFew {
		err = errors.Join(conns.open(s.ctx, min(more, headroomFew), s.connRate), conns.subscribe(names, s.topics, s.seed), conns.readAll())
	}
	if err := errors.Join(err, conns.awaitFrames(s.ctx, 3)); err != nil {
		return step, err
	}
	reading := repeat(drainPause, conns.readAll) // It owns the conns now.
	var begin, end headroomMark
	res, err := s.hold(server, sampleConns, s.topics, func(moment int) (err error) {
		switch moment {
		case atHold:
			begin, err = markHeadroom(conns, server)
		case atEnd:
			end, err = markHeadroom(conns, server)
		}
		return err
	})
	if err := errors.Join(err, reading.stop()); err != nil {
		return step, err
	}
	return headroomStepOf(res, len(conns.conns)+sampleConns, begin, end), nil
}

// headroomMark is what an edge says at a moment.
type headroomMark struct {
	drainMark
	metrics lab.Metrics
}

func markHeadroom(conns *plainConns, server *lab.Server) (headroomMark, error) {
	m, err := server.Metrics()
	drain, drainErr := markDrain(conns, server)
	return headroomMark{drain, m}, errors.Join(err, drainErr)
}

// headroomResult is what an edge says of itself, with more and more clients.
type headroomResult struct {
	conclusion
	Topics   int            `json:"topics"`
	Universe int            `json:"universe"`
	Rate     float64        `json:"ticks_per_second"`
	Window   float64        `json:"window_ms"`
	Seconds  float64        `json:"seconds_per_step"`
	Steps    []headroomStep `json:"steps"`
	LeftAt   int            `json:"left_at_conns"`           // Where rows were older than a window; 0 if nowhere.
	LowAt    float64        `json:"low_at_conns"`            // Where the headroom was at its limit, between two steps; 0 if nowhere.
	LowPart  float64        `json:"low_at_part_of_the_load"` // Of LeftAt.
}

// headroomStep is so many clients for a while, and what the edge says at its end.
type headroomStep struct {
	Conns    int       `json:"conns"`
	Frames   float64   `json:"frames_per_second"`
	Age      staleness `json:"staleness"` // Of the sample.
	Headroom float64   `json:"headroom"`
	Flush    float64   `json:"flush_load"`
	Turns    float64   `json:"turns_percent"` // Of the time.
	CPU      float64   `json:"cpu_percent"`
	Lag      float64   `json:"wheel_lag_ms"` // At the end.
	Problems []string  `json:"problems,omitempty"`
}

func headroomStepOf(res *result, conns int, begin, end headroomMark) headroomStep {
	seconds := end.at.Sub(begin.at).Seconds()
	return headroomStep{
		Conns: conns, Age: res.Update, Problems: res.Problems,
		Frames:   float64(end.frames-begin.frames)/seconds + ratio(float64(res.Frames), res.HoldSeconds),
		Headroom: end.metrics["edge_headroom_ratio"], Flush: end.metrics[`edge_load_ratio{of="flush"}`],
		Turns: 100 * (end.metrics["edge_turn_seconds_sum"] - begin.metrics["edge_turn_seconds_sum"]) / seconds,
		CPU:   100 * (end.cpu - begin.cpu).Seconds() / seconds,
		Lag:   1e3 * end.metrics["edge_wheel_lag_seconds"],
	}
}

// left says whether rows were older than a window in the last step.
func (res *headroomResult) left() bool {
	n := len(res.Steps)
	return n > 0 && res.Steps[n-1].Age.P99 > leavesWindow*res.Window
}

// conclude finds where the headroom has reached its limit.
func (res *headroomResult) conclude() {
	for i, step := range res.Steps {
		res.take(fmt.Sprintf("%d conns", step.Conns), step.Problems, nil)
		if step.Headroom > headroomLow || res.LowAt != 0 {
			continue
		}
		res.LowAt = float64(step.Conns)
		if i > 0 {
			before := res.Steps[i-1]
			res.LowAt -= float64(step.Conns-before.Conns) * (headroomLow - step.Headroom) / (before.Headroom - step.Headroom)
		}
	}
	if res.left() {
		res.LeftAt = res.Steps[len(res.Steps)-1].Conns
		res.LowPart = res.LowAt / float64(res.LeftAt)
	} else {
		res.Behind = append(res.Behind, "rows were never older than a window: ask for more -conns")
	}
	switch {
	case res.LeftAt == 0:
	case res.LowAt == 0:
		res.problem("the headroom was never %v, and rows were older than a window", headroomLow)
	case res.LowPart < headroomEarly:
		res.problem("the headroom was %v at %.0f %% of the load already", headroomLow, 100*res.LowPart)
	}
	res.conclusion.conclude()
	res.notes = append(res.notes, fmt.Sprintf("headroom %v at %.0f conns, p99 over %.0f ms at %d conns: at %.0f %% of the load",
		headroomLow, res.LowAt, leavesWindow*res.Window, res.LeftAt, 100*res.LowPart))
}

func (res *headroomResult) headline() string {
	return fmt.Sprintf("one CPU for the edge; more and more conns with %d of %d topics each, %.0f ticks/s, window %.0f ms, %.1f s for each step",
		res.Topics, res.Universe, res.Rate, res.Window, res.Seconds)
}

func (res *headroomResult) tables() []*table {
	t := newTable("conns", "frames/s:%.0f", "p50 ms:%.0f", "p99 ms:%.0f", "headroom:%.2f", "flush:%.2f", "turns %:%.0f", "CPU %:%.0f", "lag ms:%.0f")
	t.right = true
	for _, s := range res.Steps {
		t.row(s.Conns, s.Frames, s.Age.P50, s.Age.P99, s.Headroom, s.Flush, s.Turns, s.CPU, s.Lag)
	}
	return []*table{t}
}

func (res *headroomResult) report(r *report) {
	r.goals = append(r.goals, goal{
		What:     fmt.Sprintf("load at which the headroom is %v, of that at which rows are older than a window", headroomLow),
		Wanted:   fmt.Sprintf("%.0f %% to 100 %%", 100*headroomEarly),
		Measured: fmt.Sprintf("%.0f %%", 100*res.LowPart),
		Holds:    res.LowPart >= headroomEarly && res.LowPart <= 1, Behind: res.LeftAt == 0,
	})
	r.picture("headroom", "headroom and age of rows over the number of conns", res.chart())
}

func (res *headroomResult) chart() chart.Lines {
	steps := slices.Clone(res.Steps)
	line := func(s chart.Series, of func(s *headroomStep) float64) chart.Line {
		return lineOf(s, steps, func(s *headroomStep) float64 { return float64(s.Conns) }, of)
	}
	edge := chart.Series{Name: "edge", Colour: chart.Blue}
	return chart.Lines{
		Title: "What an edge says that it has left, by how many clients there are", XAxis: "conns", Legend: []chart.Series{edge},
		Panels: []chart.Panel{
			{Title: "edge_headroom_ratio", Lines: []chart.Line{line(edge, func(s *headroomStep) float64 { return s.Headroom })}},
			{Title: "p99 of staleness, ms", Lines: []chart.Line{line(edge, func(s *headroomStep) float64 { return s.Age.P99 })}},
		},
	}
}
