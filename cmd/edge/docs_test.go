package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// operations names everything that operators can see and set.
func operations(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocsNameEveryFlag(t *testing.T) {
	t.Parallel()
	code, help, _ := runEdge(t, nil, "-h")
	if code != 0 {
		t.Errorf("code %d", code)
	}
	docs := operations(t)
	names := regexp.MustCompile(`(?m)^  -([a-z-]+) `).FindAllStringSubmatch(help, -1)
	if len(names) < 40 {
		t.Errorf("only %d flags were found", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile(`[^\w-]-` + name[1] + `[^\w-]`).MatchString(docs) {
			t.Errorf("-%s is not in docs/OPERATIONS.md", name[1])
		}
	}
}
