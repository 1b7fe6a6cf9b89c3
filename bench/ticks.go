// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

// ticksResult is the edge with the same clients at several rates of ticks.
type ticksResult struct {
	conclusion
	Conns   int        `json:"conns"`
	Topics  int        `json:"topics"`
	Rounds  int        `json:"rounds"`
	Seconds float64    `json:"seconds_per_round"`
	Rates   []tickRate `json:"rates"`
}

// tickRate is one rate of ticks in all rounds.
type tickRate struct {
	Asked      float64 `json:"ticks_per_second_asked"`
	Reached    spread  `json:"ticks_per_second"`   // As the edge counted them.
	CPUPercent spread  `json:"cpu_percent"`        // Of one core.
	Feed       spread  `json:"cpu_percent_feed"`   // With next to no clients.
	FeedTick   spread  `json:"feed_cpu_us_a_tick"` // Of the feed, all but its idle cost.
	CPUNet     spread  `json:"cpu_us_per_frame_net_of_feed"`
	Frames     spread  `json:"frames_per_second"`
	Rows       spread  `json:"rows_per_frame"`
	P99        spread  `json:"staleness_p99_ms"`

	with, without []fanoutRound
	ticks, rows   []float64
}

func runTicks(args []string, stdout, stderr io.Writer) int {
	c := newLab("ticks", 5000, 5*time.Second, "-loops 1")
	f := newLabFlags(c)
	f.IntVar(&c.rounds, roundsFlag, 3, "how often each rate is held")
	list := f.String("rates", "1000,10000,100000", "ticks per second to compare, with commas between them, instead of -rate")
	var rates []float64
	return c.run(f, args, stdout, stderr, func() (err error) {
		rates, err = parseRates(*list)
		return err
	}, func(s *session) (outcome, error) { return s.tickRates(rates) })
}

