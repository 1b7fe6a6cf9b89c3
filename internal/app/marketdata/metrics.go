// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"maps"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"tickedge/internal/app"
	"tickedge/internal/bars"
	"tickedge/internal/broker/kafka"
	"tickedge/internal/exchange"
	"tickedge/internal/history"
	"tickedge/internal/panics"
	"tickedge/internal/tracing"
)

// metric is one of /metrics. It is a counter if its name ends in _total.
type metric struct {
	name, help, label string
	read              func(s *scrape, put func(v float64, labels ...string))
}

// scrape is what one answer of /metrics is made of.
type scrape struct {
	*program
	bars  bars.Stats
	flaws map[string]uint64
	queue int // Of the inbox that is fullest.
}

func one[T int | int64 | uint64 | float64](value func(s *scrape) T) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, put func(float64, ...string)) { put(float64(value(s))) }
}

// of reads a metric of each inlet.
func of(value func(st exchange.Stats) float64) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, put func(float64, ...string)) {
		for _, in := range s.inlets {
			put(value(in.inlet.Stats()), in.name)
		}
	}
}

// read reads a metric of the reader of Kafka, where there is one, and wrote of the writer.
func read(value func(st kafka.ReaderStats) float64) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, put func(float64, ...string)) {
		if s.reader != nil {
			put(value(s.reader.Stats()))
		}
	}
}

func wrote(tell func(st kafka.WriterStats, put func(float64, ...string))) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, put func(float64, ...string)) {
		if s.writer != nil {
			tell(s.writer.Stats(), put)
		}
	}
}

