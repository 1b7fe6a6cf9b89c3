// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
	looked    time.Time   // When it was looked for a stream.

	refusals broker.Refusals
	told     time.Time // When it was logged that ticks are refused.
}

func newPublisher(ctx context.Context, u *upstream, log *slog.Logger) *publisher {
	return &publisher{upstream: u, ctx: ctx, log: log, known: newKnown(), responder: newResponder()}
}

// Connected implements [broker.Publisher], as does Close.
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
	// It was sent and is not answered for; it has its fate; it may have been taken by an attempt that failed.
	sent, settled, doubtful bool
}

// refuse settles a tick that the server does not take.
func (p *publisher) refuse(it *item, f broker.Fate, why error) {
	it.tick.Fate, it.settled = f, true
	if time.Since(p.told) > tellRefused {
		p.told = time.Now()
		p.log.Warn("publisher: ticks are refused, and not written", "topic", it.tick.Topic, "subject", it.subject, "error", why,
			"hint", hint(why))
	}
}

// open are the items that have no fate.
func open(items []*item) (left []*item) {
	left = items[:0]
	for _, it := range items {
		if !it.settled {
			left = append(left, it)
		}
	}
	return left
}

// headerMost is the length of the header by which a tick with a version is published: one line, and its number.
const headerMost = len("NATS/1.0\r\n" + expectSequence + ": 18446744073709551615\r\n\r\n")

// refuseLong settles ticks that are longer than a message may be. The server would end the connection.
func (p *publisher) refuseLong(items []*item) []*item {
	most := int(p.link.c.MaxPayload())
	for _, it := range items {
		size := len(it.value)
		if it.tick.Ver > 0 && p.link.stream != "" {
			size += headerMost
		}
		if it.tick.Trace != "" {
			size += traceMost
		}
		if size > most {
			p.refuse(it, broker.TooLarge, fmt.Errorf("%w: %d bytes, max_payload is %d", natsgo.ErrMaxPayload, size, most))
		}
	}
	return open(items)
}

// Publish implements [broker.Publisher].
func (p *publisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	return p.refusals.Publish(ticks, func(ticks []broker.Tick) bool { return p.publish(ctx, ticks) })
}

func (p *publisher) publish(ctx context.Context, ticks []broker.Tick) bool {
	items := p.items(ticks)
	var wait broker.Backoff
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
	blind  bool   // It is not permitted to look for one.
	inbox  string
	said   chan answer
	round  uint64

	mu     sync.Mutex
	denied map[string]bool // Subjects that may not be published, without a stream, as of one flush.
}

// answer is one to a question with a token.
type answer struct {
	token  string
	data   []byte
	err    error
	denied string // In place of a token: the subject that may not be published.
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
	if *items = p.refuseLong(*items); p.link.stream != "" {
		return p.fence(ctx, items)
	}
	return p.write(ctx, *items)
}

// write publishes without a stream. That a subject is not permitted is known when the flush has come back.
func (p *publisher) write(ctx context.Context, items []*item) error {
	w := p.link
	w.mu.Lock()
	w.denied = make(map[string]bool)
	w.mu.Unlock()
	for _, it := range items {
		p.responder.keep(it.subject, it.value) // Before anybody may hear it.
		m := &natsgo.Msg{Subject: it.subject, Data: it.value}
		if w.c.HeadersSupported() {
			traced(m, it.tick)
		}
		if err := w.c.PublishMsg(m); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if err := w.c.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	select {
	case err := <-w.c.failed:
		return err
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, it := range items {
		if w.denied[it.subject] {
			p.refuse(it, broker.Forbidden, errForbidden(it.subject))
			p.responder.forget(it.subject, it.value)
			continue
		}
		it.tick.Fate = broker.Taken
	}
	return nil
}

func errForbidden(subject string) error {
	return fmt.Errorf("not permitted: permissions violation for publish to %q", subject)
}

// forbidden takes that a subject is not permitted, on the goroutine that reads. What is asked of JetStream is for all
// topics; who asks for newest values may not be answered.
func (w *writer) forbidden(subject string, publish bool) {
	switch {
	case !publish && subject == newestSubject:
	case !publish, strings.HasPrefix(subject, api):
		w.c.fail(fmt.Errorf("not permitted: permissions violation for %q", subject))
	case w.stream != "":
		w.tell(answer{denied: subject})
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.denied != nil && len(w.denied) < deniedMax {
			w.denied[subject] = true
		}
	}
}

// deniedMax bounds the subjects that one flush finds not permitted.
const deniedMax = 1 << 16

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
	p.looked = time.Now()
	stream, permitted, err := p.findPermitted(ctx, w.c)
	w.blind = !permitted
	w.c.onDenied(w.forbidden)
	if w.stream, err = p.orMake(ctx, w.c, stream, err); err != nil {
		w.c.Conn.Close()
		return err
	}
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
