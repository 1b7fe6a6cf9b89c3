// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"tickedge/internal/metricstest"
)

// elsewhere are flags of other programs, and of the command restore, that the document names.
var elsewhere = map[string]bool{"over": true, "page": true, "page-history": true, "source": true, "tick-version-field": true}

// The document names no flag that there is not.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "MARKETDATA.md"))
	if err != nil {
		t.Fatal(err)
	}
	flags, named := newConfig().flags, 0
	for _, m := range regexp.MustCompile("`-([a-z][a-z0-9-]*)[` =]").FindAllSubmatch(text, -1) {
		if named++; flags.Lookup(string(m[1])) == nil && !elsewhere[string(m[1])] && string(m[1]) != "bench" && string(m[1]) != "run" {
			t.Errorf("there is no flag -%s", m[1])
		}
	}
	if named < 10 {
		t.Errorf("only %d flags were looked at", named)
	}
}

// What is written about the metrics of marketdata is about those that there are.
func TestMetricsAndDocs(t *testing.T) {
	var all []metricstest.Metric
	for _, m := range metrics {
		all = append(all, metricstest.New("marketdata", m.name, m.help, m.label))
	}
	metricstest.Check(t, "marketdata", all)
}
