// SPDX-License-Identifier: Apache-2.0

package metricstest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// checkUses holds rules and the dashboard to the metrics of a program.
func checkUses(t *testing.T, program string, named map[string]bool) {
	t.Helper()
	queries := Panels(t)
	for _, r := range Rules(t) {
		queries[r.Name] = r.Expr
	}
	for _, name := range []string{"RUNBOOKS.md", "METRICS.md"} {
		for _, m := range regexp.MustCompile("`("+program+"_[a-z0-9_]+)").FindAllStringSubmatch(read(t, filepath.Join(root, "docs", name)), -1) {
			queries["docs/"+name] += m[1] + "\n"
		}
	}
	uses := 0
	for where, query := range queries {
		for _, name := range names(query, program) {
			if uses++; !named[name] {
				t.Errorf("%s asks for %s, which %s does not have", where, name, program)
			}
		}
	}
	if uses < 5 {
		t.Errorf("%d uses of metrics of %s were found in deploy, want some", uses, program)
	}
}

var quoted = regexp.MustCompile(`"[^"]*"`)

// names are the metrics of a program in a query. Those that a pattern of names stands for are among them.
func names(query, program string) (all []string) {
	if m := regexp.MustCompile(`__name__=~"\(([a-z|]+)\)(_[a-z_]+)"`).FindStringSubmatch(query); m != nil {
		for of := range strings.SplitSeq(m[1], "|") {
			if of == program {
				all = append(all, of+m[2])
			}
		}
	}
	return append(all, regexp.MustCompile(`\b`+program+`_[a-z0-9_]+`).FindAllString(quoted.ReplaceAllString(query, ""), -1)...)
}

// Rule is an alert of deploy/prometheus.
type Rule struct{ Name, Expr, Severity, Summary, Runbook string }

// Rules reads the alerts. The file is one of ours, so lines are enough to go by.
func Rules(t *testing.T) (all []Rule) {
	t.Helper()
	text := read(t, filepath.Join(root, "deploy", "prometheus", "alerts.yml"))
	for _, part := range strings.Split(text, "- alert: ")[1:] {
		name, _, _ := strings.Cut(part, "\n")
		field := func(pattern string) string {
			m := regexp.MustCompile(pattern).FindStringSubmatch(part)
			if m == nil {
				t.Errorf("%s has no %s", name, pattern)
				return ""
			}
			return strings.Join(strings.Fields(m[1]), " ")
		}
		all = append(all, Rule{name, field(`(?s)\n +expr: (?:>-)?(.*?)\n +(?:for|labels):`), field(`labels: \{severity: (\w+)\}`),
			field(`\n +summary: (.+)`), field(`\n +runbook_url: (\S+)`)})
	}
	if len(all) < 20 {
		t.Fatalf("only %d alerts were found", len(all))
	}
	return all
}

// Panels are the queries of the dashboard, by the titles of their panels.
func Panels(t *testing.T) map[string]string {
	t.Helper()
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "deploy", "grafana", "dashboard.json"))), &board); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all[p.Title] += target.Expr + "\n"
		}
		if p.Type != "row" && all[p.Title] == "" {
			t.Errorf("the panel %q asks for nothing", p.Title)
		}
	}
	return all
}

// CheckRules holds every alert to what it needs: a test that makes it fire, a runbook, and what users feel of it.
func CheckRules(t *testing.T) {
	t.Helper()
	runbooks := read(t, filepath.Join(root, "docs", "RUNBOOKS.md"))
	tests := read(t, filepath.Join(root, "deploy", "prometheus", "alerts_test.yml"))
	var seen []string
	for _, r := range Rules(t) {
		seen = append(seen, r.Name)
		if r.Severity != "critical" && r.Severity != "warning" {
			t.Errorf("%s is %q, want critical or warning", r.Name, r.Severity)
		}
		if want := "docs/RUNBOOKS.md#" + strings.ToLower(r.Name); r.Runbook != want {
			t.Errorf("%s has the runbook %s, want %s", r.Name, r.Runbook, want)
		}
		_, book, found := strings.Cut(runbooks, "\n## "+r.Name+"\n")
		book, _, _ = strings.Cut(book, "\n## ")
		if !found || !strings.Contains(book, r.Severity) || !strings.Contains(book, "\n**Look at**") || !strings.Contains(book, "\n**Do**") {
			t.Errorf("docs/RUNBOOKS.md does not say of %s that it is %s, what to look at and what to do", r.Name, r.Severity)
		}
		_, test, _ := strings.Cut(tests, "\n  - name: "+r.Name+"\n")
		test, _, _ = strings.Cut(test, "\n  - name: ")
		if !strings.Contains(test, "exp_samples: []") || !strings.Contains(test, `alertname="`+r.Name+`"`) {
			t.Errorf("deploy/prometheus/alerts_test.yml has no test that %s is silent and fires", r.Name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(runbooks, -1) {
		if !slices.Contains(seen, m[1]) {
			t.Errorf("docs/RUNBOOKS.md has %s, and there is no such alert", m[1])
		}
	}
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Join(root, "deploy", "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v (make deps installs it)\n%s", strings.Join(args, " "), err, out)
		}
	}
}
