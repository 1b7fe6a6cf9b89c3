// SPDX-License-Identifier: Apache-2.0

package market

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/broker"
)

// paper is a publisher that writes down what it is given.
type paper struct {
	mu      sync.Mutex
	ticks   []string
	largest int // The largest batch.
}

func (p *paper) Publish(ctx context.Context, ticks []broker.Tick) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range ticks {
		p.ticks = append(p.ticks, t.Topic+" "+string(t.Value))
	}
	p.largest = max(p.largest, len(ticks))
	return ctx.Err() == nil
}

func (p *paper) Connected() bool { return true }
func (p *paper) Close()          {}

// script is so many ticks without pauses, of two topics in turn.
type script struct {
	n, end int
	buf    []byte
}

func (s *script) Next(time.Time) (Tick, error) {
	if s.n == s.end {
		return Tick{}, io.EOF
	}
	s.n++
	s.buf = fmt.Append(s.buf[:0], s.n)
	return Tick{Tick: broker.Tick{Topic: fmt.Sprint("T", s.n%2), Value: s.buf}}, nil
}

// Every tick is published as it was when it came, in order, and not too many at a time.
func TestPlayerPublishesAll(t *testing.T) {
	to := new(paper)
	p := NewPlayer(to)
	const n = 2*playMax + 1
	if err := p.Run(t.Context(), &script{end: n}); err != nil {
		t.Fatal(err)
	}
	if len(to.ticks) != n || to.largest != playMax {
		t.Fatalf("%d ticks, %d at a time", len(to.ticks), to.largest)
	}
	for i, got := range to.ticks {
		if want := fmt.Sprint("T", (i+1)%2, " ", i+1); got != want {
			t.Fatalf("tick %d is %s, want %s", i, got, want)
		}
	}
	if st := p.State(); st.Published != n || !st.Connected {
		t.Errorf("state = %+v", st)
	}
}

func TestPlayerControls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlayer(new(paper))
		for _, speed := range []float64{0, 0.9, 10.1, -1} {
			if err := p.SetSpeed(speed); err == nil {
				t.Errorf("speed %v was taken", speed)
			}
		}
		if err := p.SetSpeed(10); err != nil {
			t.Error(err)
		}
		p.Pause()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		m := newMarket(t, Config{Symbols: DefaultSymbols(), Rate: 1000, Volatility: 1})
		go func() { ended <- p.Run(ctx, m) }()
		if st := p.State(); !st.Paused || st.Speed != 10 {
			t.Errorf("state = %+v", st)
		}
		published := func() uint64 {
			before := p.State().Published
			time.Sleep(time.Second)
			synctest.Wait()
			return p.State().Published - before
		}
		check := func(what string, least, most uint64) {
			t.Helper()
			if n := published(); n < least || n > most {
				t.Errorf("%s: %d ticks in a second, want %d to %d", what, n, least, most)
			}
		}
		check("paused", 0, 0)
		p.Resume()
		check("at ten times the rate", 9900, 10_100)
		p.Pause()
		synctest.Wait()
		check("paused", 0, 0)
		p.Resume()
		check("again", 9900, 10_100)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestPlayerStopsAtBadTicks(t *testing.T) {
	bad := errors.New("line 7")
	err := NewPlayer(new(paper)).Run(t.Context(), ticksFunc(func() (Tick, error) { return Tick{}, bad }))
	if !errors.Is(err, bad) {
		t.Errorf("error = %v", err)
	}
}

type ticksFunc func() (Tick, error)

func (f ticksFunc) Next(time.Time) (Tick, error) { return f() }
