// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
)

// The examples of docs/ALERTS.md are answered as it says: below each curl stands what it prints. AAPL trades behind the first block.
func TestExamplesOfDocs(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "..", "docs", "ALERTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	const at = 1795850962509
	s := newSite(t, func(c *alertapi.Config) {
		c.Now = func() int64 { return at }
		c.Price = func(symbol string) (alert.Num, int64, bool) { return num(t, "150.25"), at - 5, symbol == "AAPL" }
	})
	command := regexp.MustCompile(`^(?:-X ([A-Z]+) )?'?localhost:8085(/[^ ']*)'?((?: -H '[^']+')*)(?: -d '([^']+)')?$`)
	ran := 0
	for i, block := range regexp.MustCompile("(?s)```\n(.*?)```").FindAllStringSubmatch(string(file), -1) {
		if i == 1 {
			s.store.fire(1, num(t, "150.25"), at)
		}
		for _, call := range regexp.MustCompile(`(?m)^curl `).Split(block[1], -1)[1:] {
			asked, want, _ := strings.Cut(strings.ReplaceAll(call, " \\\n ", ""), "\n")
			part := command.FindStringSubmatch(asked)
			if part == nil {
				t.Fatalf("%s is no call that is understood here", asked)
			}
			method := part[1]
			if method == "" {
				method = "GET"
			}
			var header []string
			for _, h := range regexp.MustCompile(`'([^']+)'`).FindAllStringSubmatch(part[3], -1) {
				header = append(header, h[1])
			}
			want = strings.TrimSuffix(strings.ReplaceAll(want, "\n ", ""), "\n")
			if got := text(t, s.ask(method, part[2], part[4], header...)); got != want {
				t.Errorf("%s prints\n%s\nwant %s", asked, got, want)
			}
			ran++
		}
	}
	if ran != 8 {
		t.Errorf("%d calls", ran)
	}
}
