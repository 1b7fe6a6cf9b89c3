// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"slices"
	"testing"

	"tickedge/internal/fanout"
	"tickedge/internal/loop"
	"tickedge/internal/metricstest"
)

// What is written about the metrics of the edge is about those that there are.
func TestMetricsAndDocs(t *testing.T) {
	var all []metricstest.Metric
	for _, m := range allMetrics {
		of := metricstest.New("edge", m.name, m.help, m.label)
		if slices.ContainsFunc(histograms, func(h metric) bool { return h.name == m.name }) {
			of.Type = "histogram"
		}
		all = append(all, of)
	}
	if len(all) < 90 {
		t.Errorf("only %d metrics were found", len(all))
	}
	metricstest.Check(t, "edge", all)
}

// Every alert has a runbook and a test, and promtool takes the rules.
func TestMetricsHaveRules(t *testing.T) { metricstest.CheckRules(t) }

// Every counter is shown, but for those that only tests look at.
func TestMetricsShowEveryCounter(t *testing.T) {
	for c, m := range fanout.Metrics {
		if m.Name == "" && fanout.Counter(c) != fanout.Visits {
			t.Errorf("counter %d of shards has no name", c)
		}
	}
	for c, m := range loop.Metrics {
		if m.Name == "" && loop.Counter(c) != loop.Panics {
			t.Errorf("counter %d of loops has no name", c)
		}
	}
}
