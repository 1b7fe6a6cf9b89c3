// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
)

// pipeline makes bars of one series as a shard does: each step changes the open bar, closes it, or revises a closed one, and
// publishes a value with a version.
type pipeline struct {
	mu     sync.Mutex
	ver    int64
	revs   int64
	open   bars.Bar
	closed []bars.Bar // All, as they are now.
	values []value    // All that were published.
	given  int        // How many of closed the writer has; revisions are given at once.
	writer *history.Writer
}

// value is one of the topic kline:1m:…
type value struct {
	ver, revs int64
	open      bars.Bar
	closed    []bars.Bar // The last two.
}

func (p *pipeline) now() value {
	return value{p.ver, p.revs, p.open, slices.Clone(p.closed[max(0, len(p.closed)-2):])}
}

// step changes something. A bar that closes is given to the writer a step later, when others have seen that it is closed.
func (p *pipeline) step(rng *rand.Rand) error {
	p.mu.Lock()
	var give []bars.Bar
	give = append(give, p.closed[p.given:]...)
	p.given = len(p.closed)
	switch n := rng.IntN(10); {
	case n == 0 && len(p.closed) > 0:
		i := max(0, len(p.closed)-1-rng.IntN(5))
		p.closed[i].Rev++
		p.closed[i].Count++
		p.revs++
		give = append(give, p.closed[i])
	case n < 5:
		p.closed = append(p.closed, p.open)
		p.open = historytest.Bar(btc, minute, p.open.Start+minute.Millis)
	default:
		p.open.Count++
	}
	p.ver++
	p.values = append(p.values, p.now())
	p.mu.Unlock()
	for _, b := range give {
		if err := p.writer.Put(context.Background(), b); err != nil {
			return err
		}
	}
	return nil
}

// Open implements [history.Live].
func (p *pipeline) Open(_ context.Context, symbol, tf string) (s history.LiveSeries, ok bool) {
	if symbol != btc.Name || tf != "1m" {
		return s, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.now()
	return history.LiveSeries{Closed: v.closed, Open: &v.open, Revs: v.revs, Ver: v.ver}, true
}

// TestNoSeam asks for history while bars are closed, revised and stored, also between any two of the questions that an answer
// takes. It follows the topic from each answer, and has each bar once, in order and with none missing.
func TestNoSeam(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 2))
	store := &historytest.Fake{OnPut: func(context.Context, []bars.Bar) error {
		if rand.IntN(3) == 0 {
			return fmt.Errorf("now and then")
		}
		return nil
	}}
	w, _ := running(t, store, history.WriterConfig{Batch: 3, Delay: 1, Retry: 1})
	p := &pipeline{writer: w, open: historytest.Bar(btc, minute, 0)}
	goOn := func() {
		for range rng.IntN(4) {
			if err := p.step(rng); err != nil {
				t.Error(err)
			}
		}
		if rng.IntN(3) == 0 {
			if err := w.Flush(within(t)); err != nil {
				t.Error(err)
			}
		}
	}
	store.OnBars = func(history.Query) error { goOn(); return nil }
	s := newSite(t, func(c *history.ServerConfig) {
		c.Store, c.Live = store, p
		c.Waiting = func(symbol, tf string) []bars.Bar { goOn(); return w.Waiting(symbol, tf) }
	})
	var answers []answer
	for range 60 {
		goOn()
		var a answer
		if err := json.Unmarshal([]byte(body(t, s.ask("GET", path+"?tf=1m&limit=5000"))), &a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	t.Logf("seed %d: %d values, %d bars", seed, len(p.values), len(p.closed))
	for _, a := range answers {
		if a.Open == nil || a.Revs == nil {
			t.Fatalf("%+v has no open bar", a)
		}
		// The answer is exactly what the topic said with that version, or would have said before the first.
		want := value{open: historytest.Bar(btc, minute, 0)}
		if a.Ver > 0 {
			want = p.values[a.Ver-1]
		}
		if a.Open.T != want.open.Start || *a.Revs != want.revs || int64(len(a.Bars))*minute.Millis != want.open.Start {
			t.Fatalf("ver %d has %d bars, an open one of %d and revs %d, want %d and %d", a.Ver, len(a.Bars), a.Open.T, *a.Revs, want.open.Start, want.revs)
		}
		have := int64(len(a.Bars)) // Bars, each in its place.
		for i, b := range a.Bars {
			if b.T != int64(i)*minute.Millis {
				t.Fatalf("ver %d: bar %d begins at %d", a.Ver, i, b.T)
			}
		}
		for _, v := range p.values[a.Ver:] {
			for _, b := range v.closed {
				if b.Start == have*minute.Millis {
					have++
				}
			}
			if v.open.Start != have*minute.Millis {
				t.Fatalf("ver %d and the values up to %d have %d bars, and the open one begins at %d", a.Ver, v.ver, have, v.open.Start)
			}
		}
	}
	store.OnBars = nil
	// With everything stored, history alone has all of it, in its newest revision.
	if err := w.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	last := p.closed[:p.given]
	historytest.Same(t, "in the end", stored(t, store, "1m"), last)
}

// Of an older page, and of one that has an end, the open bar is no part; what waits for the store is.
func TestWaitingBarsOfOlderPages(t *testing.T) {
	waiting := historytest.Run(btc, minute, 1000*60_000, 10)
	waiting[3].Rev = 2
	open := historytest.Bar(btc, minute, 1010*60_000)
	live := fixed{history.LiveSeries{Closed: waiting[8:], Open: &open, Revs: 7, Ver: 99}}
	s := newSite(t, func(c *history.ServerConfig) {
		c.Live = live
		c.Waiting = func(string, string) []bars.Bar { return waiting }
	})
	a := s.page(path + "?tf=1m&limit=4")
	if len(a.Bars) != 4 || a.Bars[3].T != 1009*60_000 || a.Open == nil || a.Open.T != 1010*60_000 || *a.Revs != 7 || a.Ver != 99 {
		t.Errorf("%+v", a)
	}
	a = s.page(path + "?tf=1m&limit=4&before=" + *a.Next)
	if len(a.Bars) != 4 || a.Bars[3].T != 1005*60_000 || a.Open != nil || a.Revs != nil || a.Bars[1].Rev != 2 {
		t.Errorf("%+v", a)
	}
	newer := waiting[4] // It was stored after the writer was asked.
	newer.Rev, newer.Count = 9, 1234
	if err := s.store.Put(context.Background(), []bars.Bar{newer}); err != nil {
		t.Fatal(err)
	}
	if a = s.page(path + "?tf=1m&limit=6"); a.Bars[0].Rev != 9 || a.Bars[0].N != 1234 {
		t.Errorf("%+v", a)
	}
	a = s.page(path + fmt.Sprintf("?tf=1m&from=%d&to=%d", 998*60, 1002*60))
	if len(a.Bars) != 4 || a.Open != nil {
		t.Errorf("%+v", a)
	}
	if a = s.page(path + fmt.Sprintf("?tf=1m&from=%d", 1011*60)); len(a.Bars) != 0 || a.Open != nil || *a.Revs != 7 {
		t.Errorf("%+v", a)
	}
	if a = s.page(path + "?tf=1s"); a.Open != nil || a.Revs != nil {
		t.Errorf("of a series that is not made here: %+v", a)
	}
}

type fixed struct{ s history.LiveSeries }

func (f fixed) Open(_ context.Context, _, tf string) (history.LiveSeries, bool) {
	return f.s, tf == "1m"
}
