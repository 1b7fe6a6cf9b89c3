//go:build linux

package main

import (
	"fmt"
	"slices"

	"tickedge/bench/internal/chart"
)

// The reports of modes that compare servers.

// one is the only series of a picture.
var one = []chart.Series{{Colour: chart.Blue}}

// quantiles are the series of a picture of staleness.
var quantiles = []chart.Series{{Name: "p50", Colour: chart.Light}, {Name: "p99", Colour: chart.Middle}, {Name: "p99.9", Colour: chart.Dark}}

// bar shows a spread, and note behind its median.
// The median is told as exactly as step.
func bar(s spread, step float64, note string) chart.Bar {
	return chart.Bar{Value: s.Median, Min: s.Min, Max: s.Max, Label: chart.Number(s.Median, step) + note}
}

// times is the note of a ratio, empty if there is none.
func times(s *spread, of string) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(" (%.2f × %s)", s.Median, of)
}

// overRounds explains bars of spreads.
func overRounds(what string, rounds int) string {
	if rounds == 1 {
		return what
	}
	return fmt.Sprintf("%s; median, least and most of %d rounds", what, rounds)
}

func (d *density) report(r *report) {
	for _, p := range d.Servers {
		if p.Server != edgeName {
			continue
		}
		if d.Topics == topicsOfGoals {
			r.atMost(limit{"RSS per conn, " + p.State, single(p.RSS), "%.0f", " B", rssGoal, rssFar, false})
		}
		what := fmt.Sprintf("goroutines with %d conns, %s; %.0f without", d.Conns, p.State, p.GoBefore)
		r.atMost(limit{what, single(p.Goroutines), "%.0f", "", p.GoBefore + goroutinesMore, 0, false})
	}
	r.text("%s", d.headline())
	r.picture("rss", "RSS per conn", d.rssChart())
	r.picture("memory", "memory per conn with that of the kernel", d.memoryChart())
	r.table(d.table())
}

func (p *densityPoint) name() string { return p.Server + ", " + p.State }

func (d *density) rssChart() chart.Bars {
	c := chart.Bars{Title: fmt.Sprintf("Memory per conn with %d topics", d.Topics), Axis: "bytes of RSS per conn", Series: one}
	for _, p := range d.Servers {
		note := ""
		if p.RSSToGnet != 0 && p.Server != gnetName {
			note = fmt.Sprintf(" (%.2f × gnet)", p.RSSToGnet)
		}
		c.Rows = append(c.Rows, chart.Row{Name: p.name(), Muted: p.Server != edgeName, Bars: []chart.Bar{
			{Value: p.RSS, Label: chart.Number(p.RSS, 1) + note},
		}})
	}
	return c
}

func (d *density) memoryChart() chart.Bars {
	c := chart.Bars{
		Title: "Whose memory that is, and what the kernel adds", Axis: "bytes per conn; the kernel's are those of both ends", Stack: true,
		Series: []chart.Series{{Name: "Go heap", Colour: chart.Blue}, {Name: "stacks", Colour: chart.Sky}, {Name: "rest of RSS", Colour: chart.Light},
			{Name: "kernel: slab", Colour: chart.Grey}, {Name: "kernel: TCP buffers", Colour: chart.Orange}},
	}
	for _, p := range d.Servers {
		// What the heap has grown by can be more than RSS has: memory that was there before.
		heap := min(max(0, p.Heap), p.RSS)
		stack := min(max(0, p.Stack), p.RSS-heap)
		kernel := max(0, p.Slab) + max(0, p.TCPMem)
		c.Rows = append(c.Rows, chart.Row{Name: p.name(), Bars: []chart.Bar{
			{Value: heap}, {Value: stack}, {Value: p.RSS - heap - stack}, {Value: p.Slab},
			{Value: p.TCPMem, Label: chart.Number(p.RSS, 1) + " + " + chart.Number(kernel, 1)},
		}})
	}
	return c
}

func (f *fanoutResult) report(r *report) {
	f.addGoals(r)
	r.text("%s", f.headline())
	r.picture("cpu", "CPU per frame by server", f.cpuChart())
	r.picture("staleness", "staleness of rows by server", f.stalenessChart())
	r.picture("rss", "RSS per conn by server", f.rssChart())
	r.table(f.table())
	r.behind(f.Behind)
}

func (f *fanoutResult) addGoals(r *report) {
	edge, gorilla := f.find(edgeName), f.find(gorillaName)
	if edge == nil {
		return
	}
	under := fmt.Sprintf(" (%d topics per conn, %.0f ticks/s)", f.Topics, f.Rate)
	if edge.NetToFloor != nil && f.Topics == topicsOfGoals {
		behind := f.behind(edgeName, feedName, floorName)
		r.atMost(limit{"CPU per frame, net of feed" + under, *edge.NetToFloor, "%.2f", " × floor", frameGoal, frameFar, behind})
	}
	r.staleness("p99 of staleness"+under, edge.P99, f.behind(edgeName))
	if gorilla != nil {
		rss := func(r *fanoutRound) float64 { return r.RSSPerConn }
		memory := ratiosOf(each(edge.RoundResults, rss), each(gorilla.RoundResults, rss))
		r.atMost(limit{"RSS per conn" + under, memory, "%.3f", " × gorilla", usualMemoryGoal, 0, false})
		r.atMost(limit{"CPU per frame, feed included" + under, *edge.ToGorilla, "%.2f", " × gorilla", usualCPUGoal, 0, f.behind(edgeName, gorillaName)})
	}
}

