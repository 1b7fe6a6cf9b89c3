package edge

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A metric that is not in use has no line in /metrics, so the names are read from the
// place where they are declared.
func TestDocsNameEveryMetric(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bdesc\("(\w+)"`).FindAllSubmatch(source, -1)
	if len(names) < 30 {
		t.Errorf("only %d metrics were found", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`\bedge_` + string(name[1]) + `\b`).Match(text) {
			t.Errorf("edge_%s is not in docs/OPERATIONS.md", name[1])
		}
	}
}
