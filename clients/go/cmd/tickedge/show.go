// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	tickedge "tickedge/clients/go"
)

// line is a JSON line.
type line struct {
	Topic     string          `json:"topic"`
	State     tickedge.State  `json:"state"`
	Value     json.RawMessage `json:"value"`
	N         uint64          `json:"n"`
	Conflated uint64          `json:"conflated"`
	TS        int64           `json:"ts,omitempty"`
	Code      int             `json:"code,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Rank      int             `json:"rank,omitempty"` // In a screen that has one, from 1.
}

// writeJSON writes an update as a line. The value is as it was published, without blanks.
func writeJSON(w io.Writer, u tickedge.Update) error {
	l := line{Topic: u.Topic, State: u.State, Value: u.Value, N: u.N, Conflated: u.Conflated, Code: u.Code, Reason: u.Reason}
	if !u.At.IsZero() {
		l.TS = u.At.UnixMilli()
	}
	return writeLine(w, l)
}

func writeLine(w io.Writer, l line) error {
	if l.Value == nil {
		l.Value = json.RawMessage("null")
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(l); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// table is what watch shows of its symbols.
type table struct {
	order []string
	rows  map[string]tickedge.Update
	drawn int // Lines above the cursor that are its own.
}

func newTable(symbols []string) *table {
	return &table{order: symbols, rows: make(map[string]tickedge.Update)}
}

// text returns the table, cut to a width in columns and a height in lines.
func (t *table) text(width, height int) (lines []string) {
	symbol := len("SYMBOL")
	for _, name := range t.order {
		symbol = max(symbol, cells(clean(name)))
	}
	symbol = min(symbol, max(width/3, 6))
	row := func(name, state, value string) {
		lines = append(lines, cut(pad(cut(name, symbol), symbol)+"  "+pad(state, 12)+"  "+value, width))
	}
	row("SYMBOL", "STATE", "VALUE")
	for i, name := range t.order {
		if left := len(t.order) - i; len(lines) >= height-2 && left > 1 {
			lines = append(lines, cut(fmt.Sprintf("… and %d more: make the window higher, or ask for less", left), width))
			break
		}
		u, known := t.rows[name]
		if !known {
			u.State = tickedge.Waiting
		}
		value := string(u.Value)
		if u.Reason != "" {
			value = strings.TrimSpace(fmt.Sprintf("%s (%s)", value, reason(u)))
		}
		row(clean(name), string(u.State), clean(value))
	}
	return lines
}

// draw writes the table over the one before it.
func (t *table) draw(w io.Writer, width, height int) error {
	lines := t.text(width, height)
	var b bytes.Buffer
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	b.WriteString("\r\x1b[J")
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	t.drawn = len(lines)
	_, err := w.Write(b.Bytes())
	return err
}

// reason says in short why a topic is not live.
func reason(u tickedge.Update) string {
	if u.Code == 0 {
		return u.Reason
	}
	return fmt.Sprintf("%d %s", u.Code, u.Reason)
}

// clean leaves nothing that a terminal could take for a command.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, text)
}

// cut shortens a text to so many columns.
func cut(text string, width int) string {
	if cells(text) <= width {
		return text
	}
	at := 0
	for i, r := range text {
		if at += cellsOf(r); at > width-1 {
			return text[:i] + "…"
		}
	}
	return text
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-cells(text)))
}

// cells returns how many columns a text has on a terminal.
func cells(text string) (n int) {
	for _, r := range text {
		n += cellsOf(r)
	}
	return n
}

func cellsOf(r rune) int {
	switch {
	case unicode.Is(unicode.M, r):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r < 0x3040, r >= 0xff00 && r <= 0xff60, r >= 0x1f300 && r < 0x1fb00:
		return 2
	}
	return 1
}
