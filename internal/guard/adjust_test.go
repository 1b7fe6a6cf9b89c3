// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"sync"
	"testing"
	"time"
)

// Limits that are changed hold for the next connection, and what is held counts, also what came when there was no limit.
func TestAdjust(t *testing.T) {
	t.Parallel()
	const a, b = Prefix(11), Prefix(12)
	g := New(Config{}, epoch)
	for range 3 {
		enter(t, g, a, epoch, OK)
	}
	if n := g.Stats().Prefixes; n != 0 {
		t.Errorf("%d prefixes are told without a limit", n)
	}
	g.Adjust(Config{ConnsPerPrefix: 3})
	enter(t, g, a, epoch, TooManyConns)
	enter(t, g, b, epoch, OK)
	if n := g.Stats().Prefixes; n != 2 {
		t.Errorf("%d prefixes, want 2", n)
	}
	g.Leave(a)
	enter(t, g, a, epoch, OK)
	g.Adjust(Config{ConnsPerPrefix: 1}) // Nobody has to go for it.
	g.Leave(a)
	enter(t, g, a, epoch, TooManyConns)
	g.Adjust(Config{})
	enter(t, g, a, epoch, OK)
	for range 3 {
		g.Leave(a)
	}
	g.Leave(b)
	check(t, g)
	for i := range g.shards {
		if n := len(g.shards[i].held); n > 0 {
			t.Errorf("%d prefixes are held by nobody", n)
		}
	}
}

// A rate that is another one begins with full buckets; one that stays goes on where it was.
func TestAdjustRates(t *testing.T) {
	t.Parallel()
	const a = Prefix(11)
	late := epoch.Add(time.Hour)
	per, all := Rate{PerSecond: 1, Burst: 2}, Rate{PerSecond: 1, Burst: 3}
	g := New(Config{PerPrefix: per, Total: all}, epoch)
	enter(t, g, a, late, OK)
	enter(t, g, a, late, OK)
	enter(t, g, a, late, TooFast)
	g.Adjust(Config{ConnsPerPrefix: 100, PerPrefix: per, Total: all})
	enter(t, g, a, late, TooFast)
	g.Adjust(Config{PerPrefix: Rate{PerSecond: 1000, Burst: 1}, Total: all})
	enter(t, g, a, late, OK)
	enter(t, g, a, late, TooFast)
	g.Adjust(Config{Total: all})
	enter(t, g, a, late, Overloaded)
	g.Adjust(Config{Total: Rate{PerSecond: 500, Burst: 1}})
	enter(t, g, a, late, OK)
	enter(t, g, a, late, Overloaded)
	g.Adjust(Config{PerPrefix: per})
	enter(t, g, a, late, OK)
	enter(t, g, a, late, OK)
	enter(t, g, a, late, TooFast)
	check(t, g)
}

// Connections come and go while the limits change, and all are counted out in the end.
func TestAdjustMeanwhile(t *testing.T) {
	t.Parallel()
	g := New(Config{}, epoch)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 2000 {
				src, now := Prefix(1+(i+n)%7), epoch.Add(time.Duration(n)*time.Millisecond)
				if g.Enter(src, now).Outcome == OK {
					g.Leave(src)
				}
			}
		})
	}
	for n := range 200 {
		g.Adjust(Config{ConnsPerPrefix: n % 3, PerPrefix: Rate{n % 2, n % 2}, Total: Rate{n % 5, n % 5}})
	}
	all.Wait()
	check(t, g)
	for i := range g.shards {
		if n := len(g.shards[i].held); n > 0 {
			t.Errorf("%d prefixes are held by nobody", n)
		}
	}
}
