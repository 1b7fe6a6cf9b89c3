// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// ask makes a conn that asks.
func (w *world) ask(d time.Duration) (ConnID, *peer) {
	w.t.Helper()
	id := w.shard.Add()
	w.sink.peer(id).reset()
	w.shard.Ask(id, d)
	return id, w.sink.peer(id)
}

// want gives a conn the topics of a request, and returns the codes of those that it can't have.
func (w *world) want(id ConnID, names ...string) (codes []int) {
	rights := Rights{Existing: prefixSet("known"), Allowed: nameSet(w.sink.peer(id).allowed)}
	for _, r := range w.shard.Want(id, byteNames(names), rights, nil) {
		codes = append(codes, r.Code)
	}
	return codes
}

// A loop hears of a conn when it wanted to, whatever the beats begin with.
func TestDue(t *testing.T) {
	for _, age := range []time.Duration{0, wrapAge} {
		w := newWorld(t, testConfig(), 1000, age)
		id, p := w.ask(3 * time.Second)
		w.advance(2990 * time.Millisecond)
		if p.due != 0 {
			t.Errorf("age %v: heard of it %d times before the time", age, p.due)
		}
		w.advance(20 * time.Millisecond)
		if p.due != 1 {
			t.Errorf("age %v: heard of it %d times", age, p.due)
		}
		w.shard.Await(id, 50*time.Millisecond)
		w.advance(60 * time.Millisecond)
		if p.due != 2 {
			t.Errorf("age %v: heard of it %d times", age, p.due)
		}
		w.shard.Await(id, time.Hour)
		w.advance(10 * time.Second)
		if p.due != 2 || p.writes != 0 {
			t.Errorf("age %v: heard of it %d times, %d writes", age, p.due, p.writes)
		}
	}
}

// What a conn asks for is told with why there is none, and held until it is given up.
func TestSights(t *testing.T) {
	w := newWorld(t, testConfig(), 1000, 0)
	id, _ := w.ask(time.Hour)
	w.hold("A", "GONE")
	w.publish("A", 1)
	w.table.Absent("GONE")
	if codes := w.want(id, "A", "NEW", "GONE", "A", "no name"); len(codes) != 1 || codes[0] != protocol.ErrBadTopic {
		t.Errorf("codes %v", codes)
	}
	w.check()
	sights := w.shard.AppendSights(nil, id)
	if len(sights) != 3 || sights[0].Row == nil || sights[1].Row != nil || sights[1].Code != 0 || sights[2].Code != protocol.ErrNoValue {
		t.Errorf("%+v", sights)
	}
	if n := w.shard.Newest(id); n == 0 || n != w.table.Watermark() {
		t.Errorf("the newest row is %d of %d", n, w.table.Watermark())
	}
	w.table.SetSourceState(0, false, w.now.UnixMilli())
	if sights = w.shard.AppendSights(nil, id); sights[0].Row == nil || sights[1].Code != protocol.ErrNotNow {
		t.Errorf("with the source down: %+v", sights)
	}
	w.shard.GiveUp(id)
	w.check()
	held := w.table.Held()
	if codes := w.want(id, "OTHER"); len(codes) != 1 || codes[0] != protocol.ErrNotNow || w.table.Held() != held {
		t.Errorf("with the source down: codes %v, %d topics of %d", codes, w.table.Held(), held)
	}
	if codes := w.want(id, "A"); codes != nil {
		t.Errorf("a value that is held: codes %v", codes)
	}
	w.shard.Remove(id)
	w.check()
}

// The limits of topics hold for requests as for subscribes. A topic with a row is free.
func TestLimitsOfWant(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTopics, cfg.SubscribeRate, cfg.SubscribeBurst = 3, 1, 3
	w := newWorld(t, cfg, 1000, 0)
	id, p := w.ask(time.Hour)
	p.allowed = []string{"A", "B", "C", "D", "E"}
	w.hold("E")
	w.publish("E", 1)
	if codes := w.want(id, "A", "B", "X", "C", "D"); len(codes) != 2 || codes[0] != protocol.ErrForbidden || codes[1] != protocol.ErrTooManyTopics {
		t.Errorf("codes %v", codes)
	}
	w.shard.GiveUp(id)
	if codes := w.want(id, "E", "D"); len(codes) != 1 || codes[0] != protocol.ErrTooFast {
		t.Errorf("codes %v", codes)
	}
	w.check()
}

func TestRateOfRequests(t *testing.T) {
	cfg := testConfig()
	cfg.CommandRate, cfg.CommandBurst = 1, 5
	w := newWorld(t, cfg, 1000, 0)
	id, _ := w.ask(time.Hour)
	if level := w.shard.Request(id, 100); level != guard.Within {
		t.Errorf("one that costs more than a burst: %v", level)
	}
	refused := 0
	for level := guard.Within; level != guard.Abuse; refused++ {
		if level = w.shard.Request(id, 1); level == guard.Within || refused > 100 {
			t.Fatalf("%v after %d refusals", level, refused)
		}
	}
	if refused < 5 {
		t.Errorf("abuse after %d refusals", refused)
	}
}

// Conns that ask end as others do.
func TestAskingEnds(t *testing.T) {
	cfg := testConfig()
	cfg.MaxAge = time.Minute
	for r, do := range map[Reason]func(w *world, id ConnID){
		SlowConsumer: func(w *world, id ConnID) {
			w.sink.peer(id).clogged = true
			w.sink.deliver(id, make([]byte, 1000))
			w.advance(cfg.SlowTimeout + 2*time.Second)
		},
		Drain:  func(w *world, _ ConnID) { w.shard.Drain(time.Second); w.advance(3 * time.Second) },
		MaxAge: func(w *world, _ ConnID) { w.advance(80 * time.Second) },
		Panic:  func(w *world, _ ConnID) { w.shard.EvictAll(Panic) },
	} {
		for _, age := range []time.Duration{0, wrapAge} {
			w := newWorld(t, cfg, 1000, age)
			id, p := w.ask(time.Hour)
			w.want(id, "A")
			w.advance(5 * time.Second)
			do(w, id)
			if w.sink.evicted[r] != 1 || w.shard.Conns() != 0 || w.table.Subscriptions() != 0 || p.due != 0 {
				t.Errorf("%v, age %v: evicted %v, %d conns, %d subscriptions", r, age, w.sink.evicted, w.shard.Conns(), w.table.Subscriptions())
			}
			w.check()
		}
	}
}

// A conn that asks becomes any other: its topics are given up, and the deadline of a request's head
// begins anew.
func TestReopen(t *testing.T) {
	w := newWorld(t, testConfig(), 1000, 0)
	id, p := w.ask(time.Hour)
	w.want(id, "A")
	w.advance(time.Minute)
	w.shard.Reopen(id)
	w.check()
	if w.table.Subscriptions() != 0 {
		t.Error("it holds topics")
	}
	w.sink.deliver(id, w.shard.Open(id, WebSocket, 1, 0, nil))
	w.subscribe(id, "A")
	w.publish("A", 1)
	before := p.writes
	w.advance(time.Second)
	if p.writes == before || p.due != 0 {
		t.Errorf("%d writes, heard of it %d times", p.writes-before, p.due)
	}
	other, _ := w.ask(time.Hour)
	w.shard.Reopen(other)
	w.advance(11 * time.Second)
	if w.sink.evicted[HandshakeTimeout] != 1 {
		t.Errorf("evicted %v", w.sink.evicted)
	}
}
