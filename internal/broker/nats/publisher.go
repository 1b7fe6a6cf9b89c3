// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// publisher writes ticks into NATS. Into a stream it writes a tick with a version only if the newest message
// of its subject is the one that it knows, and has a lower version (fence.go). Without a stream nobody holds
// values, so nobody can refuse one: then it answers those who ask for what it has published (responder.go).
type publisher struct {
	*upstream
	ctx context.Context
	log *slog.Logger

	link      *writer // Nil while there is none.
	known     known
	responder *responder

	connected atomic.Bool // The last attempt went through.
	down      bool        // The last attempt failed, and that was logged.
	told      time.Time   // When it was logged that values are refused.
	looked    time.Time   // When it was looked for a stream.
}

func newPublisher(ctx context.Context, u *upstream, log *slog.Logger) *publisher {
	return &publisher{upstream: u, ctx: ctx, log: log, known: newKnown(), responder: newResponder()}
}

// Connected implements [broker.Publisher], as do Close and Publish.
func (p *publisher) Connected() bool { return p.connected.Load() }

func (p *publisher) Close() { p.drop() }

// drop ends the connection. What it was about to write is unknown.
func (p *publisher) drop() {
	if p.link != nil {
		p.link.c.Conn.Close()
		p.link = nil
	}
}

// item is one tick on its way.
type item struct {
	tick    *broker.Tick
	subject string
	value   []byte
	// It was sent and is not answered for; it was taken; it may have been taken by an attempt that failed.
	sent, taken, doubtful bool // Of one that is refused taken is set too.
}

func (p *publisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	items := p.items(ticks)
	var wait backoff
	for {
		err := p.try(ctx, &items)
		if err == nil {
			break
		}
		p.drop()
		if ctx.Err() != nil || p.ctx.Err() != nil {
			return false
		}
		p.connected.Store(false)
		d := wait.next()
		if !p.down { // Said once per outage.
			p.down = true
			p.log.Error("publisher down", "address", p.shown, "error", err, "hint", hint(err), "retry_in", d.Round(time.Millisecond))
		}
		if !sleep(ctx, d) {
			return false
		}
	}
	p.down = false
	if !p.connected.Swap(true) {
		p.log.Info("publisher up", "address", p.shown)
	}
	return true
}

// items are the ticks that are to be written. The others have their fates: what can't be written, and what
// has a newer one of its topic beside it.
func (p *publisher) items(ticks []broker.Tick) []*item {
	items := make([]*item, 0, len(ticks))
	newest := make(map[string]*item)
	for i := range ticks {
		t := &ticks[i]
		if broker.CheckTick(*t) != nil {
			t.Fate = broker.Flawed
			continue
		}
		it := &item{tick: t, subject: p.subjects.of(t.Topic), value: t.Value}
		if t.Ver > 0 {
			it.value, _ = broker.Stamp(t.Value, t.Ver) // It was checked.
			if other := newest[t.Topic]; other != nil {
				if other.tick.Ver >= t.Ver {
					t.Fate = broker.Superseded
					continue
				}
				other.tick.Fate, other.tick = broker.Superseded, nil
			}
			newest[t.Topic] = it
		}
		items = append(items, it)
	}
	kept := items[:0]
	for _, it := range items {
		if it.tick != nil {
			kept = append(kept, it)
		}
	}
	return kept
}

// writer is a connection of a publisher.
type writer struct {
	c      *conn
	stream string // "" if there is none.
	blind  bool   // It is not permitted to look for one.
	inbox  string
	said   chan answer
	round  uint64
}

// answer is one to a question with a token.
type answer struct {
	token   string
	subject string // In place of token, of a message that is refused.
	data    []byte
	err     error
}

// tell passes an answer on to whom awaits it.
func (w *writer) tell(a answer) {
	select {
	case w.said <- a:
	default: // An answer that is not awaited any more.
	}
}

