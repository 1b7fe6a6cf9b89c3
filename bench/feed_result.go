// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

// feedResult is an edge that takes many messages of many topics.
type feedResult struct {
	conclusion
	Kind     string  `json:"source"` // Of broker.
	Conns    int     `json:"conns"`
	Topics   int     `json:"topics"`   // Per conn.
	Universe int     `json:"universe"` // Topics that are wanted.
	Busy     int     `json:"busy"`     // Topics that tick.
	WindowMS int64   `json:"window_ms"`
	Asked    float64 `json:"messages_per_second_asked"`
	Set      bool    `json:"set"` // The keys were set, too.
	Ver      bool    `json:"ver"` // Values had versions.

	SubscribeSeconds float64 `json:"subscribe_seconds"` // From the first connect until the broker had confirmed all.

	Seconds      float64       `json:"seconds"` // Of the measurement, as what follows.
	Published    uint64        `json:"published"`
	Ticks        uint64        `json:"ticks"`
	EdgeCPU      time.Duration `json:"edge_cpu_ns"`
	BrokerCPU    time.Duration `json:"broker_cpu_ns"`
	PublisherCPU time.Duration `json:"publisher_cpu_ns"`
	Host         float64       `json:"host_cpu_percent"`        // Of all processors, whatever ran.
	Saturated    string        `json:"saturated,omitempty"`     // What had no CPU to spare.
	BrokerRSS    int64         `json:"broker_rss_bytes"`        // At the end.
	PerTick      float64       `json:"edge_cpu_us_per_message"` // That the edge took.
	Bytes        uint64        `json:"edge_allocated_bytes"`
	Objects      uint64        `json:"edge_allocated_objects"`
	Cycles       uint64        `json:"edge_collections"`
	Lag          spread        `json:"lag_ms"` // By the messages on their way.
	EdgeLag      spread        `json:"edge_lag_ms"`
	Growth       float64       `json:"rss_growth"` // From the first third to the last, as a share.
	Thirds       [2]float64    `json:"rss_bytes_of_first_and_last_third"`
	Profile      []share       `json:"profile"`

	Whole  feedWhole    `json:"whole_run"`
	Series []feedSample `json:"series"`
	Hold   *result      `json:"hold"`

	profile string // Its file.
}

const (
	// threadFull is the share of a core, in percent, from which on what has one thread has no time left;
	// hostFull is that of all processors.
	threadFull, hostFull = 95, 97
)

// saturated says what had no CPU to spare, nothing if all had.
func (res *feedResult) saturated() string {
	var full []string
	name := func(of string, percent float64) {
		if percent >= threadFull {
			full = append(full, fmt.Sprintf("%s, %.0f %% of a core", of, percent))
		}
	}
	if res.Kind == lab.Redis { // Nothing else has one thread alone.
		name("redis-server", res.percent(res.BrokerCPU))
	}
	name("the publisher", res.percent(res.PublisherCPU))
	name("the edge", res.percent(res.EdgeCPU))
	if res.Host >= hostFull {
		full = append(full, fmt.Sprintf("the machine, %.0f %% of all processors", res.Host))
	}
	return strings.Join(full, "; ")
}

func (res *feedResult) conclude() {
	res.Lag = over(res.Series, func(s *feedSample) float64 { return s.Behind })
	res.EdgeLag = over(res.Series, func(s *feedSample) float64 { return s.EdgeLag })
	res.Thirds, res.Growth = growthOf(each(res.Series, func(s *feedSample) float64 { return float64(s.RSS) }))
	res.PerTick = ratio(1e6*res.EdgeCPU.Seconds(), float64(res.Ticks))
	res.Saturated = res.saturated()

	if reached := res.perSecond(res.Published); reached < feedReached*res.Asked {
		res.Behind = append(res.Behind, fmt.Sprintf(
			"%.0f messages a second were published of %.0f: %s used %.0f %% of a core, the publisher %.0f %%, and waited for it %.1f s; the machine was busy to %.0f %%",
			reached, res.Asked, res.server(), res.percent(res.BrokerCPU), res.percent(res.PublisherCPU), res.Whole.Blocked.Seconds(), res.Host))
	}
	res.Problems = append(res.Problems, res.Hold.Problems...)
	if len(res.Profile) == 0 && res.EdgeCPU > time.Second {
		res.problem("the profile of the edge is empty")
	}
	if !res.streams() {
		res.count(res.Whole.Lost, "messages were lost")
	}
	if res.Busy == res.Universe {
		res.count(int64(res.Whole.Unheard), "messages had no subscriber in Redis")
	}
	if n := res.Whole.Wrong; n > 0 {
		res.problem("%d topics have not the value that was published last: %s", n, res.Whole.Row)
	}
	res.count(int64(res.Whole.Dropped), "messages were dropped")
	res.count(int64(res.Whole.Gaps), "times the edge lost its connection")
	res.conclusion.conclude()
}

func (res *feedResult) perSecond(n uint64) float64 { return ratio(float64(n), res.Seconds) }

func (res *feedResult) percent(cpu time.Duration) float64 {
	return ratio(100*cpu.Seconds(), res.Seconds)
}

// streams reports whether the broker gives the newest message alone to who is late.
func (res *feedResult) streams() bool { return (&lab.Broker{Kind: res.Kind}).Streams() }

// server is the broker's program.
func (res *feedResult) server() string {
	if res.Kind == lab.Redis {
		return "redis-server"
	}
	return "nats-server"
}

// source is what is published.
func (res *feedResult) source() string {
	text := "PUBLISH"
	if res.Set {
		text = "SET and PUBLISH in a MULTI"
	}
	if res.Kind != lab.Redis {
		text = res.Kind
	}
	if res.Ver {
		text += ", with versions"
	}
	return text
}

