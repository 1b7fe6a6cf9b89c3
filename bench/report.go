//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

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
	lab   *lab.Lab
	body  strings.Builder
	goals []goal
	errs  []error // Of writing pictures.
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
	if !res.good() {
		b.WriteString("**This run was not good**: see the last line of [result.txt](result.txt).\n\n")
	}
	if len(r.goals) > 0 {
		b.WriteString(goalTable(r.goals).markdown())
	}
	b.WriteString(r.body.String())
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

// text adds a paragraph.
func (r *report) text(format string, args ...any) {
	fmt.Fprintf(&r.body, format+"\n\n", args...)
}

// table adds a table.
func (r *report) table(t *table) { r.body.WriteString(t.markdown()) }

// behind tells of each sign that bench itself was the bottleneck.
func (r *report) behind(signs []string) {
	for _, text := range signs {
		r.text("BEHIND: %s", text)
	}
}

// picture adds a picture in a file of its own, with alt for those who do not see it.
func (r *report) picture(name, alt string, of interface{ SVG() []byte }) {
	r.errs = append(r.errs, r.lab.WriteFile(name+".svg", of.SVG()))
	fmt.Fprintf(&r.body, "![%s](%s.svg)\n\n", alt, name)
}

// table is shown in result.txt and in report.md.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

// row adds a row. Cells that are missing at its end are empty.
func (t *table) row(cells ...string) {
	t.rows = append(t.rows, append(cells, make([]string, len(t.head)-len(cells))...))
}

// writeText writes columns for people with a fixed font. flags are those of package
// tabwriter.
func (t *table) writeText(w io.Writer, flags uint) error {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', flags)
	for _, cells := range slices.Insert(slices.Clone(t.rows), 0, t.head) {
		fmt.Fprintln(tw, strings.Join(cells, "\t")+"\t")
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// markdown is the table in Markdown. No cell may hold a |. Columns of numbers are
// aligned to the right.
func (t *table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	marks := make([]string, len(t.head))
	for i := range t.head {
		marks[i] = "--:"
		for _, cells := range t.rows {
			if cells[i] != "" && strings.IndexAny(cells[i], "-0123456789") != 0 {
				marks[i] = "---"
			}
		}
	}
	line(t.head)
	line(marks)
	for _, cells := range t.rows {
		line(cells)
	}
	return b.String() + "\n"
}
