// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"tickedge/bench/internal/swarm"
)

// writeText writes the result for people.
func (res *result) writeText(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s ", name)
		fmt.Fprintf(&b, format+"\n", args...)
	}
	perSecond := func(n uint64) float64 { return ratio(float64(n), res.HoldSeconds) }

	line("conns", "%d asked, %d connected in %.1f s, %d open at the end, %d acked",
		res.Conns, res.Connected, res.ConnectSeconds, res.Open, res.Acked)
	line("topics", "%d of %d per conn, seed %d; window %s ms", res.Topics, res.Universe, res.Seed, span(res.WindowMin, res.WindowMax))
	line("held", "%.1f s", res.HoldSeconds)
	line("frames", "%d, %.0f/s (%s)", res.Frames, perSecond(res.Frames), byType(res.Types))
	line("", "per conn and second: min %.2f, median %.2f, max %.2f", res.PerConn.Min, res.PerConn.Median, res.PerConn.Max)
	line("rows", "%d, %.0f/s; %d with the n of the row before, %d without ts, %d from the future",
		res.Rows, perSecond(res.Rows), res.Repeated, res.Undated, res.Ahead)
	line("bytes", "%.1f MB, %.2f MB/s", float64(res.Bytes)/1e6, perSecond(res.Bytes)/1e6)
	line("pings", "%d", res.Pings)
	line("unserved", "%d conns at the end, %d at worst: no frame for 5 s, and for two windows (a problem only if their topics tick)", res.Unserved, res.UnservedWorst)
	line("staleness", "%s", res.Update.text("updates"))
	line("", "%s", res.Snapshot.text("snapshots, whole run"))

	for _, s := range res.Servers {
		if s.Error != "" {
			line("server", "process %d: not measured: %s", s.PID, s.Error)
			continue
		}
		line("server", "process %d: CPU %.1f %% of a core, %.2f s, %.2f µs per frame", s.PID, s.CPUPercent, s.CPUSeconds, s.CPUPerFrame)
		line("", "RSS %.1f MB before, %.1f when held, %.1f after: %.0f B per conn", mb(s.Before.RSS), mb(s.Held.RSS), mb(s.After.RSS), s.RSSPerConn)
		line("", "Pss %.1f MB before, %.1f after; threads %d, %d; fds %d, %d",
			mb(s.Before.PSS), mb(s.After.PSS), s.Before.Threads, s.After.Threads, s.Before.FDs, s.After.FDs)
	}
	line("kernel", "TCP buffers of this host: %.1f MB before, %.1f when held, %.1f after", mb(res.TCPMem[0]), mb(res.TCPMem[1]), mb(res.TCPMem[2]))
	line("bench", "%s", res.Client.text())

	tallies(&b, "refused", res.Refused)
	tallies(&b, "lost", res.Lost)
	tallies(&b, "bye", res.Byes)
	tallies(&b, "violation", res.Violations)
	for _, text := range res.Behind {
		line("BEHIND", "bench was in its own way: %s", text)
	}
	if res.Good {
		line("result", "good")
	} else {
		line("result", "NOT GOOD: %s", strings.Join(res.Problems, "; "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mb(n int64) float64 { return float64(n) / 1e6 }

func span(lo, hi uint64) string {
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

func byType(types map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(types)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, types[name]))
	}
	return strings.Join(parts, ", ")
}

func (s staleness) text(of string) string {
	if s.Rows == 0 {
		return of + ": no dated rows"
	}
	return fmt.Sprintf("%s: p50 %.1f, p99 %.1f, p99.9 %.1f, max %.1f ms (%d rows)", of, s.P50, s.P99, s.P999, s.Max, s.Rows)
}

func (c *clientCost) text() string {
	return fmt.Sprintf("CPU %.1f %% of a core (busiest of %d: %.1f %%), %.2f µs per frame; longest gap between polls %.1f ms, %d late of %d",
		c.CPUPercent, c.Workers, c.CPUBusiest, c.CPUPerFrame, c.LongestGapMS, c.LatePolls, c.Polls)
}

func tallies(b *strings.Builder, name string, of swarm.Tallies) {
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	for _, kind := range slices.Sorted(maps.Keys(of)) {
		t := of[kind]
		fmt.Fprintf(b, "%-11s %d × %s, from %.1f s to %.1f s\n%-11s   %s\n", name, t.Count, kind, seconds(t.First), seconds(t.Last), "", t.Example)
	}
}
