// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	tickedge "tickedge/clients/go"
)

// redraw is the least time between two pictures of a table.
const redraw = 100 * time.Millisecond

var errTimeout = errors.New("out of time")

// begin subscribes what was asked for, until the timeout.
func begin(ctx context.Context, c config) (*tickedge.Client, *tickedge.Subscription, context.Context, func(), error) {
	stop := func() {}
	if c.timeout > 0 {
		ctx, stop = context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	}
	client := c.client()
	sub, err := client.Subscribe(ctx, c.symbols...)
	return client, sub, ctx, stop, err
}

// unbegun says why nothing was tried: what was given is wrong, unless it was ended that early.
func unbegun(parent context.Context, stderr io.Writer, err error) int {
	if code := fail(stderr, err); parent.Err() != nil {
		return code
	}
	return exitUsage
}

// get prints each value once, in the order of the symbols.
func get(parent context.Context, c config, stdout, stderr io.Writer) int {
	client, sub, ctx, stop, err := begin(parent, c)
	defer stop()
	defer client.Close()
	if err != nil {
		return unbegun(parent, stderr, err)
	}
	last := make(map[string]tickedge.Update)
	have, settled := 0, 0
	for settled < len(c.symbols) && err == nil {
		var u tickedge.Update
		if u, err = sub.Next(ctx); err != nil {
			break
		}
		before := last[u.Topic]
		if before.Value != nil || final(before) {
			continue // The first value counts.
		}
		last[u.Topic] = u
		switch {
		case u.Value != nil:
			have++
			settled++
		case final(u):
			settled++
		}
	}
	for _, name := range c.symbols {
		u := last[name]
		switch {
		case u.Value == nil:
			fmt.Fprintf(stderr, "tickedge: %s: %s\n", clean(name), clean(why(u, err)))
		default:
			if werr := printValue(stdout, c, u); werr != nil {
				return fail(stderr, werr)
			}
		}
	}
	var refused *tickedge.ConnError
	if errors.As(err, &refused) {
		return fail(stderr, err)
	}
	if have < len(c.symbols) {
		return exitMissing
	}
	return exitOK
}

// final says that no value is to be awaited.
func final(u tickedge.Update) bool {
	return u.State == tickedge.Delisted || u.State == tickedge.Rejected && !u.Temporary || u.State == tickedge.Stale && u.Code != 0 && u.Code != 503
}

// why says why there is no value.
func why(u tickedge.Update, err error) string {
	switch {
	case u.Reason != "":
		return reason(u)
	case u.State == tickedge.Delisted:
		return "delisted: its source has withdrawn it"
	case errors.Is(err, errTimeout):
		return "no value in time"
	}
	return "no value"
}

func printValue(stdout io.Writer, c config, u tickedge.Update) error {
	if _, _, terminal := size(stdout); c.json || !terminal {
		return writeJSON(stdout, u)
	}
	_, err := fmt.Fprintf(stdout, "%s  %s\n", clean(u.Topic), clean(string(u.Value)))
	return err
}

// watch shows values until it is told to end.
func watch(parent context.Context, c config, stdout, stderr io.Writer) int {
	client, sub, ctx, stop, err := begin(parent, c)
	defer stop()
	defer client.Close()
	if err != nil {
		return unbegun(parent, stderr, err)
	}
	show := newTable(c.symbols)
	_, _, terminal := size(stdout)
	had := make(map[string]bool)
	seen := func(u tickedge.Update) error {
		had[u.Topic] = had[u.Topic] || u.Value != nil
		if show.rows[u.Topic] = u; terminal && !c.json {
			return nil
		}
		return writeJSON(stdout, u)
	}
	for err == nil {
		if terminal && !c.json {
			width, height, _ := size(stdout)
			if err = show.draw(stdout, width, height); err != nil {
				break
			}
		}
		err = collect(ctx, sub, seen)
	}
	switch {
	case errors.Is(err, errTimeout):
		none := missing(c.symbols, had)
		if len(none) == 0 {
			return exitOK
		}
		fmt.Fprintf(stderr, "tickedge: no value in time of %s\n", clean(strings.Join(none, ", ")))
		return exitMissing
	case parent.Err() != nil:
		return exitOK
	}
	return fail(stderr, err)
}

// collect awaits one update, and takes what else comes until the next picture.
func collect(ctx context.Context, sub *tickedge.Subscription, seen func(tickedge.Update) error) error {
	u, err := sub.Next(ctx)
	if err != nil {
		return err
	}
	if err := seen(u); err != nil {
		return err
	}
	picture, cancel := context.WithTimeout(ctx, redraw)
	defer cancel()
	for u, err := range sub.All(picture) {
		if err != nil {
			return context.Cause(ctx) // Nothing, if only the time of the picture is over.
		}
		if err := seen(u); err != nil {
			return err
		}
	}
	return nil
}

func missing(symbols []string, had map[string]bool) (none []string) {
	for _, name := range symbols {
		if !had[name] {
			none = append(none, name)
		}
	}
	return none
}

func fail(stderr io.Writer, err error) int {
	text := clean(strings.TrimPrefix(err.Error(), "tickedge: "))
	fmt.Fprintf(stderr, "tickedge: %s\n", wrap(text, 0))
	return exitMissing
}
