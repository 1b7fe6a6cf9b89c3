// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"tickedge/internal/fanout"
	"tickedge/internal/loop"
)

func TestDocsNameEveryMetric(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	help := make(map[string]string)
	for _, m := range allMetrics {
		if !regexp.MustCompile(`\bedge_` + m.name + `\b`).Match(docs) {
			t.Errorf("edge_%s is not in docs/OPERATIONS.md", m.name)
		}
		if said, again := help[m.name]; m.help == "" || again && said != m.help {
			t.Errorf("edge_%s has no help, or two", m.name)
		}
		help[m.name] = m.help
	}
	if len(help) < 55 {
		t.Errorf("only %d metrics were found", len(help))
	}
}

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
