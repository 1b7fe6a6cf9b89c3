// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"testing"
	"time"
)

func wantFeed(t *testing.T, tb *Table, source int, want SourceState) {
	t.Helper()
	if got := *tb.SourceState(source); got != want {
		t.Fatalf("source %d is %+v, want %+v", source, got, want)
	}
	check(t, tb)
}

func TestAFeedIsDownUntilItHasBeenUp(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_123)
	tb := New(Config{Max: 10, Start: start})
	if tb.Sources() != 1 {
		t.Fatalf("%d sources", tb.Sources())
	}
	wantFeed(t, tb, 0, SourceState{Since: start.UnixMilli()})
	tb.SetSourceState(0, false, 5)
	wantFeed(t, tb, 0, SourceState{Since: start.UnixMilli()})
	if tb.Notice() != 0 || tb.Watermark() != 0 {
		t.Fatalf("notice %d, watermark %d", tb.Notice(), tb.Watermark())
	}
	wantFeed(t, New(Config{Max: 10}), 0, SourceState{})
}

func TestAChangeOfAFeedIsNews(t *testing.T) {
	tb := newTable(10)
	acquire(t, tb, "A")
	tb.SetSourceState(0, true, 100)
	wantFeed(t, tb, 0, SourceState{Up: true, Since: 100, Seq: 1})
	publish(t, tb, "A", "1")
	tb.SetSourceState(0, true, 200)
	wantFeed(t, tb, 0, SourceState{Up: true, Since: 100, Seq: 1})
	if tb.Notice() != 1 || tb.Watermark() != 2 {
		t.Fatalf("notice %d, watermark %d", tb.Notice(), tb.Watermark())
	}
	tb.SetSourceState(0, false, 300)
	wantFeed(t, tb, 0, SourceState{Since: 300, Seq: 3})
	if tb.Notice() != 3 || tb.Watermark() != 3 {
		t.Fatalf("notice %d, watermark %d", tb.Notice(), tb.Watermark())
	}
}

func TestSeveralSources(t *testing.T) {
	tb := newTable(10)
	tb.SetSources([]string{"fx:*,crypto:*", ""})
	if tb.Sources() != 2 || tb.Health().Up {
		t.Fatalf("%d sources, %+v", tb.Sources(), tb.Health())
	}
	tb.SetSourceState(1, true, 100)
	wantFeed(t, tb, 0, SourceState{Scope: "fx:*,crypto:*"})
	wantFeed(t, tb, 1, SourceState{Up: true, Since: 100, Seq: 1})
	if tb.Health().Up {
		t.Fatal("up, with one of two sources")
	}
	tb.SetSourceState(0, true, 200)
	wantFeed(t, tb, 0, SourceState{Scope: "fx:*,crypto:*", Up: true, Since: 200, Seq: 2})
	if !tb.Health().Up {
		t.Fatal("down, with both sources up")
	}
	for _, count := range []int{0, SourcesMax + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d sources were taken", count)
				}
			}()
			tb.SetSources(make([]string, count))
		}()
	}
}

func TestHealth(t *testing.T) {
	tb := newTable(10)
	tb.SetSources([]string{"a:*", "b:*", ""})
	for i := range 3 {
		tb.SetSourceState(i, true, 1)
	}
	if h := tb.Health(); h != (Health{Up: true}) {
		t.Fatalf("%+v", h)
	}
	tb.SetLag(0, 5)
	tb.SetLag(1, 70)
	tb.SetLag(2, 6)
	acquire(t, tb, "A")
	acquire(t, tb, "B")
	tb.Publish("A", "1", Meta{At: 1000})
	tb.Publish("B", "1", Meta{At: 900})
	tb.Repair("B", "2", mark(t, tb, "B"), Meta{At: 2000}) // No tick.
	tb.Publish("unwanted", "1", Meta{At: 3000})
	tb.Watch(1100)
	if h := tb.Health(); h != (Health{Up: true, Tick: 1000, Lag: 70}) {
		t.Fatalf("%+v", h)
	}
	tb.SetLag(1, 0)
	if h := tb.Health(); h.Lag != 6 {
		t.Fatalf("%+v", h)
	}
}
