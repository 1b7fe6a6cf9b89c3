// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
)

// outcome is the result of a mode. Its fields are what result.json has.
type outcome interface {
	headline() string  // What was measured, and what comes first.
	tables() []*table  // The rest.
	report(r *report)  // Adds the goals and the pictures.
	ends() *conclusion // Whether it is good.
}

// conclusion is what the result of every mode ends with.
type conclusion struct {
	Good     bool     `json:"good"`
	Behind   []string `json:"behind,omitempty"`   // Signs that bench itself was the bottleneck.
	Problems []string `json:"problems,omitempty"` // Why it is not good.

	notes []string // Lines of result.txt behind the tables.
}

func (c *conclusion) ends() *conclusion { return c }

func (c *conclusion) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// count adds a problem if there is any.
func (c *conclusion) count(n int64, what string) {
	if n != 0 {
		c.problem("%d %s", n, what)
	}
}

// take adds what a part of the run has to tell, with the name of the part before it.
func (c *conclusion) take(part string, problems, behind []string) {
	for _, text := range problems {
		c.problem("%s: %s", part, text)
	}
	for _, text := range behind {
		c.Behind = append(c.Behind, part+": "+text)
	}
}

// conclude is called when all problems are known.
func (c *conclusion) conclude() { c.Good = len(c.Problems) == 0 }

// writeText writes an outcome for people.
func writeText(w io.Writer, res outcome) error {
	if own, ok := res.(interface{ text() string }); ok {
		_, err := io.WriteString(w, own.text())
		return err
	}
	var b strings.Builder
	b.WriteString(res.headline() + "\n")
	for _, t := range res.tables() {
		b.WriteString(t.text())
	}
	c := res.ends()
	for _, line := range c.notes {
		b.WriteString(line + "\n")
	}
	for _, sign := range c.Behind {
		b.WriteString("BEHIND: " + sign + "\n")
	}
	b.WriteString(c.verdict())
	_, err := io.WriteString(w, b.String())
	return err
}

// verdict is the last line of a result.
func (c *conclusion) verdict() string {
	if len(c.Problems) > 0 {
		return "result: NOT GOOD: " + strings.Join(c.Problems, "; ") + "\n"
	}
	return "result: good\n"
}
