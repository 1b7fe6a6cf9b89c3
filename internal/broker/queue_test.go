// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// gate is a publisher that is away until it is opened.
type gate struct {
	open    chan struct{}
	mu      sync.Mutex
	written []string
	batches int
}

func (g *gate) Publish(ctx context.Context, ticks []Tick) bool {
	select {
	case <-ctx.Done():
		return false
	case <-g.open:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.batches++
	for i, t := range ticks {
		g.written = append(g.written, fmt.Sprint(t.Topic, "=", string(t.Value)))
		ticks[i].Fate = Taken
	}
	return true
}

func (g *gate) Connected() bool { return true }
func (g *gate) Close()          {}

// fates collects what becomes of ticks.
type fates map[string]Fate

func (f fates) of(name string) func(Fate) {
	return func(fate Fate) {
		if _, has := f[name]; has {
			panic("told twice: " + name)
		}
		f[name] = fate
	}
}

func TestQueueConflates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(context.Background())
		g, told := &gate{open: make(chan struct{})}, make(fates)
		q := NewQueue(g, 3)
		go q.Run(ctx)
		put := func(name, topic, value string, ver int64) {
			t.Helper()
			if err := q.Put(Tick{Topic: topic, Value: []byte(value), Ver: ver}, told.of(name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		put("first", "A", `{"p":1}`, 1) // On its way, and stuck.
		synctest.Wait()
		put("old", "A", `{"p":2}`, 5)
		put("new", "A", `{"p":3}`, 6)
		put("late", "A", `{"p":4}`, 4)
		put("twin", "A", `{"p":5}`, 6)
		put("bare", "B", `1`, 0)
		put("barer", "B", `2`, 0)
		value := []byte(`7`)
		if err := q.Put(Tick{Topic: "C", Value: value}, nil); err != nil {
			t.Error(err)
		}
		value[0] = '8' // It is the caller's.
		if err := q.Put(Tick{Topic: "D", Value: []byte("1")}, told.of("D")); !errors.Is(err, ErrQueueFull) {
			t.Errorf("a fourth topic: %v", err)
		}
		if err := q.Put(Tick{Topic: "A", Value: []byte("{")}, told.of("flawed")); err == nil {
			t.Error("no JSON was taken")
		}
		if s := q.Stats(); s.Waiting != 3 || s.Refused != 1 || s.Superseded != 3 || s.Outdated != 1 {
			t.Errorf("stats = %+v", s)
		}
		close(g.open)
		synctest.Wait()
		if want := []string{`A={"p":1}`, `A={"p":3}`, "B=2", "C=7"}; !slices.Equal(g.written, want) || g.batches != 2 {
			t.Errorf("%d batches: %q, want %q", g.batches, g.written, want)
		}
		want := fates{"first": Taken, "old": Superseded, "new": Taken, "late": Superseded, "twin": Outdated, "bare": Superseded, "barer": Taken}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("fates = %v, want %v", told, want)
		}
		if s := q.Stats(); s.Waiting != 0 || s.Taken != 4 {
			t.Errorf("stats = %+v", s)
		}
		end()
		synctest.Wait()
	})
}

// What could not be published when the queue ends is told so, and nothing is taken any more.
func TestQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(context.Background())
		told := make(fates)
		q := NewQueue(&gate{open: make(chan struct{})}, 1000)
		go q.Run(ctx)
		for i := range 3 {
			if err := q.Put(Tick{Topic: fmt.Sprint("T", i), Value: []byte("1")}, told.of(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		end()
		synctest.Wait()
		if want := (fates{"0": Unknown, "1": Unknown, "2": Unknown}); fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("fates = %v", told)
		}
		if err := q.Put(Tick{Topic: "A", Value: []byte("1")}, nil); !errors.Is(err, ErrQueueClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Many put and one runs: each topic ends with its newest version.
func TestQueueRace(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	q := NewQueue(g, 10)
	ctx, end := context.WithCancel(context.Background())
	var work, puts sync.WaitGroup
	work.Go(func() { q.Run(ctx) })
	const each = 500
	var told sync.WaitGroup
	for w := range 4 {
		puts.Go(func() {
			for i := range each {
				told.Add(1)
				if err := q.Put(Tick{Topic: fmt.Sprint("T", w), Value: []byte(`{}`), Ver: int64(i + 1)}, func(Fate) { told.Done() }); err != nil {
					t.Error(err)
					told.Done()
				}
			}
		})
	}
	puts.Wait()
	told.Wait()
	end()
	work.Wait()
	if s := q.Stats(); s.Taken+s.Superseded != 4*each || s.Waiting != 0 {
		t.Errorf("stats = %+v", s)
	}
}
