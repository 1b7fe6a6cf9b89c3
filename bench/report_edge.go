//go:build linux

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"tickedge/bench/internal/chart"
)

// The reports of modes that look at the edge alone.

// sameRows is how much the rows per frame may differ, as a ratio, for two rates of
// ticks to mean the same for clients. At low rates more ticks are also more rows.
const sameRows = 1.05

func (res *ticksResult) report(r *report) {
	for i := range res.Rates {
		for k := range res.Rates {
			res.addGoal(r, &res.Rates[i], &res.Rates[k])
		}
	}
	r.text("%s", res.headline())
	r.picture("cpu", "CPU over the rate of ticks", res.cpuChart())
	r.table(res.table())
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

// heldChart compares the staleness that the same conns see in two states.
func heldChart(title string, names [2]string, of [2]staleness) chart.Bars {
	c := chart.Bars{Title: title, Axis: "ms from the tick to the client", Series: []chart.Series{{Name: names[0], Colour: chart.Grey}, {Name: names[1], Colour: chart.Blue}}}
	for _, q := range []struct {
		name string
		of   func(s staleness) float64
	}{
		{"p50", func(s staleness) float64 { return s.P50 }},
		{"p99", func(s staleness) float64 { return s.P99 }},
		{"p99.9", func(s staleness) float64 { return s.P999 }},
		{"max", func(s staleness) float64 { return s.Max }},
	} {
		row := chart.Row{Name: q.name}
		for _, s := range of {
			row.Bars = append(row.Bars, chart.Bar{Value: q.of(s), Label: chart.Number(q.of(s), 1)})
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

func (res *stormResult) report(r *report) {
	measured := fmt.Sprintf("all open and acked after %.2f s", res.Seconds)
	if !res.Good {
		measured = strings.Join(res.Problems, "; ")
	}
	r.goals = append(r.goals, goal{What: fmt.Sprintf("a storm of %d conns", res.Storm), Wanted: "none lost", Measured: measured, Holds: res.Good})
	r.staleness("p99 of staleness of those connected, in the storm", single(res.Stormy.Staleness.P99), false)
	r.text("%s", res.headline())
	r.picture("staleness", "staleness of rows in the calm and in the storm",
		heldChart("Staleness of rows at those connected", [2]string{"calm", fmt.Sprintf("while %d others connect", res.Storm)}, [2]staleness{res.Calm.Staleness, res.Stormy.Staleness}))
	r.table(res.table())
}

const (
	// slowNoise is how far apart, in ms, the p99 of two holds may be for one reason and
	// another.
	slowNoise = 20
	// slowShare is what a client that never reads may cost in memory, in MB: itself and
	// one frame of 256 rows that the socket has not taken.
	slowShare = 0.032
)

func (res *slowResult) report(r *report) {
	r.atMost(limit{"p99 of staleness of the others beside slow clients", single(res.With.Staleness.P99), "%.0f", " ms", res.Without.Staleness.P99 + slowNoise, 0, false})
	r.atMost(limit{"most RSS beside slow clients", single(mb(res.With.RSSMax)), "%.1f", " MB", mb(res.Without.RSSMax) + slowShare*float64(res.Slow), 0, false})
	last := res.Timeout + evictionGrace.Seconds()
	r.goals = append(r.goals, goal{
		What:     fmt.Sprintf("slow clients evicted with -slow-timeout %.0fs", res.Timeout),
		Wanted:   fmt.Sprintf("all, after %.0f to %.0f s", res.Timeout, last),
		Measured: fmt.Sprintf("%d of %d, after %s s", res.Evicted, res.Slow, res.Stuck.text("%.1f")),
		Holds:    res.Evicted == res.Slow && res.Stuck.Min >= res.Timeout-1 && res.Stuck.Max <= last,
	})
	r.text("%s", res.headline())
	r.picture("staleness", "staleness of rows without slow clients and with them",
		heldChart("Staleness of rows at those that read", [2]string{"alone", fmt.Sprintf("beside %d that never read", res.Slow)}, [2]staleness{res.Without.Staleness, res.With.Staleness}))
	r.table(res.table())
}

func (res *scaleResult) report(r *report) {
	p := res.All
	r.goals = append(r.goals, goal{
		What: fmt.Sprintf("%d conns for %.0f s", p.Conns, p.Seconds), Wanted: "all open and served",
		Measured: fmt.Sprintf("%d open, %d refused, %d lost, %d unserved", p.Open, p.Refused, p.Lost, p.Unserved), Holds: res.Good,
	})
	if res.Most != nil {
		what := fmt.Sprintf("p99 of staleness of %d conns, each with every frame", res.Most.Conns)
		r.staleness(what, single(res.Most.Staleness.P99), len(res.Most.Behind) > 0)
	}
	r.text("%s", res.headline())
	if len(res.Tried) > 0 {
		r.picture("conns", "frames and staleness over the number of conns", res.connsChart())
	}
	r.table(res.table())
	r.behind(p.Behind)
}

func (res *scaleResult) connsChart() chart.Lines {
	due := 1000 / float64(res.WindowMS)
	points := append([]*scalePoint{res.All}, res.Tried...)
	slices.SortFunc(points, func(a, b *scalePoint) int { return cmp.Compare(a.Conns, b.Conns) })
	line := func(s chart.Series, of func(p *scalePoint) float64) chart.Line {
		l := chart.Line{Series: s}
		for _, p := range points {
			l.Points = append(l.Points, chart.Point{X: float64(p.Conns), Y: of(p)})
		}
		return l
	}
	worst, middle := chart.Series{Name: "the worst conn; p99", Colour: chart.Blue}, chart.Series{Name: "the median", Colour: chart.Grey}
	return chart.Lines{
		Title: "What each conn gets, by how many there are", XAxis: "conns", Legend: []chart.Series{worst, middle},
		Panels: []chart.Panel{
			{Title: fmt.Sprintf("frames per second, of %.2g", due), Lines: []chart.Line{
				line(middle, func(p *scalePoint) float64 { return p.PerConn.Median }), line(worst, func(p *scalePoint) float64 { return p.PerConn.Min }),
			}},
			{Title: "staleness of rows, ms", Lines: []chart.Line{
				line(middle, func(p *scalePoint) float64 { return p.Staleness.P50 }), line(worst, func(p *scalePoint) float64 { return p.Staleness.P99 }),
			}},
		},
	}
}

func (res *soakResult) report(r *report) {
	left := "nothing"
	if len(res.Left) > 0 {
		left = strings.Join(res.Left, ", ")
	}
	r.goals = append(r.goals, goal{
		What: fmt.Sprintf("left over of %.0f conns/s that come and go", res.Churn), Wanted: "nothing", Measured: left, Holds: len(res.Left) == 0,
	})
	r.atMost(limit{"RSS in the last third of the churn", single(1 + res.Growth), "%.2f", " × that in the first", 1 + soakGrowthMax, 0, false})
	r.text("%s", res.headline())
	r.picture("series", "memory, goroutines, descriptors and subscriptions over the run", res.seriesChart())
	r.table(res.table())
	r.behind(res.Hold.Behind)
}

func (res *soakResult) seriesChart() chart.Lines {
	rss, heap := chart.Series{Name: "the edge", Colour: chart.Blue}, chart.Series{Name: "its Go heap", Colour: chart.Orange}
	line := func(s chart.Series, of func(s *soakSample) float64) chart.Line {
		l := chart.Line{Series: s}
		for i := range res.Series {
			l.Points = append(l.Points, chart.Point{X: res.Series[i].Seconds, Y: of(&res.Series[i])})
		}
		return l
	}
	panel := func(title string, of func(s *soakSample) float64) chart.Panel {
		return chart.Panel{Title: title, Lines: []chart.Line{line(rss, of)}}
	}
	c := chart.Lines{
		Title: fmt.Sprintf("%d conns, of which %.0f a second are replaced; then all leave", res.Conns, res.Churn), XAxis: "seconds",
		Legend: []chart.Series{rss, heap},
		Panels: []chart.Panel{
			panel("RSS and heap in use, MB", func(s *soakSample) float64 { return mb(s.RSS) }),
			panel("goroutines", func(s *soakSample) float64 { return float64(s.Goroutines) }),
			panel("file descriptors", func(s *soakSample) float64 { return float64(s.FDs) }),
			panel("subscriptions", func(s *soakSample) float64 { return float64(s.Subscriptions) }),
		},
	}
	c.Panels[0].Lines = append(c.Panels[0].Lines, line(heap, func(s *soakSample) float64 { return mb(s.Heap) }))
	return c
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
	r.text("%s", res.headline())
	r.picture("series", "lag and memory over the run", res.seriesChart())
	r.table(res.table())
	r.table(res.profileTable())
	r.text("The whole profile: `go tool pprof %s`", profileFile)
	r.behind(res.Behind)
}

func (res *feedResult) seriesChart() chart.Lines {
	edge := chart.Series{Name: "the edge", Colour: chart.Blue}
	panel := func(title string, of func(s *feedSample) float64) chart.Panel {
		l := chart.Line{Series: edge}
		for i := range res.Series {
			l.Points = append(l.Points, chart.Point{X: res.Series[i].Seconds, Y: of(&res.Series[i])})
		}
		return chart.Panel{Title: title, Lines: []chart.Line{l}}
	}
	return chart.Lines{
		Title: fmt.Sprintf("%.0f messages a second", res.perSecond(res.Ticks)), XAxis: "seconds", Legend: []chart.Series{edge},
		Panels: []chart.Panel{
			panel("lag, ms", func(s *feedSample) float64 { return s.Behind }),
			panel("RSS, MB", func(s *feedSample) float64 { return mb(s.RSS) }),
		},
	}
}
