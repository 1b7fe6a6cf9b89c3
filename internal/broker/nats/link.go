// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
)

const (
	// beatEvery is the time between two looks at a link: how far it is behind, what is to be tried again.
	beatEvery = time.Second
	// lookEvery is the time between two looks for a stream, where there is none and one would be read.
	lookEvery = 10 * time.Second
)

var (
	errNoStream = errors.New("there is no stream with the subjects of the topics")
	// errNoSubject is of a topic that a publisher can't write: nobody takes its subject.
	errNoSubject = errors.New("the stream does not have the subject")
	errPart      = errors.New("streams have only a part of the subjects of the topics")
	errStream    = errors.New("a stream with the subjects of the topics was made")
)

// api is the subject of a request to JetStream.
const api = "$JS.API."

// apiError is what JetStream says in place of an answer.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// tooLong is what a stream says of a message that is above its max_msg_size (JSStreamMessageExceedsMaximumErr).
const tooLong = 10054

// isFull reports whether a stream has no room for one more message, as it does not discard old ones
// (JSStreamStoreFailedF, which may have other reasons). It takes those that take the place of an older one.
func (e *apiError) isFull() bool {
	return e.ErrCode == 10077 && strings.Contains(e.Description, "maximum")
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// ask asks JetStream, for at most the timeout.
func (s *upstream) ask(ctx context.Context, c *conn, what string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return err
		}
	}
	m, err := c.RequestWithContext(ctx, api+what, body)
	if err != nil {
		return fmt.Errorf("JetStream, %s: %w", what, err)
	}
	var said struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &said); err != nil {
		return fmt.Errorf("JetStream, %s: %w", what, err)
	}
	if said.Error != nil {
		return said.Error
	}
	return json.Unmarshal(m.Data, answer)
}

// find returns the name of the stream that has the topics, and "" if there is none and none is wanted.
func (s *upstream) find(ctx context.Context, c *conn) (stream string, err error) {
	if s.mode == core {
		return "", nil
	}
	if s.stream != "" {
		return s.stream, s.checkNamed(ctx, c)
	}
	var names struct {
		Streams []string `json:"streams"`
	}
	err = s.ask(ctx, c, "STREAM.NAMES", map[string]any{"subject": s.subjects.all()}, &names)
	said := (*apiError)(nil)
	switch {
	case err == nil && len(names.Streams) > 0:
		return s.choose(ctx, c, names.Streams)
	case err == nil && s.mode == jetstream:
		return "", errNoStream
	case err != nil && (s.mode == jetstream || !errors.Is(err, natsgo.ErrNoResponders) && !errors.As(err, &said)):
		return "", err
	}
	return "", nil
}

// streamsMax bounds the streams that are looked at.
const streamsMax = 64

// choose returns the first of streams that has the subjects of all topics. One that has a part of them brings no ticks of
// the others: it is read only if the URL names it.
func (s *upstream) choose(ctx context.Context, c *conn, streams []string) (stream string, err error) {
	for _, name := range streams[:min(len(streams), streamsMax)] {
		var info streamInfo
		said := (*apiError)(nil)
		err := s.ask(ctx, c, "STREAM.INFO."+name, nil, &info)
		if err != nil && !errors.As(err, &said) {
			return "", err
		}
		if err == nil && info.hasAll(s.subjects) {
			return name, nil
		}
	}
	if s.mode == jetstream {
		return "", fmt.Errorf("%w: %.200q", errPart, streams)
	}
	return "", nil
}

// hasAll reports whether a stream has the messages of all topics, by their subjects.
func (i *streamInfo) hasAll(s subjects) bool {
	if i.Config.Transform != nil {
		return false
	}
	for _, pattern := range i.Config.Subjects {
		if covers(pattern, s.all()) {
			return true
		}
	}
	return false
}

