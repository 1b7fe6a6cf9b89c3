// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	tickedge "tickedge/clients/go"
)

// screened is a screen as it is shown.
type screened struct {
	c              config
	stdout, stderr io.Writer
	show           *table // nil where lines are printed.
	order          []string
	ranked         bool
	rows           map[string]tickedge.ScreenRow
	state          tickedge.State
	full           bool // All that is inside has come once.
}

// screen shows what is inside of a screen until it is told to end.
func screen(parent context.Context, c config, stdout, stderr io.Writer) int {
	ctx, stop := parent, func() {}
	if c.timeout > 0 {
		ctx, stop = context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	}
	defer stop()
	client := c.client()
	defer client.Close()
	s, err := client.Screen(ctx, tickedge.ScreenConfig{Topics: c.symbols, Where: c.where, Top: c.top, By: c.by})
	if err != nil {
		return unbegun(parent, stderr, err)
	}
	v := screened{c: c, stdout: stdout, stderr: stderr, rows: make(map[string]tickedge.ScreenRow)}
	if _, _, terminal := size(stdout); terminal && !c.json {
		v.show = newTable(nil)
	}
	for err == nil {
		var u tickedge.ScreenUpdate
		if u, err = s.Next(ctx); err == nil {
			err = v.take(u)
		}
	}
	var refused *tickedge.ScreenError
	switch {
	case errors.As(err, &refused):
		fail(stderr, errors.New(refused.Reason))
		if at := refused.At; refused.Code == 400 && strings.HasPrefix(refused.Reason, "where") && at >= 0 && at <= len(c.where) {
			fmt.Fprintf(stderr, "  %s\n  %s^\n", clean(c.where), strings.Repeat(" ", cells(clean(c.where[:at]))))
		}
		if refused.Code == 400 {
			return exitUsage
		}
		return exitMissing
	case errors.Is(err, errTimeout) && !v.full:
		fmt.Fprintln(stderr, "tickedge: no answer in time")
		return exitMissing
	case errors.Is(err, errTimeout) || parent.Err() != nil:
		return exitOK
	}
	return fail(stderr, err)
}

// take shows what has changed. The error is that of a screen that is not asked for again.
func (v *screened) take(u tickedge.ScreenUpdate) error {
	v.full = v.full || u.Full
	if u.State != v.state && u.State != tickedge.Live {
		if e := u.Err(); e != nil && !u.Temporary {
			return e
		}
		if u.Reason != "" {
			fmt.Fprintf(v.stderr, "tickedge: %s: %s\n", u.State, clean(reason(tickedge.Update{Code: u.Code, Reason: u.Reason})))
		}
	}
	v.state = u.State
	for _, r := range u.Rows {
		v.rows[r.Topic] = r
	}
	for _, name := range u.Out {
		delete(v.rows, name)
	}
	v.ranked = v.ranked || u.Order != nil
	if u.Order != nil {
		v.order = u.Order
	} else if !v.ranked && len(u.Rows)+len(u.Out) > 0 {
		v.order = v.order[:0]
		for name := range v.rows {
			v.order = append(v.order, name)
		}
		slices.Sort(v.order)
	}
	if v.show != nil {
		return v.draw()
	}
	return v.print(u)
}

// draw draws the table anew.
func (v *screened) draw() error {
	v.show.order = v.order
	clear(v.show.rows)
	for name, r := range v.rows {
		v.show.rows[name] = tickedge.Update{State: v.state, Value: r.Value}
	}
	width, height, _ := size(v.stdout)
	return v.show.draw(v.stdout, width, height)
}

// print prints a line for each row that has changed or is out.
func (v *screened) print(u tickedge.ScreenUpdate) error {
	place := make(map[string]int, len(v.order))
	if v.ranked {
		for i, name := range v.order {
			place[name] = i + 1
		}
	}
	for _, name := range u.Out {
		if err := writeLine(v.stdout, line{Topic: name, State: "out"}); err != nil {
			return err
		}
	}
	rows := slices.Clone(u.Rows)
	slices.SortStableFunc(rows, func(a, b tickedge.ScreenRow) int { return cmp.Compare(place[a.Topic], place[b.Topic]) })
	for _, r := range rows {
		l := line{Topic: r.Topic, State: tickedge.Live, Value: r.Value, N: r.N, TS: r.At.UnixMilli(), Rank: place[r.Topic]}
		if err := writeLine(v.stdout, l); err != nil {
			return err
		}
	}
	return nil
}
