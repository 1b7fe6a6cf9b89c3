// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

// feedsResult compares what an edge makes of the same messages from several brokers, which take turns.
type feedsResult struct {
	conclusion
	Load    string       `json:"load"`
	Rounds  int          `json:"rounds"`
	Seconds float64      `json:"seconds_per_round"`
	Sources []feedSource `json:"sources"`
}

// feedSource is one broker in all rounds.
type feedSource struct {
	Kind    string        `json:"source"`
	PerTick spread        `json:"edge_cpu_us_per_message"`
	ToRedis *spread       `json:"cpu_to_redis,omitempty"`
	Rounds  []*feedResult `json:"rounds"`
}

// feeds lets each broker have its turn in each round. Of one, measured once, more is told.
func (s *session) feeds(d *feedConfig) (outcome, error) {
	if len(d.kinds) == 1 && s.rounds == 1 {
		return s.feed(d, d.kinds[0], d.kinds[0])
	}
	res := &feedsResult{Rounds: s.rounds, Seconds: s.labConfig.hold.Seconds()}
	for _, kind := range d.kinds {
		res.Sources = append(res.Sources, feedSource{Kind: kind, Rounds: make([]*feedResult, s.rounds)})
	}
	if err := turns(s.rounds, len(res.Sources), func(round, i int) (err error) {
		of := &res.Sources[i]
		of.Rounds[round], err = s.feed(d, of.Kind, fmt.Sprintf("%s-%d", of.Kind, round+1))
		return err
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

func perTick(r **feedResult) float64 { return (*r).PerTick }

// conclude compares the rounds.
func (res *feedsResult) conclude() {
	var redis []*feedResult
	if i := slices.IndexFunc(res.Sources, func(s feedSource) bool { return s.Kind == lab.Redis }); i >= 0 {
		redis = res.Sources[i].Rounds
	}
	for i := range res.Sources {
		s := &res.Sources[i]
		s.PerTick = over(s.Rounds, perTick)
		if s.Kind != lab.Redis {
			s.ToRedis = ratioTo(s.Rounds, redis, perTick)
		}
		for n, r := range s.Rounds {
			part := fmt.Sprintf("%s in round %d", s.Kind, n+1)
			res.Load = r.load()
			res.take(part, r.Problems, r.Behind)
			res.notes = append(res.notes, part+": without CPU to spare: "+cmp.Or(r.Saturated, "nobody"))
		}
	}
	res.conclusion.conclude()
}

func (res *feedsResult) headline() string {
	return fmt.Sprintf("%s, %d rounds of %.1f s; medians of rounds (min-max)", res.Load, res.Rounds, res.Seconds)
}

func (res *feedsResult) tables() []*table {
	t := newTable("source", "taken/s:%.0f", "µs/message:%.2f", "to redis:%.2f", "edge %:%.1f", "broker %:%.1f", "publisher %:%.1f", "machine %:%.0f",
		"lag ms:%.1f", "at worst:%.0f", "edge's lag, worst:%.1f", "lost:%.0f", "wrong:%.0f", "RSS MB:%.0f", "broker RSS MB:%.0f", "subscribed s:%.1f")
	for _, s := range res.Sources {
		of := func(value func(r *feedResult) float64) spread {
			return over(s.Rounds, func(r **feedResult) float64 { return value(*r) })
		}
		t.row(s.Kind, of(func(r *feedResult) float64 { return r.perSecond(r.Ticks) }), s.PerTick, s.ToRedis,
			of(func(r *feedResult) float64 { return r.percent(r.EdgeCPU) }), of(func(r *feedResult) float64 { return r.percent(r.BrokerCPU) }),
			of(func(r *feedResult) float64 { return r.percent(r.PublisherCPU) }), of(func(r *feedResult) float64 { return r.Host }),
			of(func(r *feedResult) float64 { return r.Lag.Median }), of(func(r *feedResult) float64 { return r.Lag.Max }),
			of(func(r *feedResult) float64 { return r.EdgeLag.Max }), of(func(r *feedResult) float64 { return float64(r.Whole.Lost) }),
			of(func(r *feedResult) float64 { return float64(r.Whole.Wrong) }), of(func(r *feedResult) float64 { return r.Thirds[1] / 1e6 }),
			of(func(r *feedResult) float64 { return mb(r.BrokerRSS) }), of(func(r *feedResult) float64 { return r.SubscribeSeconds }))
	}
	all := []*table{t}
	for _, s := range res.Sources {
		all = append(all, s.profile())
	}
	return all
}

// profile is where the CPU of the edge went in the first round.
func (s *feedSource) profile() *table {
	r := s.Rounds[0]
	t := newTable("CPU of the edge, "+s.Kind+", first round", "%:%.1f", "µs/message:%.2f")
	t.right, t.note = true, fmt.Sprintf("The whole profile: `go tool pprof %s`", r.profile)
	for _, of := range r.Profile {
		t.row(of.Of, of.Percent, r.PerTick*of.Percent/100)
	}
	return t
}

func (res *feedsResult) report(r *report) {
	c := chart.Bars{Title: "CPU per message", Axis: overRounds("µs of the edge's CPU per message that it takes", res.Rounds), Series: one}
	for _, s := range res.Sources {
		c.Rows = append(c.Rows, chart.Row{Name: s.Kind, Muted: s.Kind == lab.Redis, Bars: []chart.Bar{bar(s.PerTick, 0.01, times(s.ToRedis, s.Kind, lab.Redis))}})
		behind := slices.ContainsFunc(s.Rounds, func(r *feedResult) bool { return len(r.Behind) > 0 })
		if s.ToRedis != nil {
			r.atMost(limit{"CPU per message from " + s.Kind, *s.ToRedis, "%.2f", " × redis", brokerGoal, 0, behind})
		}
		wrong := over(s.Rounds, func(r **feedResult) float64 { return float64((*r).Whole.Wrong) })
		r.goals = append(r.goals, goal{What: "newest values missing from " + s.Kind, Wanted: "none", Measured: fmt.Sprintf("%.0f", wrong.Max), Holds: wrong.Max == 0})
	}
	r.picture("cpu", "CPU per message by source", c)
}
