// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"tickedge/bench/internal/chart"
	"tickedge/bench/internal/lab"
)

// Files of a run's directory, beside the pictures.
const (
	reportFile = "report.md"
	goalsFile  = "goals.json" // What bench all gathers from its parts.
)

// runHeading is above what a report tells of the machine.
const runHeading = "## The run\n\n"

// report is report.md of a run in the making. Owned by one goroutine.
type report struct {
	*labConfig
	lab      *lab.Lab
	pictures strings.Builder
	goals    []goal
	errs     []error // Of writing pictures.
}

// writeReport writes report.md, its pictures and goals.json into a run's directory.
func writeReport(c *labConfig, l *lab.Lab, res outcome) error {
	facts, err := lab.Facts(l.Dir)
	if err != nil {
		return err
	}
	r := &report{labConfig: c, lab: l}
	res.report(r)
	var b strings.Builder
	fmt.Fprintf(&b, "# bench %s\n\n    %s\n\n", c.mode, c.command)
	if !res.ends().Good {
		b.WriteString("**This run was not good**: see the last line of [result.txt](result.txt).\n\n")
	}
	if len(r.goals) > 0 {
		b.WriteString(goalTable(r.goals).markdown())
	}
	b.WriteString(res.headline() + "\n\n" + r.pictures.String())
	for _, t := range res.tables() {
		b.WriteString(t.markdown())
	}
	for _, sign := range res.ends().Behind {
		b.WriteString("BEHIND: " + sign + "\n\n")
	}
	b.WriteString(runHeading)
	b.WriteString(factTable(facts).markdown())
	b.WriteString("Numbers: [result.txt](result.txt), [result.json](result.json). All processes and their flags: [manifest.json](manifest.json).\n")
	var goals strings.Builder
	return errors.Join(append(r.errs, writeJSON(&goals, r.goals),
		l.WriteFile(goalsFile, []byte(goals.String())), l.WriteFile(reportFile, []byte(b.String())))...)
}

func factTable(facts [][2]string) *table {
	t := newTable("", "")
	for _, f := range facts {
		t.row(f[0], f[1])
	}
	return t
}

// picture adds a picture in a file of its own, with alt for those who do not see it.
func (r *report) picture(name, alt string, of interface{ SVG() []byte }) {
	r.errs = append(r.errs, r.lab.WriteFile(name+".svg", of.SVG()))
	fmt.Fprintf(&r.pictures, "![%s](%s.svg)\n\n", alt, name)
}

// one is the only series of a picture.
var one = []chart.Series{{Colour: chart.Blue}}

// bar shows a spread, and note behind its median.
// The median is told as exactly as step.
func bar(s spread, step float64, note string) chart.Bar {
	return chart.Bar{Value: s.Median, Min: s.Min, Max: s.Max, Label: chart.Number(s.Median, step) + note}
}

// times is the note of a ratio of one server to another, empty if there is none.
func times(s *spread, server, to string) string {
	if s == nil || server == to {
		return ""
	}
	return fmt.Sprintf(" (%.2f × %s)", s.Median, to)
}

// serverRow is a row of a picture that tells the edge from the others.
func serverRow(server, name string, bars ...chart.Bar) chart.Row {
	return chart.Row{Name: name, Muted: server != edgeName, Bars: bars}
}

// overRounds explains bars of spreads.
func overRounds(what string, rounds int) string {
	if rounds == 1 {
		return what
	}
	return fmt.Sprintf("%s; median, least and most of %d rounds", what, rounds)
}

// lineOf is a line of a picture, with a point for each of values.
func lineOf[T any](s chart.Series, values []T, x, y func(v *T) float64) chart.Line {
	l := chart.Line{Series: s}
	for i := range values {
		l.Points = append(l.Points, chart.Point{X: x(&values[i]), Y: y(&values[i])})
	}
	return l
}

// heldChart compares the staleness that the same conns see in two states.
func heldChart(title string, names [2]string, of [2]staleness) chart.Bars {
	c := chart.Bars{Title: title, Axis: "ms from the tick to the client", Series: []chart.Series{{Name: names[0], Colour: chart.Grey}, {Name: names[1], Colour: chart.Blue}}}
	for q, name := range []string{"p50", "p99", "p99.9", "max"} {
		row := chart.Row{Name: name}
		for _, s := range of {
			v := [...]float64{s.P50, s.P99, s.P999, s.Max}[q]
			row.Bars = append(row.Bars, chart.Bar{Value: v, Label: chart.Number(v, 1)})
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}
