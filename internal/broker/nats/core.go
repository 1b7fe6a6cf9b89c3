// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

const (
	// queueMax bounds the messages that nats.go has read and the receiver has not taken. Beyond it some are
	// dropped, which is a gap.
	queueMax = 65536
	// subscribeMax bounds the topics that are subscribed with one flush.
	subscribeMax = 500
)

// coreLink is a link without a stream: each topic is a subscription, or one brings all. Nobody keeps
// newest values but publishers that answer questions for them. All messages come through one channel, in
// the order in which they were received, and so does what has to wait for those before it.
type coreLink struct {
	s        *source
	c        *conn
	messages chan *natsgo.Msg
	probes   probes
	live     atomic.Int64  // Subscriptions that the server has.
	unheard  atomic.Int64  // Nobody answers questions until then, in Unix nanoseconds.
	mute     chan struct{} // Closed when questions are not permitted.
	silence  func()        // Closes it.

	mu     sync.Mutex
	behind map[string]func() // What is to be done behind the messages before it, by the name of its marker.
	last   uint64
}

func newCoreLink(s *source, c *conn) *coreLink {
	l := &coreLink{s: s, c: c, messages: make(chan *natsgo.Msg, queueMax), behind: make(map[string]func()), mute: make(chan struct{})}
	l.silence = sync.OnceFunc(func() { close(l.mute) })
	return l
}

func (l *coreLink) lag(now time.Time) time.Duration { return l.probes.lag(now) }
func (l *coreLink) heard() time.Time                { return l.probes.heard() }
func (l *coreLink) channels() int64                 { return l.live.Load() }

func (l *coreLink) run(ctx context.Context, cancel context.CancelCauseFunc, up func(address, how string)) error {
	if l.s.wildcard {
		if _, err := l.c.ChanSubscribe(l.s.subjects.all(), l.messages); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		l.live.Store(1)
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	up(l.c.ConnectedAddr(), "core")
	l.s.begin(l, true, true)
	return l.c.runAll(ctx, cancel, l.receive, l.work, l.beat)
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

// receive takes messages.
func (l *coreLink) receive(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-l.messages:
			if m.Sub == nil {
				l.reach(m.Subject)
			} else {
				l.take(m)
			}
		}
	}
}

func (l *coreLink) take(m *natsgo.Msg) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wants[m.Subject]
	if w == nil {
		s.counters[broker.Unwanted].Add(1)
		return
	}
	w.ticked = true
	s.owner.Tick(w.topic, unsafe.String(unsafe.SliceData(m.Data), len(m.Data)), s.owner.Now())
}

// after has something done when the receiver has taken all that was received by now. It is false when ctx
// ends before there is room.
func (l *coreLink) after(ctx context.Context, do func()) bool {
	l.mu.Lock()
	l.last++
	name := strconv.FormatUint(l.last, 10)
	l.behind[name] = do
	l.mu.Unlock()
	select {
	case l.messages <- &natsgo.Msg{Subject: name}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *coreLink) reach(name string) {
	l.mu.Lock()
	do := l.behind[name]
	delete(l.behind, name)
	l.mu.Unlock()
	do()
}

// work subscribes topics and asks for their newest values.
func (l *coreLink) work(ctx context.Context) error {
	for {
		s := l.s
		s.mu.Lock()
		gone := s.gone
		s.gone = nil
		taken := s.take(subscribeMax)
		s.mu.Unlock()
		for _, w := range gone {
			l.drop(w)
		}
		if len(taken) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-s.wake:
			}
			continue
		}
		if err := l.subscribe(ctx, taken); err != nil {
			return err
		}
		l.newest(ctx, taken)
	}
}

// drop ends a subscription. Its want is not in the source any more.
func (l *coreLink) drop(w *want) {
	if sub, ok := w.subscription.(*natsgo.Subscription); ok {
		_ = sub.Unsubscribe() // It fails only if the connection has ended.
		l.live.Add(-1)
	}
}

// subscribe subscribes topics, and returns when the server has taken that.
func (l *coreLink) subscribe(ctx context.Context, taken []*want) error {
	if !l.s.wildcard {
		for _, w := range taken {
			if err := l.subscribeOne(w); err != nil {
				return err
			}
		}
	}
	return l.flush(ctx)
}

