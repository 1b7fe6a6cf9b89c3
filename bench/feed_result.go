// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"time"

	"tickedge/bench/internal/chart"
)

// feedResult is an edge that takes many messages of many topics.
type feedResult struct {
	conclusion
	Conns    int     `json:"conns"`
	Topics   int     `json:"topics"` // Per conn.
	Universe int     `json:"universe"`
	WindowMS int64   `json:"window_ms"`
	Asked    float64 `json:"messages_per_second_asked"`
	Set      bool    `json:"set"` // The keys were set, too.

	SubscribeSeconds float64 `json:"subscribe_seconds"` // From the first connect until Redis had confirmed all channels.

	Seconds      float64       `json:"seconds"` // Of the measurement, as what follows.
	Published    uint64        `json:"published"`
	Ticks        uint64        `json:"ticks"`
	EdgeCPU      time.Duration `json:"edge_cpu_ns"`
	RedisCPU     time.Duration `json:"redis_cpu_ns"`
	PublisherCPU time.Duration `json:"publisher_cpu_ns"`
	PerTick      float64       `json:"edge_cpu_us_per_message"`
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
}

func (res *feedResult) conclude() {
	res.Lag = over(res.Series, func(s *feedSample) float64 { return s.Behind })
	res.EdgeLag = over(res.Series, func(s *feedSample) float64 { return s.EdgeLag })
	res.Thirds, res.Growth = growthOf(each(res.Series, func(s *feedSample) float64 { return float64(s.RSS) }))
	res.PerTick = ratio(1e6*res.EdgeCPU.Seconds(), float64(res.Ticks))

	if reached := res.perSecond(res.Published); reached < feedReached*res.Asked {
		res.Behind = append(res.Behind, fmt.Sprintf(
			"%.0f messages a second were published of %.0f: redis-server used %.0f %% of a core, the publisher %.0f %%, of which it waited for Redis %.1f s",
			reached, res.Asked, res.percent(res.RedisCPU), res.percent(res.PublisherCPU), res.Whole.Blocked.Seconds()))
	}
	res.Problems = append(res.Problems, res.Hold.Problems...)
	if len(res.Profile) == 0 && res.EdgeCPU > time.Second {
		res.problem("the profile of the edge is empty")
	}
	res.count(res.Whole.Lost, "messages were lost")
	res.count(int64(res.Whole.Unheard), "messages had no subscriber in Redis")
	res.count(int64(res.Whole.Dropped), "messages were dropped")
	res.count(int64(res.Whole.Gaps), "times the edge lost its connection to Redis")
	res.conclusion.conclude()
}

func (res *feedResult) perSecond(n uint64) float64 { return ratio(float64(n), res.Seconds) }

func (res *feedResult) percent(cpu time.Duration) float64 {
	return ratio(100*cpu.Seconds(), res.Seconds)
}

// source is what is published.
func (res *feedResult) source() string {
	if res.Set {
		return "SET and PUBLISH in a MULTI"
	}
	return "PUBLISH"
}

func (res *feedResult) headline() string {
	return fmt.Sprintf("edge, %d topics through one Pub/Sub connection, %.0f messages/s asked for (%s), for %.1f s; %d conns with %d topics each, window %d ms",
		res.Universe, res.Asked, res.source(), res.Seconds, res.Conns, res.Topics, res.WindowMS)
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
	t.line("CPU of redis-server, % of a core", "%.1f", res.percent(res.RedisCPU))
	t.line("CPU of the publisher, % of a core", "%.1f", res.percent(res.PublisherCPU))
	t.line("CPU of the clients, % of a core", "%.1f", res.Hold.Client.CPUPercent)
	t.line("RSS, MB: first third, last third", "%.1f, %.1f (%+.1f %%)", res.Thirds[0]/1e6, res.Thirds[1]/1e6, 100*res.Growth)
	t.line("channels subscribed after, s", "%.1f", res.SubscribeSeconds)
	w := &res.Whole
	t.line("whole run: sent, taken", "%d, %d", w.Sent, w.Ticks)
	t.line("whole run: unwanted, dropped, gaps", "%d, %d, %d", w.Unwanted, w.Dropped, w.Gaps)
	t.line("whole run: lost", "%d", w.Lost)

	profile := newTable("CPU of the edge", "%:%.1f", "µs/message:%.2f")
	profile.right, profile.note = true, fmt.Sprintf("The whole profile: `go tool pprof %s`", profileFile)
	for _, s := range res.Profile {
		profile.row(s.Of, s.Percent, res.PerTick*s.Percent/100)
	}
	return []*table{t, profile}
}

func (res *feedResult) report(r *report) {
	behind := len(res.Behind) > 0
	what := fmt.Sprintf("of %d topics through one connection", res.Universe)
	r.atLeast(limit{"messages taken " + what, single(res.perSecond(res.Ticks)), "%.0f", "/s", feedReached * res.Asked, 0, behind})
	r.goals = append(r.goals, goal{
		What: "messages lost " + what, Wanted: "none", Measured: fmt.Sprintf("%d of %d", res.Whole.Lost, res.Whole.Sent), Holds: res.Whole.Lost == 0,
	})
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
