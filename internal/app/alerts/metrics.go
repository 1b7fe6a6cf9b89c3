// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"tickedge/internal/app"
	"tickedge/internal/panics"
	"tickedge/internal/watch"
)

// metric is one of /metrics. It is a counter if its name ends in _total.
type metric struct {
	name, help, label string
	read              func(s *scrape, put func(v float64, labels ...string))
}

// scrape is what one answer of /metrics is made of.
type scrape struct {
	*program
	watch.Stats
}

func one[T int64 | uint64](value func(s *scrape) T) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, put func(float64, ...string)) { put(float64(value(s))) }
}

var metrics = []metric{
	{"build_info", "The version, commit and Go of this program. It is always 1.", "version commit go", func(_ *scrape, put func(float64, ...string)) {
		v := app.BuildVersion()
		put(1, v.Version, v.Commit, v.Go)
	}},
	{"feed_up", "1 while all brokers are there and values are current.", "", func(s *scrape, put func(float64, ...string)) {
		if s.table.Health().Up {
			put(1)
		} else {
			put(0)
		}
	}},
	{"active", "Alerts that are watched here.", "", one(func(s *scrape) int64 { return s.Alerts })},
	{"symbols", "Symbols that are watched here.", "", one(func(s *scrape) int64 { return s.Symbols })},
	{"buckets", "Parts of all symbols, out of 64, that are watched here.", "", one(func(s *scrape) int64 { return s.Buckets })},
	{"prices_total", "Prices that alerts were compared with.", "", one(func(s *scrape) uint64 { return s.Prices })},
	{"bars_total", "Closed bars that alerts were compared with.", "", one(func(s *scrape) uint64 { return s.Bars })},
	{"values_flawed_total", "Values of the broker without a price, or bars, that could be read.", "", one(func(s *scrape) uint64 { return s.Flawed })},
	{"topics_refused_total", "Times that a symbol had no room among -max-topics.", "", one(func(s *scrape) uint64 { return s.Full })},
	{"conditions_met_total", "Alerts whose condition held, here.", "", one(func(s *scrape) uint64 { return s.Fired })},
	{"fired_total", "Of those, the ones that the store took: others had fired already, or were changed.", "", one(func(s *scrape) uint64 { return s.Taken })},
	{"armed_total", "Alerts that were armed anew, or whose side of a crossing became known.", "", one(func(s *scrape) uint64 { return s.Armed })},
	{"store_waiting", "What has fired or was armed and is not stored yet. At 20000 nothing is compared until the store answers.", "", one(func(s *scrape) int64 { return s.Waiting })},
	{"store_failures_total", "Requests to the store that failed, and were made again.", "", one(func(s *scrape) uint64 { return s.StoreFailures })},
	{"history_failures_total", "Symbols that could not ask the history, each time.", "", one(func(s *scrape) uint64 { return s.HistoryFailures })},
	{"told_total", "Users' topics that were published.", "", one(func(s *scrape) uint64 { return s.Published })},
	{"tell_failures_total", "Times that they could not be published.", "", one(func(s *scrape) uint64 { return s.PublishFailures })},
	{"requests_total", "Requests over REST, by status.", "status", func(s *scrape, put func(float64, ...string)) {
		for status, n := range s.api.Counts() {
			put(float64(n), strconv.Itoa(status))
		}
	}},
	{"grpc_requests_total", "Requests over gRPC, by code.", "code", func(s *scrape, put func(float64, ...string)) {
		for code, n := range s.grpc.Counts() {
			put(float64(n), code)
		}
	}},
	{"admin_refused_total", "Requests to the admin port that were refused.", "reason", func(s *scrape, put func(float64, ...string)) {
		for why, n := range s.ops.Refused() {
			put(float64(n), why)
		}
	}},
	{"log_lines_dropped_total", "Lines of the log that were lost, as nobody read it.", "", one(func(*scrape) uint64 { return app.LinesDropped() })},
	{"panics_total", "Panics that cost an attempt, by the part of the program. Each one is a bug.", "part", func(_ *scrape, put func(float64, ...string)) {
		for p := range panics.Parts {
			put(float64(panics.Count(p)), p.String())
		}
	}},
}

// exporter is all metrics, for an admin port.
type exporter struct{ *program }

// Describe implements [prometheus.Collector]: what there is is found when it is collected.
func (exporter) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (e exporter) Collect(ch chan<- prometheus.Metric) {
	s := &scrape{program: e.program, Stats: e.watch.Stats()}
	for _, m := range metrics {
		desc, kind := prometheus.NewDesc("alerts_"+m.name, m.help, strings.Fields(m.label), nil), prometheus.GaugeValue
		if strings.HasSuffix(m.name, "_total") {
			kind = prometheus.CounterValue
		}
		m.read(s, func(v float64, labels ...string) { ch <- prometheus.MustNewConstMetric(desc, kind, v, labels...) })
	}
}