func (l *coreLink) subscribeOne(w *want) error {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isBusy(w) || w.subscription != nil {
		return nil
	}
	sub, err := l.c.ChanSubscribe(w.subject, l.messages)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	w.subscription = sub
	l.live.Add(1)
	return nil
}

// newest asks for the newest values of topics that were just subscribed, and has the answers taken behind
// all messages that were received before them.
func (l *coreLink) newest(ctx context.Context, taken []*want) {
	var wg sync.WaitGroup
	for len(taken) > 0 {
		part := taken[:min(len(taken), newestMax)]
		taken = taken[len(part):]
		wg.Go(func() {
			values := l.values(ctx, part)
			if l.flush(ctx) == nil { // All that was published before the answer has been received now.
				l.after(ctx, func() { l.settle(part, values) })
			}
		})
	}
	wg.Wait()
}

// answerWait is how long further publishers have to answer behind the first.
const answerWait = 100 * time.Millisecond

// values asks publishers for newest values, by subject. There are none if nobody answers.
func (l *coreLink) values(ctx context.Context, part []*want) map[string]string {
	now := time.Now()
	if now.UnixNano() < l.unheard.Load() {
		return nil
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
	return values
}

// collect asks, and takes answers until all values are known, or nobody answers any more. Of several values
// of a topic that with the highest version counts.
func (l *coreLink) collect(ctx context.Context, part []*want) (map[string]string, error) {
	q := question{}
	for _, w := range part {
		q.Subjects = append(q.Subjects, w.subject)
	}
	body, _ := json.Marshal(q) // Strings.
	inbox := l.c.NewRespInbox()
	sub, err := l.c.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	_ = sub.SetPendingLimits(newestMax, pendingBytes)
	if err := l.c.PublishRequest(newestSubject, inbox, body); err != nil {
		return nil, err
	}
	values := make(map[string]string, len(part))
	for len(values) < len(part) {
		m, err := sub.NextMsgWithContext(ctx)
		if err == nil && len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			err = natsgo.ErrNoResponders
		}
		var r reply
		if err == nil {
			err = json.Unmarshal(m.Data, &r)
		}
		if err != nil {
			if len(values) > 0 || errors.Is(ctx.Err(), context.DeadlineExceeded) && q.answered {
				return values, nil
			}
			return nil, err
		}
		if !q.answered {
			var cancel func()
			ctx, cancel = context.WithTimeout(ctx, answerWait)
			defer cancel()
			q.answered = true
		}
		for _, v := range r.Values {
			if held, has := values[v.Subject]; !has || newer(string(v.Value), held) {
				values[v.Subject] = string(v.Value)
			}
		}
	}
	return values, nil
}

// newer reports whether a value has a higher version than another.
func newer(value, than string) bool {
	v, _ := broker.InspectVersion(value, broker.VersionMember)
	w, _ := broker.InspectVersion(than, broker.VersionMember)
	return v.Compare(w) > 0
}

// settle takes the newest values of topics. One without, that had ticks before, may have missed some: it is
// stale until its next tick.
func (l *coreLink) settle(part []*want, values map[string]string) {
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
		default:
			s.owner.Absent(w.topic)
			if w.mark != 0 && !w.ticked {
				s.owner.GoStale(w.topic, w.mark, broker.Unconfirmed)
			}
			s.finish(w)
		}
	}
}

// denied takes that a subject is not permitted.
func (l *coreLink) denied(subject string, publish bool) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wants[subject]
	switch {
	case publish: // A question for newest values: as if nobody answered.
		l.silence()
	case s.wildcard && subject == s.subjects.all():
		l.c.fail(fmt.Errorf("not permitted: permissions violation for subscription to %q", subject))
	case w != nil:
		if sub, ok := w.subscription.(*natsgo.Subscription); ok {
			_ = sub.Unsubscribe()
			l.live.Add(-1)
			w.subscription = nil
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
				l.after(ctx, func() { l.probes.answered(time.Now()) })
			} else if l.probes.overdue(now, l.s.timeout) {
				return errSlow
			}
			if l.s.mode == auto && now.Sub(looked) > lookEvery {
				looked = now
				if name, err := l.s.find(ctx, l.c); err == nil && name != "" {
					return errStream
				}
			}
		}
	}
}
