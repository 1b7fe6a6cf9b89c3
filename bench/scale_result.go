//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tickedge/bench/internal/lab"
)

// scaleResult is many conns on one host.
type scaleResult struct {
	Good     bool          `json:"good"` // None was lost, unserved or told nonsense; all frames or not.
	Topics   int           `json:"topics"`
	Universe int           `json:"universe"`
	Rate     float64       `json:"ticks_per_second"`
	WindowMS int64         `json:"window_ms"`
	All      *scalePoint   `json:"all"`            // All conns that were asked for.
	Most     *scalePoint   `json:"most,omitempty"` // The most conns of which each got every frame.
	Tried    []*scalePoint `json:"tried,omitempty"`
	Problems []string      `json:"problems,omitempty"`
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
	PerConn   perConn   `json:"frames_per_conn_per_second"`
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
func scalePointOf(res *result, window time.Duration, kernel [2]lab.Kernel, each []map[string]float64) *scalePoint {
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

func (res *scaleResult) good() bool { return res.Good }

func (res *scaleResult) headline() string {
	p := res.All
	return fmt.Sprintf("%d conns with %d of %d topics each at %d edges on one port, %.0f ticks/s, window %d ms, held for %.0f s",
		p.Conns, res.Topics, res.Universe, p.Edges, res.Rate, res.WindowMS, p.Seconds)
}

// table has all conns first, and then those of the search.
func (res *scaleResult) table() *table {
	t := newTable("conns", "edges", "every frame", "frames/s", "per conn and s: min", "median", "p50 ms", "p99 ms", "p99.9 ms", "edges CPU %", "bench CPU %", "RSS/conn", "problems")
	for _, p := range append([]*scalePoint{res.All}, res.Tried...) {
		yes := "no"
		if p.EveryFrame {
			yes = "yes"
		}
		t.row(fmt.Sprint(p.Conns), fmt.Sprint(p.Edges), yes, fmt.Sprintf("%.0f", p.Frames), fmt.Sprintf("%.2f", p.PerConn.Min), fmt.Sprintf("%.2f", p.PerConn.Median),
			fmt.Sprintf("%.0f", p.Staleness.P50), fmt.Sprintf("%.0f", p.Staleness.P99), fmt.Sprintf("%.0f", p.Staleness.P999),
			fmt.Sprintf("%.0f", p.EdgeCPU), fmt.Sprintf("%.0f", p.Client.CPUPercent), fmt.Sprintf("%.0f", p.RSSPerConn), fmt.Sprint(len(p.Problems)))
	}
	return t
}

func (res *scaleResult) writeText(w io.Writer) error {
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
	line("bench", "CPU %.1f %% of a core (busiest of %d: %.1f %%), %.2f µs per frame; longest gap between polls %.1f ms, %d late of %d",
		p.Client.CPUPercent, p.Client.Workers, p.Client.CPUBusiest, p.Client.CPUPerFrame, p.Client.LongestGapMS, p.Client.LatePolls, p.Client.Polls)
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
		b.WriteString("\n")
		if err := res.table().writeText(&b, tabwriter.AlignRight); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return verdict(w, res.Problems)
}
