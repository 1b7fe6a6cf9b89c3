// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

// State is how much a value can be relied on.
type State string

const (
	Waiting      State = "waiting"      // No value came yet on this connection. One that was there before is in Value.
	Live         State = "live"         // Value is the newest.
	Delisted     State = "delisted"     // The source has withdrawn the topic: it has no value, until one comes.
	Stale        State = "stale"        // No tick came for longer than is to be expected, or the edge can't get the topic; see Code.
	Down         State = "down"         // The edge has lost the source of the ticks.
	Reconnecting State = "reconnecting" // The client has lost the edge. Reason says why.
	Rejected     State = "rejected"     // The edge does not give this topic; see Code and Reason, and Update.Err.
)

// Update is what is the newest of a topic when it is taken.
type Update struct {
	Topic string
	State State

	// Value is the newest value that came, as it was published; nil if none did, or the topic is delisted. It is the caller's own.
	Value json.RawMessage
	// New says that this subscription has not had the value before. Other updates tell of a state.
	New bool
	// N is how many ticks of the topic that edge has seen. It begins anew with a connection.
	N uint64
	// Conflated is how many ticks there were between this value and the one before it that this subscription took, as far as
	// that can be known: 0 over a reconnect. It is 0 if New is not set.
	Conflated uint64
	// At is when the edge has sent the value, by its clock, to a millisecond.
	At time.Time

	// Code and Reason say why the topic is stale, rejected or waits for a connection. Code is that of docs/PROTOCOL.md, a
	// close code or the status of a refused handshake; 0 if there is none.
	Code   int
	Reason string
	// Temporary says of a rejected topic that the client asks again within seconds.
	Temporary bool
}

// Err returns a [*TopicError] if the topic is rejected, otherwise nil.
func (u Update) Err() error {
	if u.State != Rejected {
		return nil
	}
	return &TopicError{Topic: u.Topic, Code: u.Code, Reason: u.Reason, Temporary: u.Temporary}
}

// TopicError is a topic that an edge has rejected, or has taken from the connection (Code 0).
type TopicError struct {
	Topic     string
	Code      int // One of docs/PROTOCOL.md.
	Reason    string
	Temporary bool // The client asks again within seconds.
}

func (e *TopicError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("tickedge: topic %q: %s", e.Topic, e.Reason)
	}
	return fmt.Sprintf("tickedge: topic %q: %d %s", e.Topic, e.Code, e.Reason)
}

// standing is a state and why.
type standing struct {
	state     State
	code      int
	reason    string
	temporary bool
}

// slot is what one subscription has not taken yet of one topic. The client's mutex guards it.
type slot struct {
	topic     *topic
	queued    bool
	fresh     bool   // There is a value that was not taken.
	conflated uint64 // Before that value.
	told      standing
}

// Subscription is some topics of a client. Its memory is that of its topics, however slowly it is read.
type Subscription struct {
	client *Client
	slots  map[string]*slot
	queue  []*slot       // Those with news, each once; the oldest news first.
	notify chan struct{} // Holds one: the queue is not empty, or the subscription has ended.
	err    error
	stop   func() bool
}

// put notes that there is news of a topic. The client's mutex is held, as in all that follows but the exported.
func (s *Subscription) put(l *slot) {
	if l.queued || s.err != nil {
		return
	}
	l.queued = true
	s.queue = append(s.queue, l)
	s.ring()
}

func (s *Subscription) ring() {
	select {
	case s.notify <- struct{}{}:
	default:
	}
}

// take returns the oldest news.
func (s *Subscription) take() (u Update, ok bool) {
	for len(s.queue) > 0 {
		l := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		l.queued = false
		t, now := l.topic, l.topic.told
		if !l.fresh && l.told == now {
			continue // It has changed and changed back.
		}
		u = Update{
			Topic: t.name, State: now.state, Code: now.code, Reason: now.reason, Temporary: now.temporary,
			Value: bytes.Clone(t.value), New: l.fresh, N: t.n, At: t.at, Conflated: l.conflated,
		}
		l.fresh, l.conflated, l.told = false, 0, now
		return u, true
	}
	return Update{}, false
}

// Next waits for news of any topic and returns it. What was there when the subscription ended is returned before the error,
// which is [ErrClosed], a [*ConnError] or that of a context, and the same from then on.
func (s *Subscription) Next(ctx context.Context) (Update, error) {
	return await(ctx, s.notify, func() (u Update, ok bool, err error) {
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		if u, ok = s.take(); len(s.queue) > 0 || s.err != nil {
			s.ring() // For whoever else waits.
		}
		return u, ok, s.err
	})
}

// All returns what [Subscription.Next] does, one after the other. The last of it is an error, and comes once.
func (s *Subscription) All(ctx context.Context) iter.Seq2[Update, error] { return all(ctx, s.Next) }

// Close ends the subscription. Topics that no other one of the client has are unsubscribed. Closing twice is no error.
func (s *Subscription) Close() { s.end(ErrClosed) }

func (s *Subscription) end(err error) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.err != nil {
		return
	}
	s.finish(err)
	for name, l := range s.slots {
		t := l.topic
		if delete(t.subs, s); len(t.subs) > 0 || c.topics[name] != t {
			continue
		}
		delete(c.topics, name)
		if t.phase == asked || t.phase == held {
			c.leaving[name] = struct{}{}
		}
	}
	c.poke()
}

func (s *Subscription) finish(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.stop()
	s.ring()
}