// load is what is asked of the edge.
func (res *feedResult) load() string {
	of := fmt.Sprintf("%d topics", res.Universe)
	if res.Busy > res.Universe {
		of = fmt.Sprintf("%d topics out of %d", res.Universe, res.Busy)
	}
	return fmt.Sprintf("edge, %s through one connection, %.0f messages/s asked for", of, res.Asked)
}

func (res *feedResult) headline() string {
	return fmt.Sprintf("%s (%s), for %.1f s; %d conns with %d topics each, window %d ms",
		res.load(), res.source(), res.Seconds, res.Conns, res.Topics, res.WindowMS)
}

// tables are what was measured, and where the edge's CPU went.
func (res *feedResult) tables() []*table {
	t := newTable("what", "measured")
	t.line("published, messages/s", "%.0f", res.perSecond(res.Published))
	t.line("taken, ticks/s", "%.0f", res.perSecond(res.Ticks))
	t.row("lag by messages on their way, ms: median (min-max)", res.Lag.text("%.1f"))
	if res.EdgeLag != (spread{}) {
		t.row("lag as the edge sees it, ms: median (min-max)", res.EdgeLag.text("%.1f"))
	}
	t.line("CPU of the edge, µs/message", "%.2f", res.PerTick)
	t.line("CPU of the edge, % of a core", "%.1f", res.percent(res.EdgeCPU))
	t.line("allocated by the edge per message", "%.1f objects, %.0f B", ratio(float64(res.Objects), float64(res.Ticks)), ratio(float64(res.Bytes), float64(res.Ticks)))
	t.line("collections per second", "%.1f", res.perSecond(res.Cycles))
	t.line("CPU of "+res.server()+", % of a core", "%.1f", res.percent(res.BrokerCPU))
	t.line("CPU of the publisher, % of a core", "%.1f", res.percent(res.PublisherCPU))
	t.line("CPU of the clients, % of a core", "%.1f", res.Hold.Client.CPUPercent)
	t.line("CPU of the machine, % of all processors", "%.1f", res.Host)
	t.row("without CPU to spare", cmp.Or(res.Saturated, "nobody"))
	t.line("RSS of "+res.server()+", MB", "%.1f", mb(res.BrokerRSS))
	t.line("RSS, MB: first third, last third", "%.1f, %.1f (%+.1f %%)", res.Thirds[0]/1e6, res.Thirds[1]/1e6, 100*res.Growth)
	t.line("all subscribed after, s", "%.1f", res.SubscribeSeconds)
	w := &res.Whole
	t.line("whole run: sent, wanted of them, taken", "%d, %d, %d", w.Sent, w.Wanted, w.Ticks)
	t.line("whole run: unwanted, dropped, gaps", "%d, %d, %d", w.Unwanted, w.Dropped, w.Gaps)
	t.line("whole run: lost, or newer ones in their place", "%d", w.Lost)
	t.line("topics without the newest value at the end", "%d", w.Wrong)

	profile := newTable("CPU of the edge", "%:%.1f", "µs/message:%.2f")
	profile.right, profile.note = true, fmt.Sprintf("The whole profile: `go tool pprof %s`", res.profile)
	for _, s := range res.Profile {
		profile.row(s.Of, s.Percent, res.PerTick*s.Percent/100)
	}
	return []*table{t, profile}
}

func (res *feedResult) report(r *report) {
	behind := len(res.Behind) > 0
	what := fmt.Sprintf("of %d topics through one connection", res.Universe)
	wanted := res.Asked * float64(res.Universe) / float64(res.Busy)
	r.atLeast(limit{"messages taken " + what, single(res.perSecond(res.Ticks)), "%.0f", "/s", feedReached * wanted, 0, behind})
	lost := goal{What: "messages lost " + what, Wanted: "none", Measured: fmt.Sprintf("%d of %d", res.Whole.Lost, res.Whole.Wanted), Holds: res.Whole.Lost == 0}
	if res.streams() {
		lost.What, lost.Measured, lost.Holds = "newest values missing "+what, fmt.Sprint(res.Whole.Wrong), res.Whole.Wrong == 0
	}
	r.goals = append(r.goals, lost)
	r.atMost(limit{"lag of the feed at the worst moment, " + what, single(res.Lag.Max), "%.0f", " ms", feedLagGoal, feedLagFar, behind})
	r.atMost(limit{"CPU per message " + what, single(res.PerTick), "%.2f", " µs", feedCPUGoal, feedCPUFar, false})
	r.atMost(limit{"RSS in the last third, " + what, single(1 + res.Growth), "%.2f", " × that in the first", 1 + soakGrowthMax, 0, false})
	r.picture("series", "lag and memory over the run", res.seriesChart())
}

func (res *feedResult) seriesChart() chart.Lines {
	edge := chart.Series{Name: "the edge", Colour: chart.Blue}
	panel := func(title string, of func(s *feedSample) float64) chart.Panel {
		seconds := func(s *feedSample) float64 { return s.Seconds }
		return chart.Panel{Title: title, Lines: []chart.Line{lineOf(edge, res.Series, seconds, of)}}
	}
	return chart.Lines{
		Title: fmt.Sprintf("%.0f messages a second", res.perSecond(res.Ticks)), XAxis: "seconds", Legend: []chart.Series{edge},
		Panels: []chart.Panel{
			panel("lag, ms", func(s *feedSample) float64 { return s.Behind }),
			panel("RSS, MB", func(s *feedSample) float64 { return mb(s.RSS) }),
		},
	}
}
