// SPDX-License-Identifier: Apache-2.0

// Package metricstest holds what is written about metrics to what the programs have: docs/METRICS.md, the rules of
// deploy/prometheus and the dashboard of deploy/grafana.
package metricstest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rewrite has the document made anew from the programs: go test ./internal/app/... -run Metrics -rewrite.
var rewrite = flag.Bool("rewrite", false, "make the tables of docs/METRICS.md anew from the metrics that there are")

// Metric is one that a program has, with its whole name.
type Metric struct{ Name, Help, Labels, Type string }

// New names a metric. It is a counter if its name ends in _total, as Prometheus has it.
func New(program, name, help, labels string) Metric {
	m := Metric{program + "_" + name, help, labels, "gauge"}
	if strings.HasSuffix(name, "_total") {
		m.Type = "counter"
	}
	return m
}

// Check holds all that is written about the metrics of a program to them.
func Check(t *testing.T, program string, all []Metric) {
	t.Helper()
	all = slices.CompactFunc(slices.Clone(all), func(a, b Metric) bool { return a == b })
	named := make(map[string]bool)
	for _, m := range all {
		if named[m.Name] || m.Help == "" {
			t.Errorf("%s is there twice with other words, or has no help", m.Name)
		}
		named[m.Name] = true
		if m.Type == "histogram" {
			named[m.Name+"_bucket"], named[m.Name+"_sum"], named[m.Name+"_count"] = true, true, true
		}
	}
	path := filepath.Join(root, "docs", "METRICS.md")
	is := read(t, path)
	want, problems := document(is, program, all)
	if *rewrite && want != is {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != is {
		t.Errorf("docs/METRICS.md is not what %s has: go test ./internal/app/... -run Metrics -rewrite", program)
	}
	for _, p := range problems {
		t.Error(p)
	}
	checkUses(t, program, named)
}

// root is the source tree, as seen from a package in internal/app.
var root = filepath.Join("..", "..", "..")

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var tableRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)[`{].*\\| (.*?) ?\\|$")

// document makes the table of a program anew, in its section. What to do is written by hand, and stays.
func document(text, program string, all []Metric) (string, []string) {
	heading := "\n## " + program + "\n"
	before, section, found := strings.Cut(text, heading)
	if !found {
		return text, []string{"docs/METRICS.md has no section " + program}
	}
	section, after, _ := strings.Cut(section, "\n## ")
	if after != "" {
		after = "\n## " + after
	}
	intro, _, _ := strings.Cut(section, "\n| ")
	advice := make(map[string]string)
	for _, m := range tableRow.FindAllStringSubmatch(section, -1) {
		advice[m[1]] = m[2]
	}
	var problems []string
	b := &strings.Builder{}
	b.WriteString(before + heading + strings.TrimRight(intro, "\n") +
		"\n\n| metric | type | meaning | what to do |\n| --- | --- | --- | --- |\n")
	for _, m := range all {
		labels := ""
		if m.Labels != "" {
			labels = "{" + strings.Join(strings.Fields(m.Labels), ",") + "}"
		}
		if advice[m.Name] == "" {
			problems = append(problems, fmt.Sprintf("docs/METRICS.md does not say what to do when %s rises: write it into the last column", m.Name))
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", m.Name, labels, m.Type, strings.ReplaceAll(m.Help, "|", `\|`), advice[m.Name])
	}
	return b.String() + after, problems
}
