// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

const (
	// everyFrame is the share of its frames that each client has to get, so that one
	// that the ends of the holding time cut off does not count.
	everyFrame = 0.95
	// findWithin is how near the search comes, as a share. Machines wander by more.
	findWithin = 0.05
	// findLeast ends a search that finds nothing.
	findLeast = 100
	// ticksPatience bounds the time from the start of the source of ticks to the first
	// one at each edge.
	ticksPatience = 20 * time.Second
)

// scaleConfig is what the flags of scale say.
type scaleConfig struct {
	labConfig
	edges   int // 0 takes as many as the file limit demands.
	find    bool
	findFor time.Duration
}

func runScale(args []string, stdout, stderr io.Writer) int {
	c := &scaleConfig{labConfig: *newLab("scale", 100_000, 5*time.Minute, "")}
	f := newLabFlags(&c.labConfig)
	f.IntVar(&c.edges, "edges", 0, "edges, all on one port; 0 takes as many as the file limit demands")
	f.IntVar(&c.workers, "workers", 0, "processes to spread the conns over; 0 chooses")
	f.BoolVar(&c.find, "find", true, "if not every client gets every frame, find out how many clients do")
	f.DurationVar(&c.findFor, "find-for", 20*time.Second, "how long to hold each time in search of that")
	return c.run(f, args, stdout, stderr, func() error {
		if c.edges < 0 {
			return fmt.Errorf("-edges %d: want 0 or more, such as -edges 6", c.edges)
		}
		if c.findFor < 10*c.window {
			return fmt.Errorf("-find-for %v: want ten windows or more, such as -find-for %v", c.findFor, max(20*time.Second, 10*c.window))
		}
		return nil
	}, func(s *session) (outcome, error) { return s.scale(c) })
}

// scale holds all conns, and then fewer, until it is known how many of them this host
// can give every frame.
func (s *session) scale(c *scaleConfig) (outcome, error) {
	// Its own number of loops, as below, makes no difference that matters.
	room, err := s.lab.EdgeConns(s.edgeArgs...)
	if err != nil {
		return nil, err
	}
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	res := &scaleResult{Topics: s.topics, Universe: s.universe, Rate: s.rate, WindowMS: s.window.Milliseconds()}
	hold := func(conns int, hold time.Duration) (*scalePoint, error) {
		edges := c.edges
		if edges == 0 {
			edges = edgesFor(conns, room)
		}
		s.progress("scale: %d conns at %d edges for %v", conns, edges, hold)
		return s.scalePoint(conns, edges, hold)
	}
	if res.All, err = hold(s.conns, s.labConfig.hold); err != nil {
		return nil, err
	}
	res.Problems = res.All.Problems
	res.conclude()
	if res.All.EveryFrame {
		res.Most = res.All
		return res, nil
	}
	if !c.find {
		return res, nil
	}
	f := search{bad: s.conns}
	// As many as those frames would be enough for, and some room.
	next := min(int(0.9*res.All.Frames*s.window.Seconds()), f.next())
	for ; !f.done(); next = f.next() {
		p, err := hold(next, c.findFor)
		if err != nil {
			return nil, err
		}
		res.Tried = append(res.Tried, p)
		if p.EveryFrame {
			f.good, res.Most = next, p
		} else {
			f.bad = next
		}
	}
	return res, nil
}

// search looks for the most conns that are good: good of them are, or 0 if none is
// known to be, and bad of them are not.
type search struct{ good, bad int }

func (f search) done() bool {
	return f.bad <= findLeast || f.good > 0 && float64(f.bad-f.good) <= findWithin*float64(f.bad)
}

// next is what to try next. It goes down by a fifth, and up by no more than a quarter:
// what was measured under full load is nearer to the truth than half of the way.
func (f search) next() int {
	if f.good == 0 {
		return f.bad * 4 / 5
	}
	return min((f.good+f.bad)/2, f.good*5/4+1)
}

// edgesFor is how many edges it takes on one port for conns, if one has room for so
// many. The kernel spreads conns by a hash, so their number at one edge is binomial. It
// is kept six standard deviations below the room, beyond which one edge in 10^9 comes.
func edgesFor(conns, room int) int {
	for n := 1; ; n++ {
		mean := float64(conns) / float64(n)
		if mean+6*math.Sqrt(mean*(1-1/float64(n))) <= float64(room) || mean < 1 {
			return n
		}
	}
}

