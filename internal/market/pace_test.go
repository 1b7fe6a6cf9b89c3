// SPDX-License-Identifier: Apache-2.0

package market

import (
	"testing"
	"time"
)

// paced counts the ticks that are due over steps of the clock.
func paced(p *pace, now *time.Time, after time.Duration, speed float64, steps int, step time.Duration) (n int) {
	for range steps {
		*now = now.Add(step)
		p.pass(*now, after, speed)
		for p.take(after) {
			n++
		}
	}
	return n
}

func TestPace(t *testing.T) {
	now := noon
	var p pace
	p.pass(now, time.Millisecond, 1)
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d ticks, want %d", what, got, want)
		}
	}
	check("a second at 1000 a second", paced(&p, &now, time.Millisecond, 1, 100, 10*time.Millisecond), 1000)
	// A new speed holds from when it was given, not for the step before.
	check("the step before a change", paced(&p, &now, time.Millisecond, 10, 1, 10*time.Millisecond), 10)
	check("a second at ten times that", paced(&p, &now, time.Millisecond, 10, 100, 10*time.Millisecond), 10_000)
	check("the step before a pause", paced(&p, &now, time.Millisecond, 0, 1, 10*time.Millisecond), 0)
	check("an hour's pause", paced(&p, &now, time.Millisecond, 0, 60, time.Minute), 0)
	check("resumed", paced(&p, &now, time.Millisecond, 1, 1, time.Minute), 1) // All but one of those due are given up.
	check("a second after the pause", paced(&p, &now, time.Millisecond, 1, 100, 10*time.Millisecond), 1000)
	check("held up for an hour", paced(&p, &now, time.Millisecond, 1, 1, time.Hour), int(catchUpMax/time.Millisecond)+1)
	check("the second after that", paced(&p, &now, time.Millisecond, 1, 100, 10*time.Millisecond), 1000)
}

// A gap longer than what is made up for is waited for and no longer.
func TestPaceOfRareTicks(t *testing.T) {
	now := noon
	var p pace
	p.pass(now, time.Hour, 2)
	if got := p.wait(time.Hour); got != 30*time.Minute {
		t.Errorf("wait = %v, want 30m at speed 2", got)
	}
	if n := paced(&p, &now, time.Hour, 2, 1, 29*time.Minute); n != 0 {
		t.Error("due too early")
	}
	if got := p.wait(time.Hour); got != time.Minute {
		t.Errorf("wait = %v, want 1m", got)
	}
	if n := paced(&p, &now, time.Hour, 2, 1, time.Minute); n != 1 {
		t.Errorf("%d ticks, want 1", n)
	}
}