var metrics = []metric{
	{"build_info", "The version, commit and Go of this program. It is always 1.", "version commit go", func(_ *scrape, put func(float64, ...string)) {
		v := app.BuildVersion()
		put(1, v.Version, v.Commit, v.Go)
	}},
	{"inlet_connections", "Connections that bring trades now.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Connected) })},
	{"inlet_connections_wanted", "Connections that there should be.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Wanted) })},
	{"inlet_trades_total", "Trades that came.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Trades) })},
	{"inlet_flawed_total", "Messages or trades that were skipped.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Flawed) })},
	{"inlet_repeated_total", "Trades that came again and were dropped.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Repeated) })},
	{"inlet_gaps_total", "Runs of trades that were missed.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Gaps) })},
	{"inlet_gaps_filled_total", "Of these, how many were fetched from the history of the exchange.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Filled) })},
	{"inlet_missed_total", "Trades that could not be fetched, by their ids.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Missed) })},
	{"inlet_connects_total", "Connections that came to work.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Connects) })},
	{"inlet_resets_total", "Connections that ended otherwise than by us.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Resets) })},
	{"inlet_silences_total", "Connections given up because nothing came.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Silences) })},
	{"inlet_banned_total", "Times that the exchange told us to slow down.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.Banned) })},
	{"inlet_clock_offset_seconds", "How far the clock of the exchange is ahead of ours.", "inlet", of(func(st exchange.Stats) float64 { return float64(st.ClockOffset) / 1e6 })},
	{"inlet_dropped_total", "Trades that were dropped as their shard had no room.", "inlet", func(s *scrape, put func(float64, ...string)) {
		for _, in := range s.inlets {
			put(float64(in.router.dropped.Load()), in.name)
		}
	}},
	{"trades_total", "Trades in bars, those of aliases too.", "", one(func(s *scrape) uint64 { return s.bars.Trades })},
	{"trades_duplicate_total", "Trades that were in bars already, by their ids.", "", one(func(s *scrape) uint64 { return s.bars.Duplicates })},
	{"trades_renumbered_total", "Times that an exchange began to number the trades of a symbol anew.", "", one(func(s *scrape) uint64 { return s.bars.Renumbered })},
	{"trades_late_total", "Trades later than bars may be revised.", "", one(func(s *scrape) uint64 { return s.bars.Late })},
	{"trades_refused_total", "Trades that are in no bar, by why.", "reason", func(s *scrape, put func(float64, ...string)) {
		for why, n := range s.flaws {
			put(float64(n), why)
		}
	}},
	{"bars_closed_total", "Bars that were closed, those without trades too.", "", one(func(s *scrape) uint64 { return s.bars.Closed })},
	{"bars_revisions_total", "Changes of bars that were closed.", "", one(func(s *scrape) uint64 { return s.bars.Revisions })},
	{"bars_waiting", "Bars that are to be told to the history.", "", one(func(s *scrape) int { return s.bars.Waiting })},
	{"symbols", "Symbols of which there are bars.", "", one(func(s *scrape) int { return s.bars.Symbols })},
	{"shard_inbox", "Trades that wait for their shard, of the one where most do.", "", one(func(s *scrape) int { return s.queue })},
	{"publish_total", "Prices and bars given to the broker, by what became of them.", "result", func(s *scrape, put func(float64, ...string)) {
		if s.out.outbox != nil {
			q := s.out.outbox.Stats()
			put(float64(q.Taken), "taken")
			put(float64(q.Outdated), "outdated")
			put(float64(q.Superseded), "superseded")
			put(float64(q.Flawed), "invalid")
			put(float64(s.out.unput.Load()), "refused")
		}
	}},
	{"publish_waiting", "Topics of which a value waits for the broker.", "", one(func(s *scrape) int {
		if s.out.outbox == nil {
			return 0
		}
		return s.out.outbox.Stats().Waiting
	})},
	{"history_stored_total", "Bars that the history has.", "", one(func(s *scrape) uint64 { return s.written().Stored })},
	{"history_waiting", "Bars that are not stored yet.", "", one(func(s *scrape) int { return s.written().Waiting })},
	{"history_failures_total", "Batches of bars that were not stored and are tried again.", "", one(func(s *scrape) uint64 { return s.written().Failures })},
	{"history_requests_total", "Requests for history, by status.", "code", func(s *scrape, put func(float64, ...string)) {
		if s.history != nil {
			for code, n := range s.history.server.Answers() {
				put(float64(n), strconv.Itoa(code))
			}
		}
	}},
	{"kafka_partitions", "Partitions of Kafka that this process has.", "", read(func(st kafka.ReaderStats) float64 { return float64(st.Partitions) })},
	{"kafka_behind", "Of these, those that were not read yet to where they ended when they were taken over.", "", read(func(st kafka.ReaderStats) float64 { return float64(st.Behind) })},
	{"kafka_lag", "Records of its partitions that are not in bars yet.", "", read(func(st kafka.ReaderStats) float64 { return float64(st.Lag) })},
	{"kafka_read_total", "Trades that came from Kafka.", "", read(func(st kafka.ReaderStats) float64 { return float64(st.Trades) })},
	{"kafka_flawed_total", "Records of Kafka that were skipped.", "", read(func(st kafka.ReaderStats) float64 { return float64(st.Flawed) })},
	{"kafka_missed_total", "Records of Kafka that were gone before they were read.", "", read(func(st kafka.ReaderStats) float64 { return float64(st.Missed) })},
	{"kafka_written_total", "Records that Kafka has confirmed.", "kind", wrote(func(st kafka.WriterStats, put func(float64, ...string)) {
		put(float64(st.Trades), "trade")
		put(float64(st.Bars), "bar")
	})},
	{"kafka_waiting", "Trades that wait for Kafka.", "", wrote(func(st kafka.WriterStats, put func(float64, ...string)) { put(float64(st.Waiting)) })},
	{"kafka_dropped_total", "Trades that gave way to newer ones as Kafka was away or slow.", "", wrote(func(st kafka.WriterStats, put func(float64, ...string)) { put(float64(st.Dropped)) })},
	{"kafka_refused_total", "Records that Kafka has refused.", "", wrote(func(st kafka.WriterStats, put func(float64, ...string)) { put(float64(st.Failed)) })},
	{"trace_spans_total", "Spans of trades that were followed, by what became of them on their way to the collector.", "result", spans(tracing.Stats.Spans)},
	{"trace_ignored_total", "Trades that were not followed, by why: too many in a second, or what is no traceparent.", "reason", spans(tracing.Stats.Ignored)},
	{"log_lines_dropped_total", "Lines that the log has lost.", "", one(func(*scrape) uint64 { return app.LinesDropped() })},
	{"panics_total", "Panics that cost an attempt, by the part of the program. Each one is a bug.", "part", func(_ *scrape, put func(float64, ...string)) {
		for p := range panics.Parts {
			put(float64(panics.Count(p)), p.String())
		}
	}},
}

// exporter turns the counters of the parts into metrics when it is asked.
type exporter struct{ *program }

// counted is what a shard has counted.
type counted struct {
	stats bars.Stats
	flaws map[string]uint64
}

// Describe implements [prometheus.Collector].
func (e exporter) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, ch) }

// Collect implements [prometheus.Collector].
func (e exporter) Collect(ch chan<- prometheus.Metric) {
	s := &scrape{program: e.program, flaws: make(map[string]uint64)}
	ctx, cancel := context.WithTimeout(context.Background(), liveWait) // For all shards together.
	defer cancel()
	for _, of := range e.owned() {
		if !e.running.Load() {
			break
		}
		s.queue = max(s.queue, len(of.in))
		of.call(ctx, func() { of.counted.Store(&counted{of.engine.Stats(), maps.Clone(of.flaws)}) })
		if c := of.counted.Load(); c != nil { // Of a shard that has no time now, what it had last: counters do not fall.
			s.add(c.stats, c.flaws)
		}
	}
	for _, m := range metrics {
		desc, kind := prometheus.NewDesc("marketdata_"+m.name, m.help, strings.Fields(m.label), nil), prometheus.GaugeValue
		if strings.HasSuffix(m.name, "_total") {
			kind = prometheus.CounterValue
		}
		m.read(s, func(v float64, labels ...string) { ch <- prometheus.MustNewConstMetric(desc, kind, v, labels...) })
	}
}

func (s *scrape) add(st bars.Stats, flaws map[string]uint64) {
	s.bars.Trades += st.Trades
	s.bars.Duplicates += st.Duplicates
	s.bars.Renumbered += st.Renumbered
	s.bars.Late += st.Late
	s.bars.Closed += st.Closed
	s.bars.Revisions += st.Revisions
	s.bars.Waiting += st.Waiting
	s.bars.Symbols += st.Symbols
	for why, n := range flaws {
		s.flaws[why] += n
	}
}

// written is what became of bars on their way into the history.
func (s *scrape) written() (st history.WriterStats) {
	if s.stores.writer != nil {
		st = s.stores.writer.Stats()
	}
	return st
}
