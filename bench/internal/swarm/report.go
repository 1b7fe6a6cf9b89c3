// SPDX-License-Identifier: Apache-2.0

// Package swarm opens many conns to a running edge, keeps them and checks what each
// of them is sent. One goroutine and one epoll descriptor own all of it; there is no
// goroutine, timer or map entry per conn.
//
//	swarm.go    Swarm: the poll loop, its phases, the sweep once a second
//	connect.go  paced connects and handshakes, the end of a conn
//	churn.go    conns that are replaced, and conns that change a topic
//	read.go     bytes to frames to messages, answers to pings and closes
//	check.go    what a message may say, staleness
//	screens.go  the same of screens
//	topics.go   which conn asks for which topics
//	report.go   what a swarm tells about itself
package swarm

import (
	"time"

	"tickedge/bench/internal/hist"
	"tickedge/bench/internal/wire"
)

// Phase says what a report is about.
type Phase string

const (
	Connecting Phase = "connect"
	Holding    Phase = "hold"
)

// Report is what happened since the report before it. Reports of one swarm, and of
// several in other processes, are added with Merge.
type Report struct {
	Phase Phase `json:"phase"`
	Ready bool  `json:"ready,omitempty"` // Every conn was opened and is acked, or will not be.
	Done  bool  `json:"done,omitempty"`  // The last one.

	Gauges
	Counts
	Update   *hist.Hist `json:"update"`          // Staleness of update rows, in microseconds.
	Snapshot *hist.Hist `json:"snapshot"`        // Staleness of snapshot rows, in microseconds.
	Rates    *hist.Hist `json:"rates,omitempty"` // Of Done: frames per conn in 1,000 s.

	Refused    Tallies `json:"refused,omitempty"`
	Lost       Tallies `json:"lost,omitempty"`
	Violations Tallies `json:"violations,omitempty"`
	Byes       Tallies `json:"byes,omitempty"`
}

// NewReport returns an empty report.
func NewReport(p Phase) *Report {
	return &Report{
		Phase: p, Update: new(hist.Hist), Snapshot: new(hist.Hist),
		Refused: Tallies{}, Lost: Tallies{}, Violations: Tallies{}, Byes: Tallies{},
	}
}

// Merge adds what o reports to r. Gauges are not added: those of one swarm replace
// each other, those of several have to be summed.
func (r *Report) Merge(o *Report) {
	r.Counts.Add(&o.Counts)
	r.Update.Merge(o.Update)
	r.Snapshot.Merge(o.Snapshot)
	if o.Rates != nil {
		if r.Rates == nil {
			r.Rates = new(hist.Hist)
		}
		r.Rates.Merge(o.Rates)
	}
	r.Refused.Merge(o.Refused)
	r.Lost.Merge(o.Lost)
	r.Violations.Merge(o.Violations)
	r.Byes.Merge(o.Byes)
}

// Gauges are as of now.
type Gauges struct {
	Open     int `json:"open"`     // Conns with a handshake behind them.
	Acked    int `json:"acked"`    // Those of them whose subscribe was acked.
	Unserved int `json:"unserved"` // Those of them without a text frame for 5 s, and for two windows.
}

// Add sums the gauges of several swarms.
func (g *Gauges) Add(o Gauges) {
	g.Open += o.Open
	g.Acked += o.Acked
	g.Unserved += o.Unserved
}

// Counts only grow.
type Counts struct {
	Connected uint64             `json:"connected"` // Handshakes that were good.
	Types     [wire.Types]uint64 `json:"types"`     // Text frames by wire.Type.
	Bytes     uint64             `json:"bytes"`     // Read, handshakes included.
	Pings     uint64             `json:"pings"`     // Of streams: comments.
	Rows      uint64             `json:"rows"`      // Of updates, snapshots and screens.
	Outs      uint64             `json:"outs"`      // Names of topics that are not in a screen any more.
	Repeated  uint64             `json:"repeated"`  // Update rows with the n of the row before.
	Undated   uint64             `json:"undated"`   // Rows without ts in their value.
	Ahead     uint64             `json:"ahead"`     // Rows with a ts in the future: clocks differ.

	Left    [Ways]uint64 `json:"left"`    // Conns that were ended to be replaced, by Way.
	Changed uint64       `json:"changed"` // Topics that were exchanged for others.

	WindowMin uint64 `json:"window_min"` // What the hellos said, in milliseconds.
	WindowMax uint64 `json:"window_max"`

	CPU        time.Duration `json:"cpu_ns"` // Of the process that the swarm runs in.
	Polls      uint64        `json:"polls"`
	LatePolls  uint64        `json:"late_polls"`
	LongestGap time.Duration `json:"longest_gap_ns"` // Between two drained polls.
}

// Frames is the number of text frames.
func (c *Counts) Frames() (n uint64) {
	for _, of := range c.Types {
		n += of
	}
	return n
}

// Add sums counts.
func (c *Counts) Add(o *Counts) {
	c.Connected += o.Connected
	for i, n := range o.Types {
		c.Types[i] += n
	}
	c.Bytes += o.Bytes
	c.Pings += o.Pings
	c.Rows += o.Rows
	c.Outs += o.Outs
	c.Repeated += o.Repeated
	c.Undated += o.Undated
	c.Ahead += o.Ahead
	for i, n := range o.Left {
		c.Left[i] += n
	}
	c.Changed += o.Changed
	if o.WindowMax > 0 {
		c.widen(o.WindowMin, o.WindowMax)
	}
	c.CPU += o.CPU
	c.Polls += o.Polls
	c.LatePolls += o.LatePolls
	c.LongestGap = max(c.LongestGap, o.LongestGap)
}

// widen notes windows from lo to hi milliseconds.
func (c *Counts) widen(lo, hi uint64) {
	if c.WindowMax == 0 {
		c.WindowMin = lo
	}
	c.WindowMin, c.WindowMax = min(c.WindowMin, lo), max(c.WindowMax, hi)
}

// kindsMax bounds the kinds in Tallies: close reasons come from the server. What is
// more goes into one kind "others".
const kindsMax = 40

// Tally counts events of one kind.
type Tally struct {
	Count   uint64        `json:"count"`
	First   time.Duration `json:"first_ns"` // Since the first connect.
	Last    time.Duration `json:"last_ns"`
	Example string        `json:"example,omitempty"` // The first one.
}

// Tallies are events by kind.
type Tallies map[string]*Tally

// add counts one event. It returns the tally if that still wants an example.
func (t Tallies) add(kind string, at time.Duration) (wanting *Tally) {
	of := t[kind]
	if of == nil {
		if len(t) >= kindsMax {
			kind = "others"
		}
		if of = t[kind]; of == nil {
			of = &Tally{First: at}
			t[kind] = of
		}
	}
	of.Count++
	of.Last = at
	if of.Example == "" {
		return of
	}
	return nil
}

// Merge adds the tallies of o.
func (t Tallies) Merge(o Tallies) {
	for kind, from := range o {
		of := t[kind]
		if of == nil {
			of = &Tally{First: from.First, Example: from.Example}
			t[kind] = of
		}
		of.Count += from.Count
		of.First = min(of.First, from.First)
		of.Last = max(of.Last, from.Last)
	}
}

// Total is the number of events of all kinds.
func (t Tallies) Total() (n uint64) {
	for _, of := range t {
		n += of.Count
	}
	return n
}
