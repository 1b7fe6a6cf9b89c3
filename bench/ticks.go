//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/lab"
)

// ticksResult is the edge with the same clients at several rates of ticks.
type ticksResult struct {
	Good     bool       `json:"good"`
	Conns    int        `json:"conns"`
	Topics   int        `json:"topics"`
	Rounds   int        `json:"rounds"`
	Seconds  float64    `json:"seconds_per_round"`
	Rates    []tickRate `json:"rates"`
	Problems []string   `json:"problems,omitempty"`
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
	c := &labConfig{mode: "ticks", conns: 5000, hold: 5 * time.Second, edge: "-loops 1"}
	f := newLabFlags(c)
	f.IntVar(&c.rounds, roundsFlag, 3, "how often each rate is held")
	list := f.String("rates", "1000,10000,100000", "ticks per second to compare, with commas between them, instead of -rate")
	err := c.parse(f, args, stderr)
	rates, ratesErr := parseRates(*list)
	if err = errors.Join(err, ratesErr); err != nil {
		return flagError(c.mode, err, stderr)
	}
	return runLab(c, stdout, stderr, func(s *session) (outcome, error) { return s.tickRates(rates) })
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
	for round := range s.rounds {
		for i := range rates {
			at := (i + round) % len(rates)
			of := &res.Rates[at]
			of.Asked = rates[at]
			s.progress("ticks: round %d of %d, %.0f ticks/s", round+1, s.rounds, of.Asked)
			source, err := s.lab.Ticks(s.redis, s.universe, of.Asked)
			if err != nil {
				return nil, err
			}
			if err := errors.Join(s.tickRound(of), s.lab.Stop(source)); err != nil {
				return nil, err
			}
		}
	}
	res.conclude()
	return res, nil
}

// tickRound measures one rate once.
func (s *session) tickRound(of *tickRate) error {
	var began time.Time
	var before, after float64
	with, err := s.fanoutRound(edgeName, func(server *lab.Server, moment int) {
		// A failed scrape shows as a rate of 0.
		switch m, _ := server.Metrics(); moment {
		case atHold:
			before, began = m["edge_feed_ticks_total"], time.Now()
		case atEnd:
			after = ratio(m["edge_feed_ticks_total"]-before, time.Since(began).Seconds())
		}
	})
	if err != nil {
		return err
	}
	without, err := s.fanoutRound(feedName, nil)
	if err != nil {
		return err
	}
	of.with, of.without = append(of.with, *with), append(of.without, *without)
	of.ticks, of.rows = append(of.ticks, after), append(of.rows, with.RowsPerFrame)
	return nil
}

func (res *ticksResult) conclude() {
	for i := range res.Rates {
		r := &res.Rates[i]
		r.Reached, r.Rows = spreadOf(r.ticks), spreadOf(r.rows)
		r.CPUPercent = spreadOf(each(r.with, func(r *fanoutRound) float64 { return r.CPUPercent }))
		feed := each(r.without, func(r *fanoutRound) float64 { return r.CPUPercent })
		r.Feed = spreadOf(feed)
		for n := range feed {
			feed[n] *= 1e4 // A percent of a core is 10,000 µs a second.
		}
		r.FeedTick = ratiosOf(feed, r.ticks)
		r.CPUNet = spreadOf(netOfFeed(r.with, r.without))
		r.Frames = spreadOf(each(r.with, func(r *fanoutRound) float64 { return r.Frames }))
		r.P99 = spreadOf(each(r.with, func(r *fanoutRound) float64 { return r.Staleness.P99 }))
		for n := range r.with {
			for _, p := range append(r.with[n].Problems, r.without[n].Problems...) {
				res.Problems = append(res.Problems, fmt.Sprintf("%.0f ticks/s in round %d: %s", r.Asked, n+1, p))
			}
		}
	}
	res.Good = len(res.Problems) == 0
}

func (res *ticksResult) good() bool { return res.Good }

func (res *ticksResult) headline() string {
	return fmt.Sprintf("edge, %d conns with %d topics each, %d rounds of %.1f s; medians of rounds (min-max)",
		res.Conns, res.Topics, res.Rounds, res.Seconds)
}

func (res *ticksResult) table() *table {
	t := newTable("ticks/s", "reached", "CPU %", "feed CPU %", "feed µs/tick", "net µs/frame", "frames/s", "rows/frame", "p99 ms")
	for _, r := range res.Rates {
		t.row(fmt.Sprintf("%.0f", r.Asked), r.Reached.text("%.0f"), r.CPUPercent.text("%.1f"), r.Feed.text("%.1f"), r.FeedTick.text("%.2f"),
			r.CPUNet.text("%.2f"), r.Frames.text("%.0f"), r.Rows.text("%.1f"), r.P99.text("%.0f"))
	}
	return t
}

func (res *ticksResult) writeText(w io.Writer) error {
	fmt.Fprintln(w, res.headline())
	if err := res.table().writeText(w, 0); err != nil {
		return err
	}
	return verdict(w, res.Problems)
}