// try writes what is left of items, and takes out what has its fate.
func (p *publisher) try(ctx context.Context, items *[]*item) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	if p.link.stream != "" {
		return p.fence(ctx, items)
	}
	for part := range slices.Chunk(*items, flightMax) { // So said has room for what is refused.
		if err := p.write(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// write writes items where no stream takes them. A server says of each that it refuses, and of none that it has taken.
func (p *publisher) write(ctx context.Context, items []*item) error {
	c, before := p.link.c, p.link.c.LastError()
	for _, it := range items {
		it.tick.Fate = broker.Taken
		switch err := c.Publish(it.subject, it.value); {
		case errors.Is(err, natsgo.ErrMaxPayload):
			p.refuse(it, err)
		case err != nil:
			return err
		default:
			p.responder.keep(it.subject, it.value)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if err := c.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if last := c.LastError(); last != before && errors.Is(last, natsgo.ErrPermissionViolation) {
		if err := c.awaitSaid(ctx, last); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	for {
		select {
		case a := <-p.link.said:
			for _, it := range items {
				if it.subject == a.subject && it.tick.Fate == broker.Taken {
					p.refuse(it, a.err)
				}
			}
		case err := <-c.failed:
			return err
		default:
			return nil
		}
	}
}

// refuse sets the fate of an item that the broker does not take, which holds up no others.
func (p *publisher) refuse(it *item, err error) {
	it.tick.Fate, it.taken = broker.Flawed, true
	p.responder.forget(it.subject, it.value)
	if time.Since(p.told) > tellRefused {
		p.told = time.Now()
		p.log.Warn("nats: values are refused", "topic", it.tick.Topic, "error", err, "hint", hint(err))
	}
}

func (p *publisher) connect(ctx context.Context) (err error) {
	if p.link != nil {
		select {
		case err := <-p.link.c.failed:
			p.drop()
			return err
		case <-p.link.c.lame:
			p.drop()
		default:
			if !p.hasNewStream(ctx) {
				return nil
			}
			p.drop()
		}
	}
	w := &writer{said: make(chan answer, 4*flightMax)}
	if w.c, err = p.dial(p.ctx, "tickedge publisher"); err != nil {
		return err
	}
	c := w.c
	p.looked = time.Now()
	stream, permitted, err := p.findPermitted(ctx, c)
	w.blind = !permitted
	if w.stream, err = p.orMake(ctx, c, stream, err); err != nil {
		c.Conn.Close()
		return err
	}
	c.onDenied(func(subject string, publish bool) {
		err := fmt.Errorf("not permitted: permissions violation for %q", subject)
		switch {
		case publish && !strings.HasPrefix(subject, api) && !strings.HasPrefix(subject, natsgo.InboxPrefix):
			w.tell(answer{subject: subject, err: err})
		case publish || subject != newestSubject:
			c.fail(err)
		}
	})
	if w.stream != "" {
		err = w.listen()
	} else {
		err = p.responder.serve(w.c)
	}
	if err != nil {
		w.c.Conn.Close()
		return err
	}
	p.link = w
	return nil
}

// hasNewStream reports whether there is a stream by now, where there was none: without, nobody refuses an old tick.
func (p *publisher) hasNewStream(ctx context.Context) bool {
	if p.mode != auto || p.link.stream != "" || p.link.blind || time.Since(p.looked) < lookEvery {
		return false
	}
	p.looked = time.Now()
	stream, err := p.find(ctx, p.link.c)
	return err == nil && stream != ""
}

// orMake returns what find did, or makes the stream if the URL names one that does not exist.
func (p *publisher) orMake(ctx context.Context, c *conn, stream string, err error) (string, error) {
	if said := (*apiError)(nil); p.stream == "" || !errors.As(err, &said) || said.Code != 404 {
		return stream, err
	}
	err = p.ask(ctx, c, "STREAM.CREATE."+p.stream, map[string]any{
		"name": p.stream, "subjects": []string{p.subjects.all()}, "retention": "limits", "storage": "file", "discard": "old",
		"max_msgs_per_subject": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 1, "allow_direct": true,
	}, new(streamInfo))
	if err != nil {
		return "", fmt.Errorf("make the stream: %w", err)
	}
	p.log.Info("stream made", "stream", p.stream, "subjects", p.subjects.all())
	return p.stream, nil
}
