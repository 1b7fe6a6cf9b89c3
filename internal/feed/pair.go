// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// halves are some of the two brokers of a [Pair]. What is no pair is one.
type halves uint8

const (
	one  halves = 1 << iota
	both        = one | one<<1
)

// pair is a source that has two. The table takes what either tells, by version alone: a value that
// was fetched counts although the other has ticked since its mark. Of what the sources say
// about a topic beside values, the table is told what follows from both, see weigh.
//
// Nothing of it is held while a half is called, and halves may hold locks of theirs while they tell.
type pair struct {
	owner *source
	log   *slog.Logger
	names [2]string
	of    [2]broker.Source

	ups    atomic.Uint32   // The halves that are up. Changed under mu.
	denied [2]atomic.Int64 // Topics of which a half says that it refuses or does not have them. Changed under mu.

	mu     sync.Mutex
	topics map[string]pairTopic // Those that are wanted.
	up     bool                 // What the owner was told.

	coverMu sync.Mutex // Held while halves are told what to cover.
	covered []string
}

// pairTopic is what each half says of a topic.
type pairTopic struct {
	said  [2]said
	cause [2]broker.Cause // Where it is refused.
}

// said is what a half says of a topic.
type said uint8

const (
	unread  said = iota // It may be missing something.
	has                 // Its value was read, and all ticks since are told.
	none                // The same, and there was no value, nor a tick since. Those from here on are in pair.denied.
	refused             // It does not serve the topic, see [broker.Owner].
)

func newPair(cfg Pair, owner broker.Owner, log *slog.Logger) (broker.Source, error) {
	of, is := owner.(*source)
	if !is {
		return nil, errors.New("a pair of sources is for a feed alone")
	}
	p := &pair{owner: of, log: log, topics: make(map[string]pairTopic)}
	for i, c := range cfg {
		s, err := c.Source(&half{of, p, i}, log.With("half", i+1))
		if err != nil {
			return nil, err
		}
		p.of[i], p.names[i] = s, c.String()
	}
	return p, nil
}

// Apply implements [broker.Source].
func (p *pair) Apply(changes []topics.Change) {
	p.mu.Lock()
	for _, c := range changes {
		p.set(c.Topic, p.topics[c.Topic], pairTopic{})
		if !c.Wanted {
			delete(p.topics, c.Topic)
		}
	}
	p.mu.Unlock()
	for _, s := range p.of {
		s.Apply(changes)
	}
}

// Room implements [broker.Source]. One that is down comes to nothing, and the other does not wait for it.
func (p *pair) Room() int {
	a, b := p.of[0].Room(), p.of[1].Room()
	switch halves(p.ups.Load()) {
	case one:
		return a
	case one << 1:
		return b
	}
	return min(a, b)
}

// Run implements [broker.Source].
func (p *pair) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range p.of {
		wg.Go(func() { s.Run(ctx) })
	}
	wg.Wait()
}

// Stats implements [broker.Source]. It is connected when either is; the lag is that of the half that brings
// values first.
//
// Heard is the earlier of both, and not known while either is not: a publisher is done when one of both has
// its tick, so what the other has heard says nothing of it. Resume tokens stand still while a half is away.
func (p *pair) Stats() (all broker.Stats) {
	a, b := p.of[0].Stats(), p.of[1].Stats()
	all = a
	all.Add(b)
	all.Connected, all.Held = a.Connected || b.Connected, max(a.Held, b.Held)
	switch {
	case a.Connected && b.Connected:
		all.Lag = min(a.Lag, b.Lag)
	case a.Connected:
		all.Lag = a.Lag
	default:
		all.Lag = b.Lag
	}
	if all.Heard = a.Heard; b.Heard.Before(a.Heard) {
		all.Heard = b.Heard
	}
	if halves(p.ups.Load()) != both || a.Heard.IsZero() || b.Heard.IsZero() {
		all.Heard = time.Time{}
	}
	return all
}

// state says how both are.
func (p *pair) state() (of []Half) {
	ups := halves(p.ups.Load())
	for i, name := range p.names {
		of = append(of, Half{name, ups&(one<<i) != 0})
	}
	return of
}

// set says what is said of a topic that was wanted, or is now. The caller holds mu.
func (p *pair) set(topic string, was, now pairTopic) {
	for i := range now.said {
		if was.said[i] >= none {
			p.denied[i].Add(-1)
		}
		if now.said[i] >= none {
			p.denied[i].Add(1)
		}
	}
	p.topics[topic] = now
}

