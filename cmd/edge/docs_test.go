// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// Every source says under which license it is, in the form that tools read (https://spdx.dev).
func TestSourcesSayTheirLicense(t *testing.T) {
	t.Parallel()
	const line = "// SPDX-License-Identifier: Apache-2.0\n\n"
	seen := 0
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if seen++; err == nil && !strings.HasPrefix(string(text), line) {
			t.Errorf("%s does not begin with %q", path, line)
		}
		return err
	})
	if err != nil || seen < 400 {
		t.Errorf("%d sources were looked at: %v", seen, err)
	}
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
