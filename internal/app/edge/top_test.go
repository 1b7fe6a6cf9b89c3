// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"tickedge/internal/auth"
	"tickedge/internal/topics"
)

// topCollector has the one metric.
type topCollector struct{ *edge }

func (c topCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c topCollector) Collect(ch chan<- prometheus.Metric) {
	topTopics(&scrape{edge: c.edge}, sink{prometheus.NewDesc("top", "Top.", []string{"topic"}, nil), prometheus.GaugeValue, ch})
}

// topSeries are the series that there are of topics that have ticked, by their topics.
func topSeries(t *testing.T, private string, names []string) map[string]float64 {
	t.Helper()
	e := &edge{cfg: new(Config), table: topics.New(topics.Config{Max: 10_000, Window: time.Second})}
	var err error
	if e.cfg.loop.Private, err = auth.ParsePrivate(private); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if _, err := e.table.Acquire([]byte(name), 0); err != nil {
			t.Fatal(err)
		}
		e.table.Publish(name, strings.Repeat("1", 10+i), topics.Meta{At: 1})
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(topCollector{e})
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	series := make(map[string]float64)
	for _, m := range families[0].GetMetric() {
		name := m.GetLabel()[0].GetValue()
		if series[name] != 0 || m.GetGauge().GetValue() <= 0 || !utf8.ValidString(name) || len(name) > topics.NameMax {
			t.Errorf("%q: %v, and %v before", name, m.GetGauge().GetValue(), series[name])
		}
		series[name] = m.GetGauge().GetValue()
	}
	return series
}

// However many topics there are, and whatever they are called, 20 of them have series: those that cost most.
func TestTopTopicsOfMetrics(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("币安%d%s", i, strings.Repeat("<&=;'`", 7)))
	}
	series := topSeries(t, auth.DefaultPrivate, names)
	if len(series) != 20 {
		t.Errorf("%d series, want 20", len(series))
	}
	for _, name := range names[len(names)-20:] {
		if series[name] == 0 {
			t.Errorf("%s has none", name)
		}
	}
	if series := topSeries(t, "", names[:3]); len(series) != 3 {
		t.Errorf("%d series of 3 topics", len(series))
	}
}

// Names of users are in no series, whatever is private, and neither are those that the edges have among themselves. Names that
// only look alike are.
func TestTopTopicsOfMetricsArePublic(t *testing.T) {
	t.Parallel()
	kept := []string{"alert", "Alerts:ann", "my:alerts:ann", "orders", "tickedge"}
	for _, private := range []string{"", "alerts:", "orders:,alerts:", "orders:"} {
		hashed := auth.PrivateName("alerts:", strings.Repeat("ü", 200))
		names := append([]string{"alerts:ann", "alerts:", topics.Reserved + "control", hashed}, kept...)
		want := len(kept)
		if names = append(names, "orders:ann"); !strings.Contains(private, "orders:") {
			want++
		}
		series := topSeries(t, private, names)
		for _, name := range kept {
			if series[name] == 0 {
				t.Errorf("-private %q: %s has no series", private, name)
			}
		}
		if len(series) != want || want == len(kept)+1 && series["orders:ann"] == 0 {
			t.Errorf("-private %q: %v, want %d series", private, series, want)
		}
	}
}
