// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import "fmt"

// goal is what the edge is meant to reach in one respect, and what it was measured to
// be. That it is missed does not make a run bad: short runs on busy machines miss some.
type goal struct {
	What     string `json:"what"`
	Wanted   string `json:"wanted"`
	Stretch  string `json:"stretch,omitempty"`
	Measured string `json:"measured"`
	Holds    bool   `json:"holds"`
	Far      bool   `json:"stretch_holds"`
	Behind   bool   `json:"behind,omitempty"` // Bench was in its own way, so nobody knows.
}

// The goals: what the edge may cost beside a yardstick in the same run, and, where
// there is one, the stretch goal. They are for rows and conns of topicsOfGoals topics,
// if nothing else is said.
const (
	topicsOfGoals = 10

	rssGoal, rssFar               = 1000.0, 750.0 // Bytes per conn; bare gnet needs some 650.
	frameGoal, frameFar           = 1.35, 1.15    // CPU per frame net of the feed, to floor.
	saturateGoal, saturateFar     = 0.80, 0.95    // Frames per second on one core, to floor.
	handshakeGoal, handshakeFar   = 1.5, 1.2      // CPU, to floor.
	tickGoal                      = 1.10          // CPU that more ticks add, to that of the feed alone.
	stalenessGoal, stalenessFar   = 100.0, 20.0   // Of p99, in ms over the window.
	usualMemoryGoal, usualCPUGoal = 0.1, 0.5      // To the usual design.
	framingGoal                   = 1.10          // CPU and memory of streams of events, to WebSockets.
	requestsGoal                  = 100.0         // Ms from a request to its answer, at p95.
	besideGoal                    = 50.0          // Ms of p99 of staleness beside requests, to that without.
	nginxGoal                     = 0.5           // Answers per second, to a static file of nginx.
	feedLagGoal, feedLagFar       = 100.0, 20.0   // Ms, at the worst moment.
	feedCPUGoal, feedCPUFar       = 4.0, 2.5      // µs per message, clients included: 80 and 50 % of a core for 200,000/s.
	brokerGoal                    = 1.3           // CPU per message from another broker, to that from Redis.
	publishGoal                   = 100_000.0     // Values per second that are posted into the memory broker.
	binaryGoal, idleGoal          = 8.0, 3.0      // MB that brokers added to an edge and its RSS without clients.

	// goroutinesMore is how many more there may be with conns than without: those of
	// the metrics port, which has been asked meanwhile, and of the runtime.
	goroutinesMore = 10.0
)

// limit is a goal for a number, judged by its median. far is the stretch goal, 0 if
// there is none.
type limit struct {
	what      string
	measured  spread
	format    string // Of numbers.
	unit      string // Behind numbers, with the space before it.
	goal, far float64
	behind    bool // Bench was in its own way.
}

// atMost adds a goal with an upper limit.
func (r *report) atMost(l limit) {
	r.addGoal(l, "≤ ", l.measured.Median <= l.goal, l.measured.Median <= l.far)
}

// atLeast adds a goal with a lower limit.
func (r *report) atLeast(l limit) {
	r.addGoal(l, "≥ ", l.measured.Median >= l.goal, l.measured.Median >= l.far)
}

// staleness adds the goal for p99 of staleness, in ms. Where bench was in its own way,
// rows were fresher than measured: what holds even so is known to.
func (r *report) staleness(what string, p99 spread, behind bool) {
	window := float64(r.window.Milliseconds())
	missed := p99.Median > window+stalenessGoal
	r.atMost(limit{what, p99, "%.0f", " ms", window + stalenessGoal, window + stalenessFar, behind && missed})
}

// single is a number that was measured once.
func single(v float64) spread { return spread{v, v, v} }

func (r *report) addGoal(l limit, sign string, holds, far bool) {
	g := goal{What: l.what, Wanted: sign + fmt.Sprintf(l.format, l.goal) + l.unit, Measured: "not measured", Behind: l.behind}
	if l.far != 0 {
		g.Stretch = sign + fmt.Sprintf(l.format, l.far) + l.unit
	}
	// No goal is about a number that can be zero.
	if l.measured != (spread{}) {
		g.Measured, g.Holds, g.Far = l.measured.text(l.format)+l.unit, holds, far && l.far != 0
	}
	r.goals = append(r.goals, g)
}

// verdict is the goal's last column.
func (g goal) verdict() string {
	switch {
	case g.Behind:
		return "unknown: BEHIND"
	case g.Far:
		return "yes, stretch too"
	case g.Holds:
		return "yes"
	}
	return "NO"
}

func goalTable(goals []goal) *table {
	t := newTable("goal", "measured", "wanted", "stretch", "holds")
	for _, g := range goals {
		t.row(g.What, g.Measured, g.Wanted, g.Stretch, g.verdict())
	}
	return t
}