func parseRates(list string) ([]float64, error) {
	var rates []float64
	for text := range strings.SplitSeq(list, ",") {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || !(rate > 0) || rate > 10e6 {
			return nil, fmt.Errorf("-rates %s: want numbers above 0 with commas between them, such as -rates 1000,100000", list)
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

// tickRates holds the same clients at each rate, in rounds, and next to no clients
// for what the feed alone costs.
func (s *session) tickRates(rates []float64) (outcome, error) {
	res := &ticksResult{Conns: s.conns, Topics: s.topics, Rounds: s.rounds, Seconds: s.labConfig.hold.Seconds(), Rates: make([]tickRate, len(rates))}
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	if err := turns(s.rounds, len(rates), func(round, i int) error {
		of := &res.Rates[i]
		of.Asked = rates[i]
		s.progress("ticks: round %d of %d, %.0f ticks/s", round+1, s.rounds, of.Asked)
		source, err := s.lab.Ticks(s.source, s.universe, of.Asked)
		if err != nil {
			return err
		}
		return errors.Join(s.tickRound(of), s.lab.Stop(source))
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// tickRound measures one rate once.
func (s *session) tickRound(of *tickRate) error {
	var began time.Time
	var before, after float64
	with, err := s.fanoutRound(edgeName, func(server *lab.Server, moment int) error {
		m, err := server.Metrics()
		switch n := m.Sum("edge_feed_ticks_total"); moment {
		case atHold:
			before, began = n, time.Now()
		case atEnd:
			after = ratio(n-before, time.Since(began).Seconds())
		}
		return err
	})
	if err != nil {
		return err
	}
	without, err := s.fanoutRound(feedName, nil)
	if err != nil {
		return err
	}
	of.with, of.without = append(of.with, with), append(of.without, without)
	of.ticks, of.rows = append(of.ticks, after), append(of.rows, with.RowsPerFrame)
	return nil
}

func (res *ticksResult) conclude() {
	for i := range res.Rates {
		r := &res.Rates[i]
		r.Reached, r.Rows = spreadOf(r.ticks), spreadOf(r.rows)
		r.CPUPercent = over(r.with, func(r *fanoutRound) float64 { return r.CPUPercent })
		feed := each(r.without, func(r *fanoutRound) float64 { return r.CPUPercent })
		r.Feed = spreadOf(feed)
		for n := range feed {
			feed[n] *= 1e4 // A percent of a core is 10,000 µs a second.
		}
		r.FeedTick = ratiosOf(feed, r.ticks)
		r.CPUNet = spreadOf(netOfFeed(r.with, r.without))
		r.Frames = over(r.with, func(r *fanoutRound) float64 { return r.Frames })
		r.P99 = over(r.with, func(r *fanoutRound) float64 { return r.Staleness.P99 })
		for n := range r.with {
			part := fmt.Sprintf("%.0f ticks/s in round %d", r.Asked, n+1)
			res.take(part, r.with[n].Problems, nil)
			res.take(part, r.without[n].Problems, nil)
		}
	}
	res.conclusion.conclude()
}

func (res *ticksResult) headline() string {
	return fmt.Sprintf("edge, %d conns with %d topics each, %d rounds of %.1f s; medians of rounds (min-max)",
		res.Conns, res.Topics, res.Rounds, res.Seconds)
}

func (res *ticksResult) tables() []*table {
	t := newTable("ticks/s:%.0f", "reached:%.0f", "CPU %:%.1f", "feed CPU %:%.1f", "feed µs/tick:%.2f", "net µs/frame:%.2f", "frames/s:%.0f", "rows/frame:%.1f", "p99 ms:%.0f")
	for _, r := range res.Rates {
		t.row(r.Asked, r.Reached, r.CPUPercent, r.Feed, r.FeedTick, r.CPUNet, r.Frames, r.Rows, r.P99)
	}
	return []*table{t}
}

// sameRows is how much the rows per frame may differ, as a ratio, for two rates of
// ticks to mean the same for clients. At low rates more ticks are also more rows.
const sameRows = 1.05

func (res *ticksResult) report(r *report) {
	for i := range res.Rates {
		for k := range res.Rates {
			res.addGoal(r, &res.Rates[i], &res.Rates[k])
		}
	}
	r.picture("cpu", "CPU over the rate of ticks", res.cpuChart())
}

// addGoal compares two rates of which one is ten times the other.
func (res *ticksResult) addGoal(r *report, low, high *tickRate) {
	if math.Abs(high.Asked/low.Asked-10) > 0.01 || high.Rows.Median > sameRows*low.Rows.Median {
		return
	}
	more := func(high, low []fanoutRound) (added []float64) {
		for n := range high {
			added = append(added, high[n].CPUPercent-low[n].CPUPercent)
		}
		return added
	}
	r.atMost(limit{
		what:     fmt.Sprintf("CPU added by ten times the ticks, from %.0f/s on, %d conns", low.Asked, res.Conns),
		measured: ratiosOf(more(high.with, low.with), more(high.without, low.without)),
		format:   "%.2f", unit: " × that of the feed alone", goal: tickGoal,
	})
}

func (res *ticksResult) cpuChart() chart.Lines {
	all := chart.Series{Name: fmt.Sprintf("edge with %d conns", res.Conns), Colour: chart.Blue}
	feed := chart.Series{Name: "its feed: an edge with next to no conns", Colour: chart.Grey}
	lines := []chart.Line{{Series: all}, {Series: feed}}
	for _, rate := range res.Rates {
		for i, s := range []spread{rate.CPUPercent, rate.Feed} {
			lines[i].Points = append(lines[i].Points, chart.Point{X: rate.Asked, Y: s.Median, Min: s.Min, Max: s.Max})
		}
	}
	for _, l := range lines {
		slices.SortFunc(l.Points, func(a, b chart.Point) int { return cmp.Compare(a.X, b.X) })
	}
	return chart.Lines{
		Title: "CPU over the rate of ticks", XAxis: overRounds("ticks per second", res.Rounds), Log: true, Legend: []chart.Series{all, feed},
		Panels: []chart.Panel{{Title: "CPU, % of one core", Lines: lines}},
	}
}