// scalePoint holds so many conns at so many new edges. Ticks begin when all conns are
// open: a host that is too small for them would take minutes to open the last ones
// beside what it owes to the first, which is what the mode storm looks at.
func (s *session) scalePoint(conns, edges int, hold time.Duration) (*scalePoint, error) {
	args := []string{"-interval", s.window.String(), "-loops", strconv.Itoa(max(1, runtime.NumCPU()/edges))}
	server, err := s.lab.Edge(s.source, edges, append(args, s.edgeArgs...)...)
	if err != nil {
		return nil, err
	}
	part := *s.labConfig
	part.hold = hold
	of := *s
	of.labConfig = &part
	var kernel [2]lab.Kernel
	var each []lab.Metrics // Of the edges, at the end.
	var source *lab.Proc
	res, err := of.hold(server, conns, s.topics, func(moment int) (err error) {
		switch moment {
		case atStart:
			kernel[0], err = lab.ReadKernel()
		case atHold:
			source, err = s.tickAt(server)
		case atEnd:
			if kernel[1], err = lab.ReadKernel(); err == nil {
				each, err = server.EachMetrics()
			}
		}
		return err
	})
	if source != nil {
		err = errors.Join(err, s.lab.Stop(source))
	}
	if err := errors.Join(err, s.lab.StopServer(server)); err != nil {
		return nil, err
	}
	return scalePointOf(res, s.window, kernel, each), nil
}

// tickAt starts the source of ticks and returns when they come to each edge.
func (s *session) tickAt(server *lab.Server) (*lab.Proc, error) {
	source, err := s.lab.Ticks(s.source, s.universe, s.rate)
	if err != nil {
		return nil, err
	}
	return source, until(s.ctx, ticksPatience, 20*time.Millisecond, func() (bool, error) {
		each, err := server.EachMetrics()
		return !slices.ContainsFunc(each, func(m lab.Metrics) bool { return m.Sum("edge_feed_ticks_total") == 0 }), err
	}, func() error {
		return fmt.Errorf("no tick came to one of the edges for %v; the log of the source: %s", ticksPatience, source.Log)
	})
}

// scaleResult is many conns on one host.
type scaleResult struct {
	conclusion               // Good: none was lost, unserved or told nonsense; all frames or not.
	Topics     int           `json:"topics"`
	Universe   int           `json:"universe"`
	Rate       float64       `json:"ticks_per_second"`
	WindowMS   int64         `json:"window_ms"`
	All        *scalePoint   `json:"all"`            // All conns that were asked for.
	Most       *scalePoint   `json:"most,omitempty"` // The most conns of which each got every frame.
	Tried      []*scalePoint `json:"tried,omitempty"`
}

// scalePoint is so many conns for a while.
type scalePoint struct {
	EveryFrame bool `json:"every_frame"` // And no problems.

	Conns     int       `json:"conns"`
	Open      int       `json:"open"` // At the end.
	Refused   uint64    `json:"refused"`
	Lost      uint64    `json:"lost"`
	Unserved  int       `json:"unserved"` // At the end.
	Seconds   float64   `json:"seconds"`
	Frames    float64   `json:"frames_per_second"`
	PerConn   spread    `json:"frames_per_conn_per_second"`
	Staleness staleness `json:"staleness"`

	Edges       int     `json:"edges"`
	EdgeConns   spread  `json:"conns_per_edge"`
	EdgeCPU     float64 `json:"edges_cpu_percent"` // Of one core, all edges together.
	CPUPerFrame float64 `json:"edges_cpu_us_per_frame"`
	Lag         float64 `json:"edges_wheel_lag_seconds"` // Of the edge that was furthest behind at the end.
	RSSPerConn  float64 `json:"edges_rss_bytes_per_conn"`
	RSS         int64   `json:"edges_rss_bytes"`
	Slab        float64 `json:"kernel_slab_per_conn"` // Both ends of the conn, as is TCPMem.
	TCPMem      float64 `json:"kernel_tcp_buffers_per_conn"`

	// Closed are the conns that the edges had seen the end of, before bench closed any,
	// by reason and code.
	Closed map[string]float64 `json:"edges_closed,omitempty"`

	Client   clientCost `json:"client"`
	Behind   []string   `json:"behind,omitempty"`
	Problems []string   `json:"problems,omitempty"`
}

// scalePointOf has kernel from before and after, and the metrics of each edge.
func scalePointOf(res *result, window time.Duration, kernel [2]lab.Kernel, each []lab.Metrics) *scalePoint {
	p := &scalePoint{
		Conns: res.Conns, Open: res.Open, Refused: res.Refused.Total(), Lost: res.Lost.Total(), Unserved: res.Unserved,
		Seconds: res.HoldSeconds, Frames: ratio(float64(res.Frames), res.HoldSeconds), PerConn: res.PerConn, Staleness: res.Update,
		Edges: len(each), Client: res.Client, Behind: res.Behind, Problems: slices.Clone(res.Problems), Closed: map[string]float64{},
	}
	per := func(n int64) float64 { return ratio(float64(n), float64(res.Open)) }
	p.Slab, p.TCPMem = per(kernel[1].Slab-kernel[0].Slab), per(kernel[1].TCPMem-kernel[0].TCPMem)
	for _, s := range res.Servers {
		p.EdgeCPU += s.CPUPercent
		p.CPUPerFrame += s.CPUPerFrame
		p.RSSPerConn += s.RSSPerConn
		p.RSS += s.After.RSS
	}
	var conns []float64
	for _, m := range each {
		conns = append(conns, m[`edge_connections{state="open"}`])
		p.Lag = max(p.Lag, m["edge_wheel_lag_seconds"])
		for name, n := range m {
			if labels, ok := strings.CutPrefix(name, "edge_connections_closed_total"); ok && n > 0 {
				p.Closed[labels] += n
			}
		}
	}
	p.EdgeConns = spreadOf(conns)
	if p.Unserved > 0 {
		p.Problems = append(p.Problems, fmt.Sprintf("%d conns were unserved at the end", p.Unserved))
	}
	if p.Open < p.Conns && len(p.Problems) == 0 {
		p.Problems = append(p.Problems, fmt.Sprintf("%d conns of %d were open at the end", p.Open, p.Conns))
	}
	p.EveryFrame = len(p.Problems) == 0 && p.PerConn.Min*window.Seconds() >= everyFrame
	return p
}