// runLink runs one link. It calls up when the connection works, and returns why it ended, with its goroutines
// ended and its sockets closed.
func (s *source) runLink(ctx context.Context, up func(address, how string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c, err := s.dial(ctx, "tickedge edge")
	if err != nil {
		return err
	}
	defer c.Close()
	stream, permitted, err := s.findPermitted(ctx, c)
	if err != nil {
		return err
	}
	if stream == "" {
		l := newCoreLink(s, c)
		l.blind.Store(!permitted)
		c.onDenied(l.denied)
		return l.run(ctx, cancel, up)
	}
	l := newStreamLink(s, c, stream)
	c.onDenied(l.denied)
	return l.run(ctx, cancel, up)
}

// findPermitted is find, which is not waited for when it is not permitted to ask.
func (s *upstream) findPermitted(ctx context.Context, c *conn) (stream string, permitted bool, err error) {
	refusal := make(chan string, 1)
	c.onDenied(func(subject string, _ bool) {
		select {
		case refusal <- subject:
		default:
		}
	})
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	var subject string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case subject = <-refusal:
			cancel()
		case <-asking.Done():
		}
	}()
	stream, err = s.find(asking, c)
	cancel()
	<-ended
	if subject == "" || err == nil {
		return stream, true, err
	}
	if s.mode == auto {
		return "", false, nil // As where there is no JetStream.
	}
	return "", false, fmt.Errorf("not permitted: permissions violation for publish to %q", subject)
}

// runAll runs the goroutines of a link until the first of them fails, the connection does, or ctx ends.
func (c *conn) runAll(ctx context.Context, cancel context.CancelCauseFunc, runs ...func(context.Context) error) error {
	var wg sync.WaitGroup
	runs = append(runs, c.watch)
	for _, run := range runs {
		wg.Go(func() {
			if err := panics.Try(panics.Feed, func() error { return run(ctx) }); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return c.why(context.Cause(ctx))
}

// why is why a link has ended: where all that is known is that the connection was closed, the server may have said
// why, in a line that nats.go reads just now.
func (c *conn) why(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, natsgo.ErrConnectionClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	select {
	case <-c.ended:
	case <-time.After(closeWait):
	}
	if said := c.first.Load(); said != nil {
		return *said
	}
	return err
}

// closeWait is how long nats.go has to notice that a connection was closed.
const closeWait = 200 * time.Millisecond

// watch ends a link when the connection has failed, or its server asks for it.
func (c *conn) watch(ctx context.Context) error {
	select {
	case err := <-c.failed:
		return err
	case <-c.lame:
		return errLame
	case <-ctx.Done():
		return nil
	}
}

// probes are questions how far a link is behind: when the newest that was answered was asked, and since
// when one is open.
type probes struct {
	mu     sync.Mutex
	met    time.Time // When the newest that was answered was asked.
	took   time.Duration
	asked  time.Time // When the one that is open was asked; zero if none is.
	target uint64    // What it waits for, once it is known.
}

// ask notes a question, unless one is open.
func (p *probes) ask(now time.Time) (asked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked.IsZero() {
		return false
	}
	p.asked, p.target = now, 0
	return true
}

// answered notes that all was received that was published before the question that is open was asked.
func (p *probes) answered(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meet(now)
}

func (p *probes) meet(now time.Time) {
	if !p.asked.IsZero() {
		p.met, p.took, p.asked = p.asked, now.Sub(p.asked), time.Time{}
	}
}

func (p *probes) lag(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked.IsZero() {
		return max(p.took, now.Sub(p.asked))
	}
	return p.took
}

func (p *probes) heard() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.met
}

// overdue reports whether the open question is older than it may be.
func (p *probes) overdue(now time.Time, timeout time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.asked.IsZero() && now.Sub(p.asked) > timeout
}

var errSilent = errors.New("timeout: the server has not answered for -feed-timeout")

// commit takes the newest value of a want that is busy into the owner's table. The caller holds s.mu.
func (s *source) commit(w *want, value string) {
	version, flaw := s.owner.Inspect(value)
	if flaw != broker.Flawless {
		if w.cause != broker.BadValue { // Said once, however often it is read.
			s.owner.Drop(w.topic, value, int64(len(value)), flaw)
		}
		s.deny(w, broker.BadValue, "the newest value can't be passed on: it is "+flaw.String(), false)
		return
	}
	s.owner.Repair(w.topic, value, w.mark, meta(s.owner, version))
	s.finish(w)
}
