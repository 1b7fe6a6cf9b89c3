// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"

	"tickedge/bench/internal/chart"
)

// screensResult compares clients with screens with clients that name their topics.
type screensResult struct {
	conclusion
	Conns   int                 `json:"conns"`
	Screens int                 `json:"screens"`
	Topics  int                 `json:"topics"`
	Names   int                 `json:"names_per_conn"`
	Rate    float64             `json:"ticks_per_second"`
	Rounds  int                 `json:"rounds"`
	Seconds float64             `json:"seconds_per_round"`
	Cases   []screensCaseResult `json:"cases"`

	Ratio    *spread `json:"cpu_per_tick_to_names,omitempty"`
	Sampled  spread  `json:"ns_a_condition_by_the_edge"`               // As the edge samples its own conditions.
	ByCPU    *spread `json:"ns_a_condition_by_cpu,omitempty"`          // By the CPU that more conditions took, with few clients.
	Profiled spread  `json:"ns_a_condition_by_profile"`                // Looking at members, evaluating, noting.
	Flat     *spread `json:"feed_of_most_clients_to_fewest,omitempty"` // Of one screen.
	MostOf   [2]int  `json:"clients_of_these"`
}

// screensCaseResult is one case in all rounds.
type screensCaseResult struct {
	Name       string         `json:"name"`
	Conns      int            `json:"conns"`
	Conditions int            `json:"conditions"`
	Rounds     []screensRound `json:"rounds"`
}

// screensRound is one case in one round. CPU is in percent of one core, and of the whole host.
type screensRound struct {
	Seconds      float64   `json:"seconds"`
	Ticks        float64   `json:"ticks_per_second"`
	Published    float64   `json:"published_per_second"`
	CPUPercent   float64   `json:"cpu_percent"`
	CPUPerTick   float64   `json:"cpu_us_per_tick"`
	BrokerCPU    float64   `json:"broker_cpu_percent"`
	PublisherCPU float64   `json:"publisher_cpu_percent"`
	BenchCPU     float64   `json:"bench_cpu_percent"`
	Host         float64   `json:"host_cpu_percent"`
	Evaluations  float64   `json:"evaluations_per_second"`
	Share        float64   `json:"screen_cpu_ratio"` // As the edge says.
	Messages     float64   `json:"messages_per_second"`
	Rows         float64   `json:"rows_per_second"`
	Outs         float64   `json:"names_out_per_second"`
	Staleness    staleness `json:"staleness"`
	RSS          float64   `json:"rss_bytes"`
	Profile      []share   `json:"profile,omitempty"`
	Problems     []string  `json:"problems,omitempty"`
	Behind       []string  `json:"behind,omitempty"`
}

// roundsOf are the rounds of a case, nil if there is none of that name.
func (res *screensResult) roundsOf(name string) []screensRound {
	if i := slices.IndexFunc(res.Cases, func(c screensCaseResult) bool { return c.Name == name }); i >= 0 {
		return res.Cases[i].Rounds
	}
	return nil
}

// conclude compares the cases, each round with itself.
func (res *screensResult) conclude() {
	for _, c := range res.Cases {
		for n, r := range c.Rounds {
			res.take(fmt.Sprintf("%s in round %d", c.Name, n+1), r.Problems, r.Behind)
		}
	}
	perTick := func(r *screensRound) float64 { return r.CPUPerTick }
	with := res.roundsOf(screensCase)
	res.Ratio = ratioTo(with, res.roundsOf(namesCase), perTick)
	res.Sampled = over(with, func(r *screensRound) float64 { return ratio(1e9*r.Share, r.Evaluations) })
	res.Profiled = over(with, func(r *screensRound) float64 { return ratio(r.of(conditionParts...)*r.Ticks, r.Evaluations) })
	first, last := res.shared()
	if first == nil {
		res.conclusion.conclude()
		return
	}
	each := res.roundsOf(eachCase)
	var added []float64
	for i := range each {
		added = append(added, ratio(1000*(each[i].CPUPerTick-first.Rounds[i].CPUPerTick), float64(res.Screens-1)))
	}
	if res.Screens > 1 && first.Conns <= res.Screens {
		by := spreadOf(added)
		res.ByCPU = &by
	}
	res.Flat, res.MostOf = ratioTo(last.Rounds, first.Rounds, (*screensRound).feedNS), [2]int{last.Conns, first.Conns}
	res.conclusion.conclude()
}

