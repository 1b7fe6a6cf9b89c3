// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPrefixLimit(t *testing.T) {
	l := NewPrefixLimit(Rate{PerSecond: 10, Burst: 3}, epoch)
	takes := func(src Prefix, at time.Duration) (n int) {
		for n < 10 && l.Take(src, epoch.Add(at)) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		src  Prefix
		at   time.Duration
		want int
	}{
		{1, 0, 3}, {1, 99 * time.Millisecond, 0}, {2, 99 * time.Millisecond, 3}, {1, 100 * time.Millisecond, 1},
		{1, 310 * time.Millisecond, 2}, {1, time.Hour, 3}, {2, time.Hour, 3}, {2, 0, 0},
	} {
		if n := takes(c.src, c.at); n != c.want {
			t.Errorf("source %d took %d at %v, want %d", c.src, n, c.at, c.want)
		}
	}
}

// What was spent without being there has to come in first.
func TestPrefixLimitSpend(t *testing.T) {
	l := NewPrefixLimit(Rate{PerSecond: 10, Burst: 3}, epoch)
	has := func(at time.Duration, want bool) {
		t.Helper()
		if l.Has(1, epoch.Add(at)) != want {
			t.Errorf("at %v: has is %v", at, !want)
		}
	}
	has(0, true)
	l.Spend(1, 2, epoch)
	has(0, true)
	l.Spend(1, 11, epoch)
	has(0, false)
	has(time.Second, false) // Ten of thirteen came in, and three are the burst.
	has(1001*time.Millisecond+100*time.Millisecond/unit, true)
	l.Spend(1, 0, epoch.Add(2*time.Second))
	has(2*time.Second, true)
	if !l.Has(2, epoch) {
		t.Error("another source has nothing left")
	}
}

func TestNoPrefixLimit(t *testing.T) {
	for _, l := range []*PrefixLimit{NewPrefixLimit(Rate{}, epoch), NewPrefixLimit(Rate{1, 1}, epoch)} {
		src := Prefix(0) // Nobody.
		if l == nil {
			src = 1
		}
		for range 10 {
			l.Spend(src, 1000, epoch)
			if !l.Take(src, epoch) || !l.Has(src, epoch) {
				t.Errorf("limit %p holds source %d", l, src)
			}
		}
	}
}

// A flood of prefixes takes the place of those that are nearly forgiven, and never gives
// anybody more than its burst at once.
func TestPrefixLimitForgets(t *testing.T) {
	l := NewPrefixLimit(Rate{PerSecond: 1, Burst: 2}, epoch)
	deep := Prefix(1)
	l.Spend(deep, 1000, epoch)
	for src := Prefix(2); src < 300_000; src++ {
		l.Take(src, epoch)
	}
	if l.Has(deep, epoch) {
		t.Error("who has used the most was forgotten")
	}
}

func TestPrefixLimitIsOneForAll(t *testing.T) {
	l := NewPrefixLimit(Rate{PerSecond: 1, Burst: 1000}, epoch)
	var taken atomic.Int64
	var going sync.WaitGroup
	for range 4 {
		going.Go(func() {
			for range 1000 {
				if l.Take(7, epoch) {
					taken.Add(1)
				}
			}
		})
	}
	going.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d were taken, want 1000", n)
	}
}

func TestPrefixLimitAllocatesNothing(t *testing.T) {
	l := NewPrefixLimit(Rate{PerSecond: 1, Burst: 1}, epoch)
	src := Prefix(0)
	if n := testing.AllocsPerRun(100, func() {
		src++
		l.Take(src, epoch)
		l.Has(src, epoch)
		l.Spend(src, 1, epoch)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is returned can be taken again, no more than that, and by nobody else.
func TestPrefixLimitReturn(t *testing.T) {
	const burst = 3
	start := time.Now()
	l := NewPrefixLimit(Rate{PerSecond: 1, Burst: burst}, start)
	const a, b = Prefix(7), Prefix(8)
	take := func(src Prefix, want int) {
		t.Helper()
		n := 0
		for l.Take(src, start) {
			n++
		}
		if n != want {
			t.Errorf("source %d takes %d, want %d", src, n, want)
		}
	}
	l.Return(a) // It has taken nothing, and gains nothing.
	take(a, burst)
	l.Return(a)
	l.Return(a)
	l.Return(0)
	take(b, burst)
	take(a, 2)
	for range 2 * burst {
		l.Return(a)
	}
	take(a, burst)
	(*PrefixLimit)(nil).Return(a)
}
