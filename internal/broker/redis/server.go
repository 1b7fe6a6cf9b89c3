// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
	"tickedge/internal/resp"
	"tickedge/internal/topics"
)

// server is one Redis server as a source of ticks: it subscribes to the channels of
// the topics that it is told to, publishes what comes into the table, and fetches the
// newest value of a topic whenever ticks of it may have been missed.
//
// The URL's user needs SUBSCRIBE, UNSUBSCRIBE, PING and GETRANGE, and permission for the
// channel and the key of every topic. For patterns beside them it needs PSUBSCRIBE and PUNSUBSCRIBE, see Cover.
type server struct {
	*shared
	target target
	verbs  verbs
	wants  *wants
	// changed is told when the server's state changes: up is false from the end of a link
	// until the gap that began then has ended, see wants.
	changed func(up bool)
	// moved is told when Redis does not serve topics here that it was asked for, as a slot
	// of a cluster has moved away. They are astray then, see wants. Nil out of a cluster.
	moved func()

	addr     string                // Where the last link went. Owned by reconnect's goroutine.
	copies   copies                // Of the receiver.
	pings    atomic.Pointer[pings] // Those of the link, nil while there is none.
	counters broker.Counters
	refusals [broker.Causes]atomic.Uint64
	warned   atomic.Bool // The log says that topics are refused.

	connected atomic.Bool
	confirmed atomic.Int64 // Channels, on this link.
	lastError atomic.Pointer[string]
}

// target says which server to talk to. resolve is asked before each connection; watch
// runs beside a link and returns an error when the link has to move to another server.
// It returns nil when ctx ends. waitMax bounds the wait for the next attempt behind one
// that has not come to work.
type target interface {
	resolve(ctx context.Context) (*goredis.Options, error)
	watch(ctx context.Context, addr string) error
	waitMax() time.Duration
}

// fixed is the target of a server that has the address of its URL for ever.
type fixed struct{ *upstream }

func (f fixed) resolve(context.Context) (*goredis.Options, error) { return f.at("", f.opts) }

func (fixed) waitMax() time.Duration { return broker.BackoffMax }

func (f fixed) watch(ctx context.Context, _ string) error {
	<-ctx.Done()
	return nil
}

// verbs are the commands of a kind of subscription, which are also the kinds of their
// confirmations.
type verbs struct {
	subscribe, unsubscribe string
	most                   int // Channels in one command.
}

var (
	channels = verbs{"subscribe", "unsubscribe", commandMax}
	patterns = verbs{"psubscribe", "punsubscribe", 1} // One, of all topics.
	// shards are subscribed on the node of a cluster that owns the channel's slot. All
	// channels of a command have to be in the same slot.
	shards = verbs{"ssubscribe", "sunsubscribe", 1}
)

func newServer(sh *shared, t target, v verbs, changed func(up bool)) *server {
	s := &server{shared: sh, target: t, verbs: v, wants: newWants(sh.owner), changed: changed}
	s.wants.blanket = v == patterns
	return s
}

// Room implements [broker.Source], as do Apply, Run and Stats.
func (s *server) Room() int { return aheadMax - s.wants.ahead() }

func (s *server) Apply(changes []topics.Change) { s.wants.apply(changes) }

func (s *server) Run(ctx context.Context) { s.reconnect(ctx, s.runLink) }

func (s *server) Stats() broker.Stats {
	st := broker.Stats{
		Connected: s.connected.Load(),
		Channels:  s.confirmed.Load(),
		Held:      int64(s.wants.len()),
		Behind:    int64(s.wants.lacking()),
		Refused:   s.wants.refusedNow(),
	}
	s.counters.AddTo(&st)
	for c := range s.refusals {
		st.Refusals[c] = s.refusals[c].Load()
	}
	if p := s.pings.Load(); p != nil {
		st.Lag, st.Heard = p.lag(time.Now()), p.upTo()
	}
	if e := s.lastError.Load(); e != nil {
		st.LastError = *e
	}
	return st
}

// reconnect runs one link after the other until ctx ends. A link calls up when its
// connection works.
//
// A link that worked for less than broker.BackoffMax does not count as a success: to
// subscribe to everything ten times a second would be what finally kills a Redis that
// cuts us off for our backlog.
func (s *server) reconnect(ctx context.Context, runLink func(context.Context, func()) error) {
	var (
		wait  broker.Backoff
		down  time.Time // When the outage began; zero while there is none.
		upped time.Time // When this link came to work; zero while it has not.
	)
	up := func() {
		upped = time.Now()
		s.counters[broker.Connects].Add(1)
		s.connected.Store(true)
		attrs := []any{"address", s.addr}
		if !down.IsZero() {
			attrs = append(attrs, "outage", time.Since(down).Round(time.Millisecond))
		}
		s.log.Info("feed up", attrs...)
		down = time.Time{}
	}
	for ctx.Err() == nil {
		upped = time.Time{}
		err := panics.Try(panics.Feed, func() error { return runLink(ctx, up) })
		s.connected.Store(false)
		s.changed(false)
		s.confirmed.Store(0)
		if ctx.Err() != nil {
			return
		}
		if !upped.IsZero() && time.Since(upped) >= broker.BackoffMax {
			wait.Reset()
		}
		if broken := (*resp.Error)(nil); errors.As(err, &broken) {
			s.counters[broker.Broken].Add(1)
		}
		if c := causeOf(err); c != broker.Unreachable {
			s.refusals[c].Add(1)
		}
		d := wait.Next()
		if upped.IsZero() {
			d = min(d, s.target.waitMax())
		}
		stack := panics.Attrs(err)
		if down.IsZero() || stack != nil {
			if down.IsZero() {
				down = time.Now()
			}
			s.log.Error("feed down", append([]any{"address", s.addr, "error", err,
				"hint", hint(err), "retry_in", d.Round(time.Millisecond)}, stack...)...)
		} else {
			s.log.Debug("feed still down", "address", s.addr, "error", err,
				"retry_in", d.Round(time.Millisecond))
		}
		text := err.Error()
		s.lastError.Store(&text) // Behind the log: who sees it finds it there.
		broker.Sleep(ctx, d)
	}
}

