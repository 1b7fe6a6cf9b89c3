// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// elsewhere are flags of other programs, and of the command restore, that the document names.
var elsewhere = map[string]bool{"over": true, "page": true, "page-history": true, "source": true, "tick-version-field": true}

// The document names each metric, and no flag that there is not.
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
	for _, m := range metrics {
		if !regexp.MustCompile("`(marketdata_)?" + m.name + "`").Match(text) {
			t.Errorf("the metric %s is not in the document", m.name)
		}
	}
	names := make(map[string]bool)
	for _, m := range metrics {
		names[m.name] = true
	}
	for _, m := range regexp.MustCompile("`marketdata_([a-z_]+)`").FindAllSubmatch(text, -1) {
		if !names[string(m[1])] {
			t.Errorf("there is no metric marketdata_%s", m[1])
		}
	}
}
