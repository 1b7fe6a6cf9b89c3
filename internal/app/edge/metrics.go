// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"tickedge/internal/app"
	"tickedge/internal/auth"
	"tickedge/internal/broker"
	"tickedge/internal/fanout"
	"tickedge/internal/feed"
	"tickedge/internal/guard"
	"tickedge/internal/loop"
	"tickedge/internal/panics"
	"tickedge/internal/rpc"
	"tickedge/internal/screen"
	"tickedge/internal/tracing"
)

// metric is one of /metrics, beside the counters of loops and shards. It is a counter if its
// name ends in _total, as Prometheus has it.
type metric struct {
	name, help, label string
	read              func(s *scrape, to sink)
}

// metricTable has all of them. Those of loops and shards are added by allMetrics.
var metricTable = []metric{
	{"build_info", "The version, commit and Go of this edge. It is always 1.", "version commit go", func(_ *scrape, to sink) {
		v := app.BuildVersion()
		to.put(1, v.Version, v.Commit, v.Go)
	}},
	{"connections", "Connections open now, by what they are doing.", "state", by(func(s *scrape) map[string]int {
		return map[string]int{"handshake": s.loops.Opening, "open": s.loops.Open, "http": s.loops.Asking, "closing": s.loops.Closing}
	})},
	{"connections_max", "Connections that are held at a time at most.", "", one(func(s *scrape) int { return s.running().maxConns })},
	{"draining", "1 from the signal to end on: clients are about to be sent away, or are.", "", one(func(s *scrape) float64 { return oneIf(s.draining.Load()) })},
	{"drain_connections", "Connections that there were when the client port was closed and clients began to be sent away; 0 before.", "", one(func(s *scrape) int64 { return s.drainFrom.Load() })},
	{"connections_refused_total", "Requests answered with an error, by reason.", "reason", by(func(s *scrape) map[string]uint64 { return s.loops.Refused })},
	{"connections_closed_total", "Connections closed, by reason and close code (1006: without one).", "reason code", func(s *scrape, to sink) {
		for c, n := range s.loops.Closed {
			to.put(float64(n), c.Reason, c.Code)
		}
	}},
	{"admin_refused_total", "Requests to the admin port that were refused, by reason.", "reason", by(func(s *scrape) map[string]uint64 { return s.ops.Refused() })},
	{"api_requests_total", "Requests to the back office, by route and status.", "route code", func(s *scrape, to sink) {
		if s.api != nil {
			for c, n := range s.api.Requests() {
				to.put(float64(n), c.Route, strconv.Itoa(c.Code))
			}
		}
	}},
	{"api_values_total", "Values that were given to the back office and passed on, by what became of them.", "result", func(s *scrape, to sink) {
		if s.outbox != nil {
			q := s.outbox.Stats()
			for label, n := range map[string]uint64{"taken": q.Taken, "outdated": q.Outdated, "superseded": q.Superseded, "invalid": q.Flawed, "refused": q.Refused, "denied": q.Denied} {
				to.put(float64(n), label)
			}
		}
	}},
	{"api_values_waiting", "Topics of which a value waits for its broker.", "", func(s *scrape, to sink) {
		if s.outbox != nil {
			to.put(float64(s.outbox.Stats().Waiting))
		}
	}},
	{"api_commands_total", "Commands of other edges of the broker, by what became of them, and values of them that were dropped.", "result", func(s *scrape, to sink) {
		if c := s.control; c != nil {
			to.put(float64(c.done.Load()), "done")
			to.put(float64(c.old.Load()), "old")
			to.put(float64(c.invalid.Load()), "invalid")
			to.put(float64(c.dropped.Load()), "dropped")
		}
	}},
	{"log_lines_dropped_total", "Lines that the log has lost, as it was not read as fast as they came, or as writing them has failed.", "", one(func(*scrape) uint64 { return app.LinesDropped() })},
	{"panics_total", "Panics that cost a connection, a link to Redis, a request or an attempt, by the part of the edge. Each one is a bug.", "part", func(_ *scrape, to sink) {
		for p := range panics.Parts {
			to.put(float64(panics.Count(p)), p.String())
		}
	}},
	{"subscriptions", "Subscriptions of all connections.", "", one(func(s *scrape) int64 { return s.table.Subscriptions() })},
	{"topics", "Topics held, those that linger without subscribers included.", "", one(func(s *scrape) int64 { return s.table.Held() })},
	{"topics_rowless", "Topics held that have no value, those that linger included.", "", one(func(s *scrape) int { return s.table.Rowless() })},
	{"topics_waiting", "Topics of which the feed was not told yet, as it has enough to subscribe.", "", one(func(s *scrape) int { return s.table.Waiting() })},
	{"topics_reclaimed_total", "Topics given up to make room for others: without a value and taken from those who had them, or lingering.", "state", by(func(s *scrape) map[string]uint64 {
		withdrawn, lingering := s.table.Reclaimed()
		return map[string]uint64{"held": withdrawn, "lingering": lingering}
	})},
	{"topics_stale", "Topics that have had no tick for longer than is to be expected of them.", "", one(func(s *scrape) int64 { now, _ := s.table.StaleTopics(); return now })},
	{"stale_total", "Times a topic went stale.", "", one(func(s *scrape) uint64 { _, total := s.table.StaleTopics(); return total })},
	{"rows_offered_total", "Ticks, each times its subscribers: the rows that would be sent without conflation.", "", one(func(s *scrape) uint64 { return s.table.Offered() })},
	{"rows_conflated_total", "Rows that were not sent because a newer one took their place. It may run ahead by the rows of one window.", "", one(func(s *scrape) uint64 { return s.server.Conflated(s.updatesByRPC) })},
	{"top_topic_bytes_per_second", "Bytes of rows sent to clients in a second, of the 20 topics with the most; none of private names.", "topic", topTopics},
	{"backlog_bytes", "Bytes that client sockets have not taken yet, of all connections.", "", one(func(s *scrape) int64 { return s.server.Backlog() })},
	{"backlog_max_bytes", "How much that may be. Beyond it the connections with most of it are closed.", "", one(func(s *scrape) int64 { return s.running().backlog })},
	{"grpc_connections", "Connections of the port for gRPC that are open now.", "", ofRPC(func(st *rpc.Stats, to sink) { to.put(float64(st.Conns)) })},
	{"grpc_connections_refused_total", "Connections of the port for gRPC that found no room.", "", ofRPC(func(st *rpc.Stats, to sink) { to.put(float64(st.Refused)) })},
	{"grpc_streams", "Streams of gRPC that are open now.", "", ofRPC(func(st *rpc.Stats, to sink) { to.put(float64(st.Streams)) })},
	{"grpc_streams_ended_total", "Streams of gRPC that have ended, by code.", "code", ofRPC(func(st *rpc.Stats, to sink) { to.each(st.Ended) })},
	{"grpc_tokens_refused_total", "Tokens of calls of gRPC that were refused, by reason.", "reason", ofRPC(func(st *rpc.Stats, to sink) { to.each(st.Tokens) })},
	{"grpc_update_rows_total", "Rows that were sent in updates of streams of gRPC.", "", ofRPC(func(st *rpc.Stats, to sink) { to.put(float64(st.Updates)) })},
	{"trace_spans_total", "Spans of ticks that were followed, by what became of them on their way to the collector.", "result", spans(tracing.Stats.Spans)},
	{"trace_ignored_total", "Ticks that were not followed though they say so, by why: too many in a second, or what is no traceparent.", "reason", spans(tracing.Stats.Ignored)},
	{"wheel_lag_seconds", "How late the timer wheel is that is furthest behind.", "", one(func(s *scrape) float64 { return s.loops.Lag.Seconds() })},

	{"tokens_refused_total", "Tokens of handshakes and auth commands that were refused, by reason.", "reason", by(func(s *scrape) map[string]uint64 { return s.loops.Tokens })},
	{"token_keys", "Keys that tokens may be signed with.", "", func(s *scrape, to sink) {
		if s.verifier != nil {
			to.put(float64(s.tokens.Keys))
		}
	}},
	{"token_keys_fetched_timestamp_seconds", "When the keys of tokens were fetched, as Unix time; 0 if they never were.", "", fetches(func(t auth.Stats) float64 {
		if t.Fetched.IsZero() {
			return 0
		}
		return float64(t.Fetched.UnixMilli()) / 1000
	})},
	{"token_keys_fetches_total", "Fetches of the keys of tokens, those that failed included.", "", fetches(func(t auth.Stats) float64 { return float64(t.Fetches) })},
	{"token_keys_fetch_failures_total", "Fetches of the keys of tokens that failed.", "", fetches(func(t auth.Stats) float64 { return float64(t.Failures) })},

	{"guard_sources", "IPv4 addresses and IPv6 /64 networks that hold connections, if these are limited.", "", one(func(s *scrape) int { return s.guard.Prefixes })},
	{"guard_refused_total", "Connections refused by the limits of new ones, by limit.", "limit", func(s *scrape, to sink) {
		for o := guard.OK + 1; int(o) < guard.Outcomes; o++ {
			to.put(float64(s.guard.Refused[o]), o.String())
		}
	}},
	{"guard_sources_forgotten_total", "Sources whose rate was forgotten because there were too many others.", "", one(func(s *scrape) uint64 { return s.guard.Forgotten })},

	{"feed_ticks_total", "Ticks taken from the feed.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Ticks] })},
	{"feed_tombstones_total", "Tombstones among the ticks and the fetched values: topics that were delisted.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Tombstones] })},
	{"feed_unwanted_total", "Messages of topics that nobody wanted any more.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Unwanted] })},
	{"feed_invalid_total", "Values dropped, by what is wrong with them.", "reason", func(s *scrape, to sink) {
		for flaw := broker.Flawless + 1; flaw < broker.Flaws; flaw++ {
			to.put(float64(s.ticks.Flaws[flaw]), flaw.Label())
		}
	}},
	{"feed_older_total", "Values dropped because their version was below that of the newest one.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Older] })},
	{"feed_repeated_total", "Messages dropped because they came again, with the same version and value.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Repeated] })},
	{"feed_version_resets_total", "Topics whose versions were taken to begin anew, after nothing but older ones.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.VersionResets] })},
	{"feed_gaps_total", "Times ticks may have been missed, after which all values were fetched again.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Gaps] })},
	{"feed_repairs_total", "Fetched values that were newer than what was held.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Repairs] })},
	{"feed_fetch_failures_total", "Topics whose newest value could not be fetched, per attempt.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.FetchFailures] })},
	{"feed_refused", "Topics that the broker refuses now, to be subscribed or to be read, by cause. They are asked for again.", "cause", func(s *scrape, to sink) {
		for c := broker.NoCause + 1; c < broker.Causes; c++ {
			to.put(float64(s.ticks.Refused[c]), c.Label())
		}
	}},
	{"feed_refusals_total", "Answers of the broker that refused a topic, or all that it was asked for, by cause.", "cause", func(s *scrape, to sink) {
		for c := broker.NoCause + 1; c < broker.Causes; c++ {
			to.put(float64(s.ticks.Refusals[c]), c.Label())
		}
	}},
	{"feed_broken_total", "Connections given up because what came was not what the broker sends.", "", one(func(s *scrape) uint64 { return s.ticks.Counts[broker.Broken] })},
	{"feed_connected", "1 while a source of the feed is connected, by the patterns of its topics.", "source", sourcesOf(func(_ *scrape, _ int, of *feed.SourceStats) float64 { return oneIf(of.Connected) })},
	{"feed_current", "1 while the values of a source of the feed are current, which is what clients are told and /readyz says.", "source", sourcesOf(func(s *scrape, i int, _ *feed.SourceStats) float64 { return oneIf(s.table.SourceState(i).Up) })},
	{"feed_half_current", "1 while the values of one of the two brokers of a source are current, the first or the second of URL|URL.", "source half", func(s *scrape, to sink) {
		for i := range s.ticks.Sources {
			of := &s.ticks.Sources[i]
			for k, half := range of.Halves {
				to.put(oneIf(half.Up), cmp.Or(of.Topics, "*"), strconv.Itoa(k+1))
			}
		}
	}},
	{"feed_behind", "Topics that keep a source of the feed from being current: wanted when the gap began, and not read since.", "source", sourcesOf(func(_ *scrape, _ int, of *feed.SourceStats) float64 { return float64(of.Behind) })},
	{"feed_lag_seconds", "How old a message may be that a source of the feed receives now; 0 while it is not connected.", "source", sourcesOf(func(_ *scrape, _ int, of *feed.SourceStats) float64 { return of.Lag.Seconds() })},
	{"feed_channels", "Subscriptions that the brokers have confirmed.", "", one(func(s *scrape) int64 { return s.ticks.Channels })},
	{"feed_topics", "Topics that are to be subscribed.", "", one(func(s *scrape) int64 { return s.ticks.Held })},
}

// one reads a metric of one value.
func one[T int | int64 | uint64 | float64](value func(s *scrape) T) func(*scrape, sink) {
	return func(s *scrape, to sink) { to.put(float64(value(s))) }
}

// by reads a metric with a value of the label for each key.
func by[T int | uint64](values func(s *scrape) map[string]T) func(*scrape, sink) {
	return func(s *scrape, to sink) {
		for label, v := range values(s) {
			to.put(float64(v), label)
		}
	}
}

// fetches reads a metric that there is if keys of tokens are fetched.
func fetches(value func(t auth.Stats) float64) func(*scrape, sink) {
	return func(s *scrape, to sink) {
		if s.verifier != nil && s.cfg.tokens.JWKSURL != "" {
			to.put(value(s.tokens))
		}
	}
}

// sourcesOf reads a metric of each source of the feed.
func sourcesOf(value func(s *scrape, i int, of *feed.SourceStats) float64) func(*scrape, sink) {
	return func(s *scrape, to sink) {
		for i := range s.ticks.Sources {
			of := &s.ticks.Sources[i]
			to.put(value(s, i, of), cmp.Or(of.Topics, "*"))
		}
	}
}

// ofRPC reads a metric that there is with a port for gRPC.
func ofRPC(read func(st *rpc.Stats, to sink)) func(*scrape, sink) {
	return func(s *scrape, to sink) {
		if s.calls != nil {
			read(s.calls, to)
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// counters are metrics made of the counters of loops or shards, of which some have a label.
func counters(of []fanout.Metric, count func(s *scrape, i int) uint64) (all []metric) {
	help := ""
	for i, c := range of {
		if help = cmp.Or(c.Help, help); c.Name != "" {
			all = append(all, metric{c.Name, help, c.Label, func(s *scrape, to sink) {
				to.put(float64(count(s, i)), strings.Fields(c.Value)...)
			}})
		}
	}
	return all
}

// allMetrics are those of loops and shards too.
var allMetrics = slices.Concat(metricTable, revokedMetrics, histograms, balance, headroomMetrics, screenMetrics, reloadMetrics,
	counters(fanout.Metrics[:], func(s *scrape, i int) uint64 { return s.loops.Count[i] }),
	counters(loop.Metrics[:], func(s *scrape, i int) uint64 { return s.loops.Loop[i] }))

// scrape is what one answer of /metrics is made of.
type scrape struct {
	*edge
	loops   loop.Stats
	guard   guard.Stats
	balance []loop.Balance // Of each loop.
	ticks   feed.Stats
	tokens  auth.Stats
	calls   *rpc.Stats // Nil without a port for gRPC.

	screened *screen.Stats // Nil without screens.
}

// sink is where the values of a metric go.
type sink struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	out  chan<- prometheus.Metric
}

func (to sink) put(v float64, labels ...string) {
	to.out <- prometheus.MustNewConstMetric(to.desc, to.kind, v, labels...)
}

// each puts a value for each label.
func (to sink) each(values map[string]uint64) {
	for label, v := range values {
		to.put(float64(v), label)
	}
}

// exporter turns the plain counters of the parts into Prometheus metrics when it is
// asked. Nothing on the path of a tick knows of it.
type exporter struct{ *edge }

// Describe implements [prometheus.Collector]. What Collect sends depends on no
// state, so it describes itself.
func (e exporter) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, ch) }

// Collect implements [prometheus.Collector]. A panic fails the scrape.
func (e exporter) Collect(ch chan<- prometheus.Metric) {
	err := panics.Try(panics.Admin, func() error { e.collect(ch); return nil })
	if err != nil {
		e.log.Error("panic while collecting metrics", append([]any{"error", err, "hint", panics.Hint}, panics.Attrs(err)...)...)
		ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
	}
}

func (e exporter) collect(ch chan<- prometheus.Metric) {
	s := &scrape{edge: e.edge, loops: e.server.Stats(), balance: e.server.Balance(), guard: e.server.Guard(), ticks: e.feed.Stats()}
	if e.verifier != nil {
		s.tokens = e.running().verifier.Stats()
	}
	if e.rpc != nil {
		calls := e.rpc.Stats()
		s.calls = &calls
	}
	if e.screens != nil {
		screens := e.screens.Stats()
		s.screened = &screens
	}
	for _, m := range allMetrics {
		to := sink{prometheus.NewDesc("edge_"+m.name, m.help, strings.Fields(m.label), nil), prometheus.GaugeValue, ch}
		if strings.HasSuffix(m.name, "_total") {
			to.kind = prometheus.CounterValue
		}
		m.read(s, to)
	}
}
