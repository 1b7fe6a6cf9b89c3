// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tickedge/internal/fanout"
	"tickedge/internal/loop"
)

// histograms are the metrics of how long things take.
var histograms = append([]metric{
	{"turn_seconds", "Time of one turn of an event loop's timer wheel, flushes included.", "", func(s *scrape, to sink) {
		to.histogram(loop.TurnBounds[:], s.loops.Turns.Buckets[:], s.loops.Turns.Sum)
	}},
}, spanMetrics()...)

// spanMetrics are those that shards take down.
func spanMetrics() (all []metric) {
	help := ""
	for i, of := range fanout.SpanMetrics {
		help = cmp.Or(of.Help, help)
		all = append(all, metric{of.Name, help, of.Label, func(s *scrape, to sink) {
			h := &s.loops.Spans[i]
			to.histogram(fanout.SpanBounds[:], h.Buckets[:], h.Sum, strings.Fields(of.Value)...)
		}})
	}
	return all
}

// histogram puts a distribution: of each bucket, the last of which has no bound, what is in it alone.
func (to sink) histogram(bounds []time.Duration, counts []uint64, sum time.Duration, labels ...string) {
	buckets, total := make(map[float64]uint64, len(bounds)), uint64(0)
	for i, n := range counts {
		total += n
		if i < len(bounds) {
			buckets[bounds[i].Seconds()] = total
		}
	}
	to.out <- prometheus.MustNewConstHistogram(to.desc, total, sum.Seconds(), buckets, labels...)
}

// balance are the metrics that show whether one loop has more to do than others.
var balance = []metric{
	ofLoops("loop_connections", "Connections of each event loop.", func(of *loop.Balance) float64 { return float64(of.Conns) }),
	ofLoops("loop_turn_seconds_total", "Time that each event loop has spent in turns of its timer wheel.", func(of *loop.Balance) float64 { return of.Turns.Seconds() }),
	ofLoops("loop_bytes_sent_total", "Bytes that each event loop has handed to client sockets.", func(of *loop.Balance) float64 { return float64(of.BytesOut) }),
}

func ofLoops(name, help string, value func(of *loop.Balance) float64) metric {
	return metric{name, help, "loop", func(s *scrape, to sink) {
		for i, of := range s.balance {
			to.put(value(&of), strconv.Itoa(i))
		}
	}}
}
