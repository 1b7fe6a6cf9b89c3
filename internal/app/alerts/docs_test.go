// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// Every flag that the document names is there, and every metric is in the document.
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
	has := make(map[string]bool)
	for _, m := range regexp.MustCompile("`alerts_([a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		has[m[1]] = true
	}
	for _, m := range metrics {
		if !has[m.name] {
			t.Errorf("docs/ALERTS.md: the metric alerts_%s is not there", m.name)
		}
		delete(has, m.name)
	}
	for name := range has {
		t.Errorf("docs/ALERTS.md: there is no metric alerts_%s", name)
	}
}
