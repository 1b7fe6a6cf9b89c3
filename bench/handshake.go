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
)

// handshakeResult is the CPU that servers use per handshake.
type handshakeResult struct {
	conclusion
	Conns   int               `json:"conns"` // Handshakes per round.
	Rate    float64           `json:"handshakes_per_second"`
	Rounds  int               `json:"rounds"`
	Servers []handshakeServer `json:"servers"`
}

// handshakeServer is one server in all rounds. Times are µs of CPU per conn.
type handshakeServer struct {
	Name         string           `json:"name"`
	Open         spread           `json:"open_cpu_us"`
	Close        spread           `json:"close_cpu_us"`
	Idle         spread           `json:"idle_cpu_percent"` // Of one core, all conns open.
	OpenToFloor  *spread          `json:"open_to_floor,omitempty"`
	CloseToFloor *spread          `json:"close_to_floor,omitempty"`
	Rounds       []handshakeRound `json:"rounds"`
}

// handshakeRound is one server in one round.
type handshakeRound struct {
	Open  float64 `json:"open_cpu_us"`      // Per conn, from its connect to its hello.
	Close float64 `json:"close_cpu_us"`     // Per conn, after the client has closed it.
	Idle  float64 `json:"idle_cpu_percent"` // Of one core, all conns open.
}

func runHandshake(args []string, stdout, stderr io.Writer) int {
	c := newLab("handshake", 10_000, time.Second, "-loops 1")
	f := newLabFlags(c)
	c.serversFlag(f, edgeName, floorName, gnetName, gorillaName, coderName)
	f.IntVar(&c.rounds, roundsFlag, 5, "how often each server is measured")
	return c.run(f, args, stdout, stderr, c.framesOnly, (*session).handshake)
}

