// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is shown in result.txt and in report.md.
type table struct {
	head    []string
	formats []string // Of the numbers in each column.
	rows    [][]string
	right   bool   // In result.txt, columns end at one edge.
	note    string // Below it in report.md.
}

// newTable makes a table with these columns. Behind a colon may stand the format of the
// column's numbers: "p99 ms:%.0f".
func newTable(head ...string) *table {
	t := &table{}
	for _, text := range head {
		name, format, ok := strings.Cut(text, ":%")
		if format = "%" + format; !ok {
			format = "%v"
		}
		t.head, t.formats = append(t.head, name), append(t.formats, format)
	}
	return t
}

// number is told as a dash if there is none.
type number float64

// row adds a row. Texts are taken as they are, and what is not there is a dash. Cells
// that are missing at the end are empty.
func (t *table) row(cells ...any) {
	row := make([]string, len(t.head))
	for i, cell := range cells {
		switch c := cell.(type) {
		case string:
			row[i] = c
		case spread:
			row[i] = c.text(t.formats[i])
		case *spread:
			if row[i] = "-"; c != nil {
				row[i] = c.text(t.formats[i])
			}
		case number:
			if row[i] = "-"; c != 0 {
				row[i] = fmt.Sprintf(t.formats[i], float64(c))
			}
		default:
			row[i] = fmt.Sprintf(t.formats[i], c)
		}
	}
	t.rows = append(t.rows, row)
}

// line adds a row of a name and a text.
func (t *table) line(name, format string, args ...any) { t.row(name, fmt.Sprintf(format, args...)) }

// text is the table for people with a fixed font.
func (t *table) text() string {
	var b strings.Builder
	flags := uint(0)
	if t.right {
		flags = tabwriter.AlignRight
	}
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', flags)
	for _, cells := range slices.Insert(slices.Clone(t.rows), 0, t.head) {
		fmt.Fprintln(tw, strings.Join(cells, "\t")+"\t")
	}
	_ = tw.Flush() // A Builder takes everything.
	var trimmed strings.Builder
	for line := range strings.Lines(b.String()) {
		trimmed.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return trimmed.String()
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
	if t.note != "" {
		b.WriteString("\n" + t.note + "\n")
	}
	return b.String() + "\n"
}
