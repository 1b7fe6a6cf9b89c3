// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// section is a part of a document, by its heading.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/%s has no section %q", file, heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	return part
}

// row is the line of a table that begins with a text.
func row(t *testing.T, text, begins string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| "+begins) {
			return line
		}
	}
	t.Fatalf("no row begins with %q", begins)
	return ""
}

// The handbook has the numbers that are counted, and those have the documents behind them.
func TestCostsAreInTheHandbook(t *testing.T) {
	capacity := section(t, "OPERATIONS.md", "Capacity")
	for begins, costs := range map[string][]any{
		"a frame without rows |":         {FrameCost},
		"a row |":                        {time.Duration(rowCost)},
		"a tick of 1,000 topics":         {time.Duration(tickFew)},
		"a tick of 100,000 topics":       {time.Duration(tickMany)},
		"an edge by itself":              {fmt.Sprint(baseCores, " cores")},
		"an edge without clients":        {fmt.Sprint(processMemory, " B")},
		"a client without topics":        {fmt.Sprintf("%d B, %v B", connMemory, connTopicMemory)},
		"a topic; a tick":                {fmt.Sprintf("%d B, %d B", topicMemory, tickMemory)},
		"a client that comes back":       {time.Duration(comebackCost)},
		"a frame through HAProxy":        {fmt.Sprintf("%v, %v", time.Duration(proxyFrame), time.Duration(proxyOpen))},
		"memory of HAProxy":              {fmt.Sprint(proxyMemory, " B")},
		"a value published into Redis (": {fmt.Sprintf("%v, %v", time.Duration(redisPublish), time.Duration(redisOut))},
	} {
		cell := strings.TrimSpace(strings.Split(row(t, capacity, begins), "|")[2])
		if want := fmt.Sprint(costs[0]); cell != want {
			t.Errorf("%s the handbook has %q, and %q is counted", begins, cell, want)
		}
	}
	for _, of := range []struct{ file, heading, want string }{
		{"BUDGET.md", "The feed", fmt.Sprintf("was %.2f µs and", float64(tickMany)/1000)},
		{"BUDGET.md", "Memory per connection", fmt.Sprintf("%d with a row of 100 bytes", topicMemory)},
		{"BUDGET.md", "One process", fmt.Sprintf("takes %.1f µs for such a look", float64(visitCost)/1000)},
		{"BUDGET.md", "Goals", fmt.Sprintf("%d,000 messages a second", feedMost/1000)},
		{"OPERATIONS.md", "Capacity", fmt.Sprintf("%d,000 ticks a\nsecond for one edge", feedMost/1000)},
	} {
		if !strings.Contains(section(t, of.file, of.heading), of.want) {
			t.Errorf("docs/%s, %q, does not say %q", of.file, of.heading, of.want)
		}
	}
}

// The example of the handbook is what is planned.
func TestExampleIsAPlan(t *testing.T) {
	plan, err := os.ReadFile("testdata/million.txt")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(plan), "\nHow it follows")
	want := "    " + strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(head), "\n", "\n    "), "\n    \n", "\n\n")
	if !strings.Contains(section(t, "OPERATIONS.md", "Capacity"), want) {
		t.Errorf("docs/OPERATIONS.md does not have:\n%s", want)
	}
}

// What the handbook says was planned is what is planned, and nothing that was measured is more than a fifth off.
func TestPlansBesideMeasurements(t *testing.T) {
	run := regexp.MustCompile(`(?m)^\| ([\d,]+) \| (\d) \| (\d+) of ([\d,]+) \| ([\d,]+) \| (\d+) ms, (ws|sse) \|(.*)\|$`)
	found := run.FindAllStringSubmatch(section(t, "OPERATIONS.md", "Capacity"), -1)
	if len(found) < 6 {
		t.Fatalf("only %d runs", len(found))
	}
	for _, m := range found {
		n := func(text string) float64 {
			f, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		l := Load{Clients: int64(n(m[1])), Edges: int(n(m[2])), Topics: int(n(m[3])), Symbols: int(n(m[4])), TickRate: n(m[5]) / n(m[4]),
			RowBytes: 107,
			Window:   time.Duration(n(m[6])) * time.Millisecond, Transport: Transport(m[7]), Cores: 8, FrameCost: FrameCost}
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		p := Make(l)
		cells := strings.Split(m[8], "|")
		for i, of := range []struct {
			what     string
			is, unit float64 // The unit is of the last digit that is written.
		}{
			{"frames", p.Traffic.Frames, 1}, {"rows", p.Traffic.Rows, 0.01}, {"cores", p.Edges.All, 0.001},
			{"RSS", float64(p.Edges.Memory) * n(m[2]) / 1e6, 0.1}, {"payload", p.Traffic.Payload * 8 / 1e6, 1},
		} {
			measured, planned, ok := strings.Cut(cells[i], ";")
			if !ok || math.Abs(n(planned)-of.is) > 0.51*of.unit {
				t.Errorf("%s: %s is planned as %v, and the handbook has %q", m[0], of.what, of.is, cells[i])
			}
			if off := n(planned)/n(measured) - 1; math.Abs(off) > 0.2 {
				t.Errorf("%s: %s is %.0f %% off", m[0], of.what, 100*off)
			}
		}
	}
}