// say notes what a half says of a topic, and returns what both do. It is false for a topic that is not
// wanted. The caller holds mu.
func (p *pair) say(topic string, i int, what said, why broker.Cause) (pairTopic, bool) {
	was, held := p.topics[topic]
	if !held {
		return was, false
	}
	now := was
	now.said[i], now.cause[i] = what, why
	if now != was {
		p.set(topic, was, now)
	}
	return now, true
}

// weigh tells the table what follows of what both halves say of a topic. One that is down and has not read
// it says nothing; while one that is up has not read it, there is nothing to tell yet. The caller holds mu.
func (p *pair) weigh(topic string, t pairTopic) {
	absent, cause := 0, broker.NoCause
	for i, what := range t.said {
		switch {
		case what == unread && halves(p.ups.Load())&(one<<i) != 0:
			return
		case what == none:
			absent++
		case what == refused && cause == broker.NoCause:
			cause = t.cause[i]
		}
	}
	switch {
	case t.said[0] == has || t.said[1] == has:
		if t.said[0] == none || t.said[1] == none {
			p.owner.Settle(topic)
		}
	case cause != broker.NoCause:
		// The half's own mark may be older than ticks of the other, that is silent now.
		if mark, held := p.owner.Mark(topic); held {
			p.owner.GoStale(topic, mark, cause)
		}
	case absent == len(t.said):
		p.owner.Absent(topic)
	case absent > 0:
		p.owner.MergeAbsent(topic)
	}
}

// setUp notes that a half is up or down. One that is down has to read all topics anew, and the other one's
// word is the last for now. The pair is up while either is.
func (p *pair) setUp(i int, up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ups := halves(p.ups.Load())
	if was := ups&(one<<i) != 0; was == up {
		return
	}
	ups ^= one << i
	p.ups.Store(uint32(ups))
	if p.up = ups != 0; up || !p.up {
		p.owner.SetUp(p.up)
	}
	p.owner.More()
	switch {
	case ups == both:
		p.log.Info("feed: both sources of a pair are up", "half", i+1, "broker", p.names[i])
	case ups != 0 && !up:
		p.log.Warn("feed: one of the two sources of a pair is down, the other goes on", "half", i+1, "broker", p.names[i])
	}
	if up {
		return
	}
	for topic := range p.topics {
		t, _ := p.say(topic, i, unread, broker.NoCause)
		if p.up {
			p.weigh(topic, t)
		}
	}
}

// half is the owner of one of the two sources.
type half struct {
	*source // Has what is the same for both.
	p       *pair
	i       int
}

// Tick implements [broker.Owner], as do the others.
func (h *half) Tick(topic, value string, at int64) { h.TickOf(topic, value, at, "") }

func (h *half) TickOf(topic, value string, at int64, parent string) {
	first := h.p.denied[h.i].Load() > 0 && h.p.ticks(topic, h.i)
	outcome := h.source.tick(topic, value, at, parent, one<<h.i, halves(h.p.ups.Load())|one<<h.i)
	if first && (outcome == topics.Older || outcome == topics.Repeated) {
		v, _ := h.Inspect(value)
		h.Merge(topic, rowValue(value), topics.Meta{At: at, Version: v}, false) // A refusal of the other's is over.
	}
}

// ticks notes that a half serves a topic after all. It is true for one without a value until now: then this is all
// there is, and nothing is left to be read.
func (p *pair) ticks(topic string, i int) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.topics[topic].said[i] {
	case refused:
		p.say(topic, i, unread, broker.NoCause)
	case none:
		p.say(topic, i, has, broker.NoCause)
		return true
	}
	return false
}

func (h *half) Repair(topic, value string, _ uint64, m topics.Meta) topics.Outcome {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	t, _ := h.p.say(topic, h.i, has, broker.NoCause)
	other := t.said[1-h.i]
	return h.source.merge(topic, value, m, other == has || other == none)
}

func (h *half) Doubt(topic string) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.say(topic, h.i, unread, broker.NoCause)
	h.source.Doubt(topic)
}

func (h *half) Absent(topic string) { h.told(topic, none, broker.NoCause) }

func (h *half) GoStale(topic string, _ uint64, c broker.Cause) { h.told(topic, refused, c) }

func (h *half) told(topic string, what said, why broker.Cause) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if t, held := h.p.say(topic, h.i, what, why); held {
		if what == refused {
			h.source.Doubt(topic) // Whatever it refuses may be the newest.
		}
		h.p.weigh(topic, t)
	}
}

func (h *half) SetUp(up bool) { h.p.setUp(h.i, up) }
