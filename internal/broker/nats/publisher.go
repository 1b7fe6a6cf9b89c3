// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

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
	sent, taken, doubtful bool
}

func (p *publisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	items := p.items(ticks)
	var wait broker.Backoff
	for {
		err := p.try(ctx, &items)
		if err == nil {
			break
		}
		p.drop()
		p.connected.Store(false)
		if ctx.Err() != nil || p.ctx.Err() != nil {
			return false
		}
		d := wait.Next()
		if !p.down { // Said once per outage.
			p.down = true
			p.log.Error("publisher down", "address", p.shown, "error", err, "hint", hint(err), "retry_in", d.Round(time.Millisecond))
		}
		if !broker.Sleep(ctx, d) {
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
	inbox  string
	said   chan answer
	round  uint64
}

// answer is one to a question with a token.
type answer struct {
	token string
	data  []byte
	err   error
}

// try writes what is left of items, and takes out what has its fate.
func (p *publisher) try(ctx context.Context, items *[]*item) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	if p.link.stream != "" {
		return p.fence(ctx, items)
	}
	for _, it := range *items {
		if err := p.link.c.Publish(it.subject, it.value); err != nil {
			return err
		}
		p.responder.keep(it.subject, it.value)
		it.tick.Fate = broker.Taken
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if err := p.link.c.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	select {
	case err := <-p.link.c.failed:
		return err
	default:
		return nil
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
			return nil
		}
	}
	w := &writer{said: make(chan answer, 4*flightMax)}
	if w.c, err = p.dial(p.ctx, "tickedge publisher"); err != nil {
		return err
	}
	c := w.c
	c.onDenied(func(subject string, publish bool) {
		if publish || subject != newestSubject {
			c.fail(fmt.Errorf("not permitted: permissions violation for %q", subject))
		}
	})
	if w.stream, err = p.findOrMake(ctx, w.c); err == nil && w.stream != "" {
		err = w.listen()
	} else if err == nil {
		err = p.responder.serve(w.c)
	}
	if err != nil {
		w.c.Conn.Close()
		return err
	}
	p.link = w
	return nil
}

// findOrMake returns the name of the stream, which is made if the URL names one that does not exist.
func (p *publisher) findOrMake(ctx context.Context, c *conn) (string, error) {
	stream, err := p.find(ctx, c)
	said := (*apiError)(nil)
	if missing := err == nil && stream == "" || errors.As(err, &said) && said.Code == 404; !missing || p.stream == "" {
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