func (res *scaleResult) headline() string {
	p := res.All
	return fmt.Sprintf("%d conns with %d of %d topics each at %d edges on one port, %.0f ticks/s, window %d ms, held for %.0f s",
		p.Conns, res.Topics, res.Universe, p.Edges, res.Rate, res.WindowMS, p.Seconds)
}

// points are all conns, and then those of the search.
func (res *scaleResult) points() []*scalePoint { return append([]*scalePoint{res.All}, res.Tried...) }

func (res *scaleResult) tables() []*table {
	t := newTable("conns", "edges", "every frame", "frames/s:%.0f", "per conn and s: min:%.2f", "median:%.2f", "p50 ms:%.0f", "p99 ms:%.0f", "p99.9 ms:%.0f",
		"edges CPU %:%.0f", "bench CPU %:%.0f", "RSS/conn:%.0f", "problems")
	t.right = true
	for _, p := range res.points() {
		yes := "no"
		if p.EveryFrame {
			yes = "yes"
		}
		t.row(p.Conns, p.Edges, yes, p.Frames, p.PerConn.Min, p.PerConn.Median, p.Staleness.P50, p.Staleness.P99, p.Staleness.P999,
			p.EdgeCPU, p.Client.CPUPercent, p.RSSPerConn, len(p.Problems))
	}
	return []*table{t}
}

// text is result.txt, where the points are told only if there was a search.
func (res *scaleResult) text() string {
	p := res.All
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s "+format+"\n", append([]any{name}, args...)...)
	}
	due := 1000 / float64(res.WindowMS)
	line("conns", "%d asked, %d open at the end, %d refused, %d lost, %d unserved; %d of %d topics each, %.0f ticks/s, window %d ms",
		p.Conns, p.Open, p.Refused, p.Lost, p.Unserved, res.Topics, res.Universe, res.Rate, res.WindowMS)
	line("edges", "%d on one port, %.0f to %.0f conns each; %.1f %% of a core together, %.2f µs per frame; the last one %.1f s behind",
		p.Edges, p.EdgeConns.Min, p.EdgeConns.Max, p.EdgeCPU, p.CPUPerFrame, p.Lag)
	line("memory", "RSS %.0f B per conn (%.1f MB over all edges, that of before included); kernel: slab %.0f B, TCP buffers %.0f B per conn, both ends",
		p.RSSPerConn, mb(p.RSS), p.Slab, p.TCPMem)
	line("held", "%.1f s", p.Seconds)
	line("frames", "%.0f/s; per conn and second: min %.2f, median %.2f, max %.2f of %.2f", p.Frames, p.PerConn.Min, p.PerConn.Median, p.PerConn.Max, due)
	line("staleness", "%s", p.Staleness.text("updates"))
	line("bench", "%s", p.Client.text())
	for _, name := range slices.Sorted(maps.Keys(p.Closed)) {
		if p.Lost+p.Refused == 0 {
			break // There is the one that has asked whether anybody listens.
		}
		line("closed", "%.0f conns, as the edges say, with %s", p.Closed[name], name)
	}
	for _, text := range p.Behind {
		line("BEHIND", "bench was in its own way: %s", text)
	}
	switch {
	case p.EveryFrame:
		line("enough", "every client got every frame")
	case res.Most != nil:
		line("too many", "not every client got every frame. %d clients do on this host: p50 %.0f, p99 %.0f ms, edges %.0f %%, bench %.0f %% of a core",
			res.Most.Conns, res.Most.Staleness.P50, res.Most.Staleness.P99, res.Most.EdgeCPU, res.Most.Client.CPUPercent)
	default:
		line("too many", "not every client got every frame")
	}
	if len(res.Tried) > 0 {
		b.WriteString("\n" + res.tables()[0].text())
	}
	return b.String() + res.verdict()
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
	if len(res.Tried) > 0 {
		r.picture("conns", "frames and staleness over the number of conns", res.connsChart())
	}
}

func (res *scaleResult) connsChart() chart.Lines {
	due := 1000 / float64(res.WindowMS)
	points := slices.Clone(res.points())
	slices.SortFunc(points, func(a, b *scalePoint) int { return cmp.Compare(a.Conns, b.Conns) })
	line := func(s chart.Series, of func(p *scalePoint) float64) chart.Line {
		return lineOf(s, points, func(p **scalePoint) float64 { return float64((*p).Conns) }, func(p **scalePoint) float64 { return of(*p) })
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
