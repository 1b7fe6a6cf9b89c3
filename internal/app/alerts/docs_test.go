// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"tickedge/internal/metricstest"
)

// Every flag that the document names is there.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ALERTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`-([a-z][a-z-]*)[` =]").FindAllStringSubmatch(string(text), -1)
	if len(named) < 8 {
		t.Fatalf("only %d flags are named", len(named))
	}
	fs := newConfig().flags
	for _, m := range named {
		if !slices.Contains([]string{"chaos", "check"}, m[1]) && fs.Lookup(m[1]) == nil {
			t.Errorf("docs/ALERTS.md: there is no flag -%s", m[1])
		}
	}
}

// What is written about the metrics of alerts is about those that there are.
func TestMetricsAndDocs(t *testing.T) {
	var all []metricstest.Metric
	for _, m := range metrics {
		all = append(all, metricstest.New("alerts", m.name, m.help, m.label))
	}
	metricstest.Check(t, "alerts", all)
}