// handshake opens and closes conns at one server after the other, in rounds. There are
// no ticks and no subscriptions, so that nothing else costs CPU.
func (s *session) handshake() (outcome, error) {
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	res := &handshakeResult{Conns: s.conns, Rate: s.connRate, Rounds: s.rounds}
	for _, t := range s.targets {
		res.Servers = append(res.Servers, handshakeServer{Name: t.name, Rounds: make([]handshakeRound, s.rounds)})
	}
	if err := turns(s.rounds, len(s.targets), func(round, i int) (err error) {
		s.progress("handshake: round %d of %d, %s", round+1, s.rounds, s.targets[i].name)
		res.Servers[i].Rounds[round], err = s.handshakeRound(s.targets[i])
		return err
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// handshakeRound starts a server, opens and closes conns at it, and ends it.
func (s *session) handshakeRound(t target) (r handshakeRound, err error) {
	set := *s.labConfig
	if !t.feed {
		set.rate = 1 // As calm as they can be.
	}
	server, err := t.start(s.lab, &set)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.lab.StopServer(server)) }()
	conns, err := newPlain(server)
	if err != nil {
		return r, err
	}
	defer conns.closeAll()
	// One conn stays all the time: what a server does for the first one, such as
	// beginning to turn, is not the price of a handshake.
	if err := conns.open(s.ctx, 1, s.connRate); err != nil {
		return r, err
	}
	r, err = s.openAndClose(server, conns)
	return r, errors.Join(err, s.ctx.Err(), s.lab.Failed())
}

// openAndClose measures what a server uses when empty, while conns come, with all of
// them, and while they go.
func (s *session) openAndClose(server *lab.Server, conns *plainConns) (r handshakeRound, err error) {
	files, err := openFiles(server)
	if err != nil {
		return r, err
	}
	idle := func() error { return pause(s.ctx, s.labConfig.hold) }
	var empty, opening, full, closing lab.Usage
	for _, phase := range []struct {
		of *lab.Usage
		f  func() error
	}{
		{new(lab.Usage), idle}, // The server may still be at work for its start.
		{&empty, idle},
		{&opening, func() error { return conns.open(s.ctx, s.conns, s.connRate) }},
		{&full, idle},
		{&closing, func() error {
			return errors.Join(conns.closeSome(s.ctx, 1, s.connRate), s.awaitFiles(server, files))
		}},
	} {
		if *phase.of, err = server.Use(phase.f); err != nil {
			return r, err
		}
	}
	return handshakeRoundOf(s.conns, empty, opening, full, closing), nil
}

// handshakeRoundOf takes off what the server uses for itself: the mean of that with no
// conns and that with all of them.
func handshakeRoundOf(conns int, empty, opening, full, closing lab.Usage) handshakeRound {
	own := (empty.Share() + full.Share()) / 2
	perConn := func(u lab.Usage) float64 { return 1e6 * (u.CPU.Seconds() - own*u.Took.Seconds()) / float64(conns) }
	return handshakeRound{Open: perConn(opening), Close: perConn(closing), Idle: 100 * full.Share()}
}

// openFiles is how many files a server has open, and thus how many conns.
func openFiles(server *lab.Server) (n int, err error) {
	for _, p := range server.Procs {
		sample, err := p.Sample()
		if err != nil {
			return 0, err
		}
		n += sample.FDs
	}
	return n, nil
}

// awaitFiles waits until a server has no more than n files open: it has closed its
// ends of the conns.
func (s *session) awaitFiles(server *lab.Server, n int) error {
	open := 0
	return until(s.ctx, plainPatience, 10*time.Millisecond, func() (_ bool, err error) {
		open, err = openFiles(server)
		return open <= n, err
	}, func() error {
		return fmt.Errorf("the server has %d files open %v after the last conn was closed, and had %d before the first", open, plainPatience, n)
	})
}

// conclude compares the rounds.
func (res *handshakeResult) conclude() {
	open := func(r *handshakeRound) float64 { return r.Open }
	closing := func(r *handshakeRound) float64 { return r.Close }
	floor := slices.IndexFunc(res.Servers, func(s handshakeServer) bool { return s.Name == floorName })
	for i := range res.Servers {
		s := &res.Servers[i]
		s.Open, s.Close = over(s.Rounds, open), over(s.Rounds, closing)
		s.Idle = over(s.Rounds, func(r *handshakeRound) float64 { return r.Idle })
		if floor >= 0 {
			of := res.Servers[floor].Rounds
			s.OpenToFloor, s.CloseToFloor = ratioTo(s.Rounds, of, open), ratioTo(s.Rounds, of, closing)
		}
		if least := min(s.Open.Min, s.Close.Min); least <= 0 {
			res.Behind = append(res.Behind, fmt.Sprintf(
				"%s used more when idle than in a round, %.1f µs per conn: the machine was not quiet, or ask for more -conns", s.Name, -least))
		}
	}
	res.conclusion.conclude() // Good: whatever goes wrong with a handshake is an error.
}

func (res *handshakeResult) headline() string {
	return fmt.Sprintf("%d handshakes at %.0f/s, then the clients close as fast; no ticks; %d rounds; medians of rounds (min-max)\n"+
		"µs of server CPU per conn. open: accept, request, answer and hello. close: after the client's FIN. Less the idle server's.",
		res.Conns, res.Rate, res.Rounds)
}

func (res *handshakeResult) tables() []*table {
	t := newTable("server", "open:%.1f", "to floor:%.2f", "close:%.1f", "to floor:%.2f", "idle CPU %:%.1f")
	for _, s := range res.Servers {
		t.row(s.Name, s.Open, s.OpenToFloor, s.Close, s.CloseToFloor, s.Idle)
	}
	return []*table{t}
}

func (res *handshakeResult) report(r *report) {
	for _, s := range res.Servers {
		if s.Name == edgeName && s.OpenToFloor != nil {
			r.atMost(limit{"CPU per handshake", *s.OpenToFloor, "%.2f", " × floor", handshakeGoal, handshakeFar, len(res.Behind) > 0})
		}
	}
	r.picture("cpu", "CPU per handshake by server", res.cpuChart())
}

func (res *handshakeResult) cpuChart() chart.Bars {
	c := chart.Bars{
		Title: "CPU per handshake", Axis: overRounds("µs of server CPU per conn", res.Rounds),
		Series: []chart.Series{{Name: "open: accept, request, answer, hello", Colour: chart.Blue}, {Name: "close", Colour: chart.Light}},
	}
	for _, s := range res.Servers {
		open, closing := times(s.OpenToFloor, s.Name, floorName), times(s.CloseToFloor, s.Name, floorName)
		c.Rows = append(c.Rows, chart.Row{Name: s.Name, Bars: []chart.Bar{bar(s.Open, 0.1, open), bar(s.Close, 0.1, closing)}})
	}
	return c
}
