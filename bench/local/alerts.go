// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// firedMost bounds the time until an alert fires: two scrapes, an evaluation, the minute of most alerts, and some.
	firedMost = 2*time.Minute + 30*time.Second
	// clearedMost bounds the time until it does so no longer, once what was away is there.
	clearedMost = 2 * time.Minute
)

// outages are what may be away, and the alert that says so.
var outages = []struct{ name, alert string }{{"edge3", "EdgeDown"}, {"redis", "EdgeFeedDown"}, {"marketdata", "MarketdataDown"}}

// fires asks Prometheus how many series an alert is firing for.
func (t *trial) fires(ctx context.Context, alert string) (int, error) {
	return ask(ctx, t.prometheus, fmt.Sprintf("ALERTS{alertname=%q,alertstate=\"firing\"}", alert))
}

// until asks until an alert fires, or does no longer. It returns how long that took, and false if it was too long.
func (t *trial) until(ctx context.Context, alert string, firing bool, most time.Duration) (time.Duration, bool, error) {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		n, err := t.fires(ctx, alert)
		if err != nil || (n > 0) == firing {
			return time.Since(began), err == nil, err
		}
		if err := pause(within, time.Second); err != nil {
			return time.Since(began), false, ctx.Err()
		}
	}
}

// alerts leaves each of some programs away until the alert about it fires in the real Prometheus, and has it clear again.
func (t *trial) alerts(ctx context.Context) error {
	if !t.alerting {
		return nil
	}
	for _, o := range outages {
		// The trial before this has killed things as well.
		if _, quiet, err := t.until(ctx, o.alert, false, clearedMost); err != nil {
			return err
		} else if !quiet {
			t.bad("%s fires though nothing is away", o.alert)
			continue
		}
		if err := t.do(ctx, "kill", o.name); err != nil {
			return startAnyway(t, o.name, err)
		}
		after, fired, err := t.until(ctx, o.alert, true, firedMost)
		if err := startAnyway(t, o.name, err); err != nil {
			return err
		}
		if !fired {
			t.bad("%s was away for %.0f s, and %s does not fire", o.name, after.Seconds(), o.alert)
			continue
		}
		cleared, clear, err := t.until(ctx, o.alert, false, clearedMost)
		if err != nil {
			return err
		}
		if !clear {
			t.bad("%s fires still, %.0f s after %s was there again", o.alert, cleared.Seconds(), o.name)
		}
		fmt.Fprintf(t.stdout, "%s killed: %s fires after %.0f s, and no longer %.0f s after it was there again\n", o.name, o.alert,
			after.Seconds(), cleared.Seconds())
	}
	return t.crowd.whole(ctx)
}

// startAnyway starts what was killed, whatever went wrong meanwhile, and returns that.
func startAnyway(t *trial, name string, err error) error {
	// Not the context of the trial, which may be what has ended.
	ctx, cancel := context.WithTimeout(context.Background(), wholeMost)
	defer cancel()
	if failed := t.do(ctx, "start", name); err == nil {
		err = failed
	}
	return err
}