// behind reports whether bench was in its own way in a round of these servers.
func (f *fanoutResult) behind(names ...string) bool {
	for _, s := range f.Servers {
		for _, round := range s.RoundResults {
			if len(round.Behind) > 0 && slices.Contains(names, s.Name) {
				return true
			}
		}
	}
	return false
}

func (f *fanoutResult) cpuChart() chart.Bars {
	c := chart.Bars{Title: "CPU per frame", Axis: overRounds("µs of server CPU per frame", f.Rounds), Series: one}
	for _, s := range f.Servers {
		toFloor := times(s.ToFloor, floorName)
		if s.Name == floorName {
			toFloor = ""
		}
		if s.Name == feedName {
			continue // Its frames are few and large.
		}
		c.Rows = append(c.Rows, chart.Row{Name: s.Name, Muted: s.Name != edgeName, Bars: []chart.Bar{bar(s.CPUPerFrame, 0.1, toFloor)}})
		if s.CPUNet != nil {
			c.Rows = append(c.Rows, chart.Row{Name: s.Name + ", net of feed", Bars: []chart.Bar{bar(*s.CPUNet, 0.1, times(s.NetToFloor, floorName))}})
		}
	}
	return c
}

func (f *fanoutResult) stalenessChart() chart.Bars {
	c := chart.Bars{Title: "Staleness of rows", Axis: overRounds("ms from the tick to the client", f.Rounds), Series: quantiles}
	for _, s := range f.Servers {
		if s.Name != feedName {
			c.Rows = append(c.Rows, chart.Row{Name: s.Name, Bars: []chart.Bar{bar(s.P50, 1, ""), bar(s.P99, 1, ""), bar(s.P999, 1, "")}})
		}
	}
	return c
}

func (f *fanoutResult) rssChart() chart.Bars {
	c := chart.Bars{Title: "Memory per conn under fan-out", Axis: overRounds("bytes of RSS per conn", f.Rounds), Series: one}
	for _, s := range f.Servers {
		if s.Name != feedName {
			c.Rows = append(c.Rows, chart.Row{Name: s.Name, Muted: s.Name != edgeName, Bars: []chart.Bar{bar(s.RSSPerConn, 1, "")}})
		}
	}
	return c
}

func (res *saturateResult) report(r *report) {
	behind := func(of saturateServer) bool {
		return slices.ContainsFunc(of.Rounds, func(r saturateRound) bool { return len(r.Behind) > 0 })
	}
	floorBehind := slices.ContainsFunc(res.Servers, func(s saturateServer) bool { return s.Name == floorName && behind(s) })
	for _, s := range res.Servers {
		if s.Name == edgeName && s.ToFloor != nil {
			what := fmt.Sprintf("frames per second on one core (%.0f ticks/s)", s.Rate)
			r.atLeast(limit{what, *s.ToFloor, "%.2f", " × floor", saturateGoal, saturateFar, floorBehind || behind(s)})
		}
	}
	r.text("%s", res.headline())
	r.picture("frames", "frames per second on one core by server", res.framesChart())
	r.table(res.table())
	r.behind(res.Behind)
}

func (res *saturateResult) framesChart() chart.Bars {
	c := chart.Bars{Title: "Frames on one core", Axis: overRounds("frames per second", res.Rounds), Series: one}
	for _, s := range res.Servers {
		note := ""
		if s.Name != floorName {
			note = times(s.ToFloor, floorName)
		}
		c.Rows = append(c.Rows, chart.Row{
			Name: fmt.Sprintf("%s, %s ticks/s", s.Name, chart.Number(s.Rate, 1)), Muted: s.Name != edgeName, Bars: []chart.Bar{bar(s.Frames, 1, note)},
		})
	}
	return c
}

func (res *handshakeResult) report(r *report) {
	for _, s := range res.Servers {
		if s.Name == edgeName && s.OpenToFloor != nil {
			r.atMost(limit{"CPU per handshake", *s.OpenToFloor, "%.2f", " × floor", handshakeGoal, handshakeFar, len(res.Behind) > 0})
		}
	}
	r.text("%s", res.headline())
	r.picture("cpu", "CPU per handshake by server", res.cpuChart())
	r.table(res.table())
	r.behind(res.Behind)
}

func (res *handshakeResult) cpuChart() chart.Bars {
	c := chart.Bars{
		Title: "CPU per handshake", Axis: overRounds("µs of server CPU per conn", res.Rounds),
		Series: []chart.Series{{Name: "open: accept, request, answer, hello", Colour: chart.Blue}, {Name: "close", Colour: chart.Light}},
	}
	for _, s := range res.Servers {
		open, closing := times(s.OpenToFloor, floorName), times(s.CloseToFloor, floorName)
		if s.Name == floorName {
			open, closing = "", ""
		}
		c.Rows = append(c.Rows, chart.Row{Name: s.Name, Bars: []chart.Bar{bar(s.Open, 0.1, open), bar(s.Close, 0.1, closing)}})
	}
	return c
}
