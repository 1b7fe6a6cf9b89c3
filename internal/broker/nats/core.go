// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
)

const (
	// subscribeMax bounds the topics that are subscribed with one flush.
	subscribeMax = 500
	// askingMax bounds the questions that are open.
	askingMax = 32
)

// coreLink is a link without a stream: each topic is a subscription, or one brings all. Nobody keeps
// newest values but publishers that answer questions for them. Messages are taken by the goroutine that
// reads, in their order: when a flush has come back, all that was received before it was taken.
type coreLink struct {
	s       *source
	c       *conn
	probes  probes
	at      int64         // When something was read last. Of the reader.
	live    atomic.Int64  // Subscriptions that the server has.
	unheard atomic.Int64  // Nobody answers questions until then, in Unix nanoseconds.
	mute    chan struct{} // Closed when questions are not permitted.
	silence func()        // Closes it.
	blind   atomic.Bool   // It is not permitted to look for a stream.
	asking  chan struct{} // Has an element for each question that is open.
	inbox   inbox

	subs   []*want // By the number of their subscription, those that were ended included until the number is used again. Of source.mu.
	free   []int   // Numbers to be used again. Of source.mu.
	extra  int     // Subscriptions of the flush that is under way which the server has no room for. Of source.mu.
	covers int     // How many covers were subscribed. Of source.mu.
	over   bool    // The link has ended: what was read and not taken is not taken any more. Of source.mu.
}

func newCoreLink(s *source, c *conn) *coreLink {
	l := &coreLink{s: s, c: c, mute: make(chan struct{}), asking: make(chan struct{}, askingMax)}
	l.silence = sync.OnceFunc(func() { close(l.mute) })
	return l
}

func (l *coreLink) lag(now time.Time) time.Duration { return l.probes.lag(now) }
func (l *coreLink) heard() time.Time                { return l.probes.heard() }
func (l *coreLink) channels() int64                 { return l.live.Load() }

func (l *coreLink) run(ctx context.Context, cancel context.CancelCauseFunc, up func(address, how string)) error {
	defer func() {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.over = true
	}()
	l.c.deliver(l.take)
	if err := l.inbox.listen(l.c); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if l.s.wildcard {
		if _, err := l.c.tap.Write(subscribe(nil, l.s.subjects.all(), 0)); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		l.live.Store(1)
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-l.c.failed: // There is no room for these.
		return err
	default:
	}
	l.c.onFull(l.noRoom)
	up(l.c.ConnectedAddr(), "core")
	l.s.begin(l, true, true)
	return l.c.runAll(ctx, cancel, l.work, l.beat)
}

// flush waits until the server has taken all that was written.
func (l *coreLink) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.s.timeout)
	defer cancel()
	if err := l.c.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// take takes a message, on the goroutine that reads.