// shared are the cases with the fewest and the most clients of one screen, nil if there is none.
func (res *screensResult) shared() (first, last *screensCaseResult) {
	for i := range res.Cases {
		c := &res.Cases[i]
		if c.Name != fmt.Sprintf(oneCase, c.Conns) {
			continue
		}
		if first == nil || c.Conns < first.Conns {
			first = c
		}
		if last == nil || c.Conns > last.Conns {
			last = c
		}
	}
	return first, last
}

func (res *screensResult) headline() string {
	return fmt.Sprintf("edge, %d conns: %d names of each, or one of %d screens over %d topics; %.0f ticks/s that move, %d rounds of %.1f s "+
		"(half as long below the first two cases); medians of rounds (min-max)",
		res.Conns, res.Names, res.Screens, res.Topics, res.Rate, res.Rounds, res.Seconds)
}

func (res *screensResult) tables() []*table {
	columns := []struct {
		name string
		of   func(r *screensRound) float64
	}{
		{"µs CPU/tick:%.2f", func(r *screensRound) float64 { return r.CPUPerTick }},
		{"CPU %:%.1f", func(r *screensRound) float64 { return r.CPUPercent }},
		{"ticks/s:%.0f", func(r *screensRound) float64 { return r.Ticks }},
		{"messages/s:%.0f", func(r *screensRound) float64 { return r.Messages }},
		{"rows/s:%.0f", func(r *screensRound) float64 { return r.Rows }},
		{"out/s:%.0f", func(r *screensRound) float64 { return r.Outs }},
		{"p50 ms:%.0f", func(r *screensRound) float64 { return r.Staleness.P50 }},
		{"p99 ms:%.0f", func(r *screensRound) float64 { return r.Staleness.P99 }},
		{"RSS MB:%.1f", func(r *screensRound) float64 { return r.RSS / 1e6 }},
		{"publisher %:%.0f", func(r *screensRound) float64 { return r.PublisherCPU }},
		{"redis %:%.0f", func(r *screensRound) float64 { return r.BrokerCPU }},
		{"bench %:%.0f", func(r *screensRound) float64 { return r.BenchCPU }},
		{"host %:%.0f", func(r *screensRound) float64 { return r.Host }},
	}
	head := []string{"case"}
	for _, c := range columns {
		head = append(head, c.name)
	}
	t := newTable(head...)
	for _, of := range res.Cases {
		cells := []any{of.Name}
		for _, c := range columns {
			cells = append(cells, over(of.Rounds, c.of))
		}
		t.row(cells...)
	}
	all := []*table{t}
	if parts := res.parts(); parts != nil {
		all = append(all, parts)
	}
	c := newTable("conditions", "")
	c.row("CPU per tick with screens, to names", res.text(res.Ratio, "%.2f"))
	c.row("ns a condition and tick, as the edge samples it", res.text(&res.Sampled, "%.0f"))
	c.row("ns a condition and tick, by the CPU of "+eachCase+" and of one screen", res.text(res.ByCPU, "%.0f"))
	c.row("ns a condition and tick, by the profile", res.text(&res.Profiled, "%.0f"))
	c.row(fmt.Sprintf("CPU per tick but for clients, %d clients of a screen to %d", res.MostOf[0], res.MostOf[1]), res.text(res.Flat, "%.2f"))
	return append(all, c)
}

// text is a spread, or a dash for one that was not measured.
func (res *screensResult) text(s *spread, format string) string {
	if s == nil || *s == (spread{}) {
		return "-"
	}
	return s.text(format)
}

// parts is what a tick cost by part, nil without profiles.
func (res *screensResult) parts() *table {
	head := []string{"ns CPU/tick"}
	for _, c := range res.Cases {
		head = append(head, c.Name+":%.0f")
	}
	t, some := newTable(head...), false
	row := func(name string, of func(r *screensRound) float64) {
		cells := []any{name}
		for _, c := range res.Cases {
			s := over(c.Rounds, of)
			some = some || s.Median > 0
			cells = append(cells, s)
		}
		t.row(cells...)
	}
	for _, l := range screensLayers {
		row(l.name, func(r *screensRound) float64 { return r.of(l.name) })
	}
	row("all but clients", (*screensRound).feedNS)
	if !some {
		return nil
	}
	return t
}

func (res *screensResult) report(r *report) {
	c := chart.Bars{Title: "CPU per tick", Axis: overRounds("µs of the edge's CPU per tick", res.Rounds), Series: one}
	for _, of := range res.Cases {
		s := over(of.Rounds, func(r *screensRound) float64 { return r.CPUPerTick })
		c.Rows = append(c.Rows, chart.Row{Name: of.Name, Muted: of.Name != screensCase, Bars: []chart.Bar{bar(s, 0.1, "")}})
	}
	r.picture("cpu", "CPU per tick by case", c)
}
