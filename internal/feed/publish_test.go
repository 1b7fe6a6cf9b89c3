// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
)

// away is a broker that takes ticks only when it is there.
type away struct {
	puppet
	mu      sync.Mutex
	there   chan struct{} // Closed when it is.
	written []string
	fate    broker.Fate
}

func newAway() *away { return &away{there: make(chan struct{})} }

func (a *away) Publisher(context.Context, *slog.Logger) (broker.Publisher, error) { return a, nil }
func (a *away) Connected() bool                                                   { return true }
func (a *away) Close()                                                            {}

func (a *away) Publish(ctx context.Context, ticks []broker.Tick) bool {
	select {
	case <-ctx.Done():
		return false
	case <-a.there:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, t := range ticks {
		a.written = append(a.written, fmt.Sprintf("%s %d", t.Topic, t.Ver))
		ticks[i].Fate = a.fate
	}
	return true
}

func ticksOf(topics ...string) (ticks []broker.Tick) {
	for i, topic := range topics {
		ticks = append(ticks, broker.Tick{Topic: topic, Value: []byte(`{}`), Ver: int64(i + 1)})
	}
	return ticks
}

func fatesOf(ticks []broker.Tick) (fates []broker.Fate) {
	for _, t := range ticks {
		fates = append(fates, t.Fate)
	}
	return fates
}

// Each tick goes to the broker that has its topic, and its fate comes back.
func TestPublisherRoutes(t *testing.T) {
	fx, rest := newAway(), newAway()
	close(fx.there)
	close(rest.there)
	fx.fate = broker.Outdated
	p, err := NewPublisher(t.Context(), Config{{Patterns: []string{"fx:*", "X"}, Broker: fx}, {Broker: rest}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ticks := ticksOf("A", "fx:1", "B", "X", "fx:2")
	if !p.Publish(t.Context(), ticks) || !p.Connected() {
		t.Error("not published")
	}
	if got, want := fatesOf(ticks), []broker.Fate{0, 1, 0, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("fates = %v, want %v", got, want)
	}
	if a, b := fmt.Sprint(fx.written), fmt.Sprint(rest.written); a != "[fx:1 2 X 4 fx:2 5]" || b != "[A 1 B 3]" {
		t.Errorf("%s and %s", a, b)
	}
	if _, err := NewPublisher(t.Context(), nil, nil); err == nil {
		t.Error("a publisher to nowhere")
	}
}

// A broker that is away holds up nobody else.
func TestOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(context.Background())
		fx, own := newAway(), memory.Private()
		o, err := NewOutbox(ctx, Config{{Patterns: []string{"fx:*"}, Broker: fx}, {Broker: own}}, slog.New(slog.DiscardHandler), 2)
		if err != nil {
			t.Fatal(err)
		}
		go o.Run(ctx)
		var told []string
		put := func(topic string, ver int64) error {
			defer synctest.Wait()
			return o.Put(broker.Tick{Topic: topic, Value: []byte(`{}`), Ver: ver}, func(f broker.Fate) { told = append(told, fmt.Sprint(topic, " ", ver, " ", f)) })
		}
		put("fx:1", 1) // Is on its way.
		put("fx:2", 2)
		put("fx:3", 3)
		if put("fx:4", 4) == nil {
			t.Error("more topics wait than may")
		}
		put("fx:2", 5)
		put("A", 6)
		put("A", 6)
		if want := []string{"fx:2 2 2", "A 6 0", "A 6 1"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if s := o.Stats(); s.Waiting != 2 || s.Taken != 1 || s.Outdated != 1 || s.Superseded != 1 || s.Refused != 1 || !s.Connected {
			t.Errorf("stats = %+v", s)
		}
		close(fx.there)
		synctest.Wait()
		if got := fmt.Sprint(fx.written); got != "[fx:1 1 fx:2 5 fx:3 3]" {
			t.Errorf("written: %s", got)
		}
		end()
		synctest.Wait()
	})
}

// What is published to a pair is done when either has it, and the other gets the newest when it is back.
func TestPairPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newAway(), newAway()
		close(a.there)
		p, err := NewPublisher(t.Context(), Config{{Broker: Pair{a, b}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		publish := func(ticks []broker.Tick, want ...broker.Fate) {
			t.Helper()
			if !p.Publish(t.Context(), ticks) || !slices.Equal(fatesOf(ticks), want) {
				t.Errorf("fates = %v, want %v", fatesOf(ticks), want)
			}
		}
		publish(ticksOf("A"), broker.Taken)
		synctest.Wait() // It is on its way to b for good.
		publish(ticksOf("-", "B", "C")[1:], broker.Taken, broker.Taken)
		publish([]broker.Tick{{Topic: "B", Value: []byte(`{}`), Ver: 4}}, broker.Taken)
		publish([]broker.Tick{{Topic: "D", Value: []byte("1")}, {Topic: "D", Value: []byte("null")}, {Topic: "D", Value: []byte(`{"ver":7}`)}},
			broker.Flawed, broker.Flawed, broker.Taken)
		publish([]broker.Tick{{Topic: "D", Value: []byte("null"), Ver: 8}}, broker.Taken)
		a.fate = broker.Outdated
		publish(ticksOf("A"), broker.Outdated)
		close(b.there)
		synctest.Wait()
		if got := fmt.Sprint(b.written); got != "[A 1 B 4 C 3 D 8 A 1]" {
			t.Errorf("the other has %s", got)
		}
		for _, fate := range []broker.Fate{broker.Taken, broker.Flawed} { // One has no room for it. Has the other?
			a.fate, b.fate, b.there = broker.Flawed, fate, make(chan struct{})
			done := make(chan struct{})
			go func() {
				publish(ticksOf("A"), fate)
				close(done)
			}()
			synctest.Wait()
			close(b.there)
			<-done
			synctest.Wait()
		}
		b.fate = broker.Taken
		a.there = make(chan struct{})
		publish(ticksOf("E"), broker.Taken) // By the other.
		b.there = make(chan struct{})
		ctx, end := context.WithCancel(t.Context())
		stuck := make(chan bool)
		go func() { stuck <- p.Publish(ctx, ticksOf("F")) }()
		synctest.Wait()
		end()
		if <-stuck {
			t.Error("published, and both are away")
		}
		p.Close()
	})
}

// What one of two brokers does not take is taken if the other takes it, and is refused in a while if that is away.
func TestPairPublisherRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newAway(), newAway()
		a.fate = broker.Forbidden
		close(a.there)
		p, err := NewPublisher(t.Context(), Config{{Broker: Pair{a, b}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ticks := ticksOf("A")
		go func() {
			synctest.Wait() // The one has refused it.
			close(b.there)
		}()
		if !p.Publish(t.Context(), ticks) || ticks[0].Fate != broker.Taken {
			t.Errorf("fate %d, and the other has taken it", ticks[0].Fate)
		}
		b.there = make(chan struct{})
		ticks = ticksOf("B")
		began := time.Now()
		if !p.Publish(t.Context(), ticks) || ticks[0].Fate != broker.Forbidden || time.Since(began) != pairRefusal {
			t.Errorf("fate %d after %v, and the other is away", ticks[0].Fate, time.Since(began))
		}
	})
}