// receive takes a message or a confirmation from Redis that came in at a time. It waits for
// nothing. It is true if a subscription shows that ticks may have been missed.
func (s *server) receive(e resp.Event, at int64) (gap bool) {
	switch e.Kind {
	case resp.Message, resp.PMessage, resp.SMessage:
		if s.copies.expected && s.copies.isOne(&e) {
			return false
		}
		if !s.message(&e, at) {
			s.counters[broker.Unwanted].Add(1)
		}
		return false
	}
	s.copies.forget()
	s.confirmed.Store(e.Count)
	if s.wants.blanket {
		return string(e.Kind) == s.verbs.subscribe && s.wants.cover()
	}
	if e.Kind == resp.PSubscribe || e.Kind == resp.PUnsubscribe {
		s.patternAnswered(e)
		return false
	}
	topic, ok := s.channel.topic(text(e.Channel))
	switch {
	case !ok:
	case string(e.Kind) == s.verbs.subscribe:
		s.wants.answer(subscribe, topic)
		return s.wants.confirm(topic)
	case string(e.Kind) == s.verbs.unsubscribe:
		if !s.wants.answer(unsubscribe, topic) && s.moved != nil {
			s.wants.lost(topic) // Nobody asked for it.
			s.moved()
		}
	}
	return false
}

// message takes a message, and is false if it is of no topic that is wanted here.
func (s *server) message(e *resp.Event, at int64) (wanted bool) {
	topic, ok := s.channel.topic(text(e.Channel))
	if !ok || e.Channel == nil {
		return false
	}
	switch {
	case s.wants.blanket: // Then most may be unwanted, and need not be looked at.
		if _, held := s.owner.Mark(topic); !held && !s.wants.coverage.covers(topic) {
			return false
		}
	case e.Kind == resp.PMessage:
		if !s.wants.coverage.covers(topic) {
			return false
		}
		if s.wants.has(topic) { // By its own subscription it comes, or will.
			return true
		}
	}
	take := func() {
		if e.Skipped > 0 {
			s.owner.Drop(topic, "", e.Skipped, broker.TooBig)
			return
		}
		s.owner.Tick(topic, text(e.Payload), at)
	}
	if s.moved != nil {
		return s.wants.deliver(topic, take)
	}
	take()
	return true
}

// text is b as a string that is valid as long as b is. It is for what is looked up, checked or
// copied: a caller that keeps it has to clone it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// refuse deals with an error in place of a confirmation. Those that concern some
// topics only must not end the connection: clients choose the topics, and one could
// end the feed of all others with a name that Redis does not permit.
func (s *server) refuse(err error) error {
	c := causeOf(err)
	if s.moved != nil && isMisplaced(err) {
		s.refusals[c].Add(1)
		s.wants.misplaced(c, func(topic string) bool {
			slot, given := slotIn(err)
			return !given || slot == slotOf(s.channel.name(topic))
		})
		s.moved()
		return nil
	}
	if _, owed := s.wants.unanswered(); s.wants.blanket || !owed || concernsAll(err) || c == broker.Elsewhere {
		return err
	}
	s.refusals[c].Add(1)
	if of, tell := s.wants.patternRefused(c); of.name != "" {
		if tell {
			s.tellPattern(c, err, of)
		}
		return nil
	}
	switch kept := s.wants.keep(); {
	case kept > keptMax:
		return fmt.Errorf("%s: %w", s.verbs.unsubscribe, err)
	case kept > 0:
		s.tellKept(c, err)
	default:
		topic, first := s.wants.refused(c)
		s.tellRefused(c, err, topic, first)
	}
	return nil
}

// redisError is what Redis says in place of an answer.
type redisError string

func (e redisError) Error() string { return string(e) }

// RedisError makes it one of those that go-redis can tell apart.
func (redisError) RedisError() {}

// What ends a link that is there and does not serve.
var (
	errSilent     = errors.New("nothing was received within the timeout, pongs included")
	errUnanswered = errors.New("a SUBSCRIBE or UNSUBSCRIBE was not answered within the timeout, though other things were received")
	errNoPong     = errors.New("a PING was not answered within the timeout, though other things were received")
)