func (l *coreLink) take(m *wireMessage) {
	s := l.s
	if m.fresh {
		l.at = s.owner.Now()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.over {
		return
	}
	value := unsafe.String(unsafe.SliceData(m.payload), len(m.payload))
	var w *want
	if s.wildcard || m.sub >= coverSub {
		if w = s.wants[string(m.subject)]; w == nil {
			s.tellCovered(unsafe.String(unsafe.SliceData(m.subject), len(m.subject)), value, m.size, l.at)
			return
		}
	} else if m.sub < len(l.subs) {
		w = l.subs[m.sub]
	}
	if m.sub >= coverSub { // By its own subscription it comes behind, if there is one.
		w.owed = w.subscription != 0
		return
	}
	// A message may be on its way by a number that has another topic now.
	if w == nil || w.gone && !w.owed || w.subject != string(m.subject) {
		s.counters[broker.Unwanted].Add(1)
		return
	}
	w.ticked, w.owed = true, false
	if m.size > int64(len(m.payload)) {
		s.owner.Drop(w.topic, value, m.size, broker.TooBig)
		return
	}
	s.tick(w.topic, value, l.at, s.parentOf(m.header))
}

// work subscribes topics and asks for their newest values.
func (l *coreLink) work(ctx context.Context) error {
	var asked sync.WaitGroup
	defer asked.Wait()
	for {
		s := l.s
		s.mu.Lock()
		gone := s.gone
		s.gone = nil
		taken := s.take(subscribeMax)
		s.mu.Unlock()
		l.drop(gone)
		if len(taken) > 0 {
			if err := l.subscribe(ctx, taken); err != nil {
				return err
			}
			l.newest(ctx, taken, &asked)
		}
		if err := l.cover(ctx); err != nil {
			return err
		}
		if len(taken) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// drop ends subscriptions. Their wants are not in the source any more.
func (l *coreLink) drop(gone []*want) {
	var text []byte
	l.s.mu.Lock()
	for _, w := range gone {
		text = l.end(text, w)
	}
	l.s.mu.Unlock()
	if len(text) > 0 {
		_, _ = l.c.tap.Write(text) // It fails only if the connection has ended.
	}
}

// end appends what ends a subscription. The caller holds source.mu.
func (l *coreLink) end(text []byte, w *want) []byte {
	if w.subscription == 0 {
		return text
	}
	n := w.subscription - 1
	w.subscription, l.subs[n] = 0, nil
	l.free = append(l.free, n)
	l.live.Add(-1)
	return unsubscribe(text, n)
}

// subscribe subscribes topics, and returns when the server has taken that.
func (l *coreLink) subscribe(ctx context.Context, taken []*want) error {
	if l.s.wildcard {
		return l.flush(ctx)
	}
	var text []byte
	begun := make([]*want, 0, len(taken))
	l.s.mu.Lock()
	l.extra = 0
	for _, w := range taken {
		before := len(text)
		if text = l.begin(text, w); len(text) > before {
			begun = append(begun, w)
		}
	}
	l.s.mu.Unlock()
	if _, err := l.c.tap.Write(text); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	l.refuseExtra(begun)
	return nil
}

// begin appends what subscribes a topic. The caller holds source.mu.
func (l *coreLink) begin(text []byte, w *want) []byte {
	if !l.s.isBusy(w) || w.subscription != 0 {
		return text
	}
	n := len(l.subs)
	if last := len(l.free) - 1; last >= 0 {
		n, l.free = l.free[last], l.free[:last]
		l.subs[n] = w
	} else {
		l.subs = append(l.subs, w)
	}
	w.subscription = n + 1
	l.live.Add(1)
	return subscribe(text, w.subject, n)
}

// newest asks for the newest values of topics that were just subscribed, and has the answers taken behind
// all messages that were received before them. It does not wait for them: a publisher that is there and
// does not answer holds nobody up.
func (l *coreLink) newest(ctx context.Context, taken []*want, asked *sync.WaitGroup) {
	for len(taken) > 0 {
		part := taken[:min(len(taken), newestMax)]
		taken = taken[len(part):]
		asked.Go(func() {
			err := panics.Try(panics.Feed, func() error { return l.ask(ctx, part) })
			if err != nil && ctx.Err() == nil {
				l.c.fail(err)
			}
		})
	}
}

func (l *coreLink) ask(ctx context.Context, part []*want) error {
	select {
	case l.asking <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-l.asking }()
	values, answered := l.values(ctx, part)
	if err := l.flush(ctx); err != nil { // All that was published before the answer has been received behind it.
		return err
	}
	l.settle(part, values, answered)
	return nil
}

// answerWait is how long further publishers have to answer behind the first.
const answerWait = 100 * time.Millisecond

// values asks publishers for newest values, by subject, and reports whether any has answered.
func (l *coreLink) values(ctx context.Context, part []*want) (values map[string]string, answered bool) {
	now := time.Now()
	if now.UnixNano() < l.unheard.Load() {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, l.s.timeout)
	defer cancel()
	go func() {
		select {
		case <-l.mute:
			cancel()
		case <-ctx.Done():
		}
	}()
	values, err := l.collect(ctx, part)
	if err != nil {
		if !errors.Is(err, natsgo.ErrNoResponders) {
			l.s.counters[broker.FetchFailures].Add(uint64(len(part)))
		}
		l.unheard.Store(now.Add(beatEvery).UnixNano())
	}
	return values, err == nil
}

// settle takes the newest values of topics. One without, that had ticks before, may have missed some: it is
// stale until its next tick, or until its value comes.
func (l *coreLink) settle(part []*want, values map[string]string, answered bool) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range part {
		value, has := values[w.subject]
		switch {
		case !s.isBusy(w):
		case w.refusals > 0 && w.cause == broker.NotPermitted && !w.trial && !w.ticked:
			// That it is refused again may be known only in a moment: it has a second for that.
			w.trial = true
			s.wait(w, 1)
		case has:
			s.commit(w, value)
		case w.ticked, w.mark == 0 && answered:
			s.owner.Absent(w.topic)
			s.finish(w)
		default:
			s.unconfirm(w)
		}
	}
}

// unconfirm notes that nobody has answered for the value of a topic: if it has had ticks it is stale, and it is asked
// for again until somebody answers, or it ticks. Its publisher may come back later than we have.
func (s *source) unconfirm(w *want) {
	if !w.unconfirmed {
		s.owner.Absent(w.topic)
		if w.mark != 0 {
			s.owner.GoStale(w.topic, w.mark, broker.Unconfirmed)
		}
	}
	w.unconfirmed, w.read, w.trial, w.refusals = true, true, false, 0
	w.fails++
	s.blame(w, broker.NoCause)
	s.settle(w)
	s.wait(w, w.fails)
	s.look()
}

// denied takes that a subject is not permitted.
func (l *coreLink) denied(subject string, publish bool) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wants[subject]
	switch {
	case publish && subject == newestSubject: // As if nobody answered.
		l.silence()
	case publish:
		l.blind.Store(true)
	case s.wildcard && subject == s.subjects.all():
		l.c.fail(fmt.Errorf("not permitted: permissions violation for subscription to %q", subject))
	case s.covers[subject] != nil:
		if c := s.covers[subject]; c.number != 0 {
			l.refuseCover(c, broker.NotPermitted, fmt.Errorf("not permitted: permissions violation for subscription to %q", subject), subject)
		}
	case w != nil:
		if text := l.end(nil, w); text != nil {
			go func() { _, _ = l.c.tap.Write(text) }() // It fails only if the connection has ended.
		}
		if w.state == refused {
			delete(s.waiting, w)
		}
		s.deny(w, broker.NotPermitted, fmt.Sprintf("not permitted: permissions violation for subscription to %q", subject), true)
	}
}

// beat looks after the link each second.
func (l *coreLink) beat(ctx context.Context) error {
	t := time.NewTicker(min(beatEvery, l.s.timeout/3))
	defer t.Stop()
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			l.s.retry(now)
			if l.probes.ask(now) {
				if err := l.flush(ctx); err != nil {
					return err
				}
				l.probes.answered(time.Now())
			} else if l.probes.overdue(now, l.s.timeout) {
				return errSlow
			}
			if l.s.mode == auto && !l.blind.Load() && now.Sub(looked) > lookEvery {
				looked = now
				if name, err := l.s.find(ctx, l.c); err == nil && name != "" {
					return errStream
				}
			}
		}
	}
}
