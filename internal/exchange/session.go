// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/trade"
)

// dialect is how an exchange is spoken to on one connection. One goroutine calls it.
type dialect interface {
	// hello queues what is to be sent first.
	hello()
	// read takes a message. An error ends the connection.
	read(message []byte, now int64) error
}

const (
	dialTimeout = 15 * time.Second
	// queueMax is how many messages to an exchange may wait: one for each of Finnhub's symbols, and more than
	// the others need.
	queueMax = 8192
)

// session is one connection.
type session struct {
	in    *inlet
	g     *group
	conn  *websocket.Conn
	speak dialect
	began time.Time
	queue chan []byte
	end   context.CancelCauseFunc
	done  chan struct{} // Closed when it has ended.
	err   error         // Why, to be read then.
	ready chan struct{} // Closed when its symbols are subscribed, but for those that the exchange refused.
	once  sync.Once
	ours  atomic.Bool  // Its end is wanted by us.
	last  atomic.Int64 // When the last message came, in Unix microseconds.
	live  atomic.Int64 // From when on it says what is not on its way, in Unix microseconds. 0: never.
	beat  atomic.Int64 // When the last heartbeat did, where the exchange has them.
}

// open connects and subscribes.
func (g *group) open(ctx context.Context) (*session, error) {
	in := g.in
	if !sleep(ctx, in.banWait()) {
		return nil, ctx.Err()
	}
	if err := in.connects.Wait(ctx); err != nil {
		return nil, err
	}
	s := &session{in: in, g: g, began: time.Now(), queue: make(chan []byte, queueMax), done: make(chan struct{}), ready: make(chan struct{})}
	if err := s.dial(ctx); err != nil {
		return nil, err
	}
	in.connections.Add(1)
	s.last.Store(micros())
	s.beat.Store(micros())
	ctx, s.end = context.WithCancelCause(ctx)
	s.speak = in.vendor.speak(s)
	s.speak.hello()
	go s.run(ctx)
	// Its messages leave at the exchange's pace, and are answered within a time then.
	limit := 2*time.Minute + time.Duration(2*float64(len(g.trackers)*in.vendor.each)/in.c.Messages*float64(time.Second))
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-s.ready:
		return s, nil
	case <-t.C:
		s.end(fmt.Errorf("no answer to subscriptions within %v", limit))
	case <-s.done:
	}
	<-s.done
	return nil, s.err
}

func (s *session) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, s.in.c.WS+s.in.vendor.path(s.in), &websocket.DialOptions{
		HTTPHeader: http.Header{"User-Agent": {"tickedge"}},
		OnPingReceived: func(context.Context, []byte) bool {
			s.alive()
			return true // It is answered with its payload.
		},
		OnPongReceived: func(context.Context, []byte) { s.alive() },
	})
	if err != nil {
		// The library's error has the address in it, which may have the key in it.
		err = errors.New(s.in.clean(err))
		if resp == nil {
			return err
		}
		switch resp.StatusCode {
		case http.StatusTooManyRequests, http.StatusTeapot:
			d := retryAfter(resp.Header)
			s.in.banFor(d)
			return fmt.Errorf("the exchange wants no connections for %v: %w", d, err)
		case http.StatusUnauthorized:
			return errFatal{fmt.Errorf("the exchange does not take the key: %w", err)}
		}
		return err
	}
	conn.SetReadLimit(messageMax)
	s.conn = conn
	return nil
}

// run reads until the connection ends.
func (s *session) run(ctx context.Context) {
	defer close(s.done)
	var all sync.WaitGroup
	all.Go(func() { s.write(ctx) })
	all.Go(func() { s.watch(ctx) })
	for ctx.Err() == nil {
		_, message, err := s.conn.Read(ctx)
		if err != nil {
			s.end(err)
			break
		}
		now := micros()
		s.last.Store(now)
		if err := s.speak.read(message, now); err != nil {
			s.end(err)
		}
	}
	s.err = context.Cause(ctx)
	all.Wait()
	s.conn.CloseNow()
	if !s.ours.Load() && !errors.Is(s.err, context.Canceled) {
		s.in.resets.Add(1)
	}
}

// write sends what is queued, within the exchange's limit.
func (s *session) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.queue:
			if m == nil {
				s.subscribed()
				continue
			}
			if err := s.in.messages.Wait(ctx); err != nil {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			err := s.conn.Write(ctx, websocket.MessageText, m)
			cancel()
			if err != nil {
				s.end(err)
				return
			}
		}
	}
}

// watch ends a connection that is silent.
func (s *session) watch(ctx context.Context) {
	limit := s.in.c.Silence
	every := time.NewTicker(max(limit/4, time.Millisecond))
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if heard := min(s.last.Load(), s.beatOrNow()); micros()-heard > limit.Microseconds() {
			s.in.silences.Add(1)
			s.end(fmt.Errorf("nothing was heard for %v", limit))
			return
		}
		if s.in.vendor.pings {
			go s.ping(ctx, limit)
		}
	}
}

func (s *session) beatOrNow() int64 {
	if b := s.beat.Load(); s.in.vendor.beats {
		return b
	}
	return micros()
}

// ping asks for a sign of life, which comes as a pong.
func (s *session) ping(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_ = s.conn.Ping(ctx) // Its failure shows as silence.
}

// errClosed is the end of a connection that we wanted.
var errClosed = errors.New("closed by us")

// close ends a session and waits until it has ended. The exchange is told (RFC 6455, section 7), as it may
// allow no other connection before.
func (s *session) close() {
	s.ours.Store(true)
	_ = s.conn.Close(websocket.StatusNormalClosure, "") // It waits some seconds at most.
	s.end(errClosed)
	<-s.done
}

// wait waits for a time, which it reports to be over, or for the end of the session or of ctx.
func (s *session) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
	case <-ctx.Done():
	}
	return false
}

// send queues a message. nil says that what was queued before it is all that subscribes.
func (s *session) send(message []byte) {
	select {
	case s.queue <- message:
	default:
		s.end(errors.New("too many messages wait to be sent"))
	}
}

func (s *session) subscribed() { s.once.Do(func() { close(s.ready) }) }

// trade hands on a trade that was read without an error, after checking it. One that is flawed is counted,
// and its id, if that is known, is no gap.
func (s *session) trade(t *tracker, tr trade.Trade, err error) {
	if err == nil {
		err = tr.Check(tr.Received)
	}
	if err == nil {
		t.trade(tr)
		return
	}
	s.in.flaw(t.sym.Name, err)
	if tr.ID > 0 {
		t.trade(skipped(tr.ID))
	}
}

const (
	// settling is how long after its subscriptions a connection says nothing of what is on its way: what
	// was missed before may still have to be noticed.
	settling = time.Second
	// aliveLag is how long a trade may take to the exchange's end of a connection. What is older than that
	// came before a ping or a pong did.
	aliveLag = 5 * time.Second
)

// alive notes a ping or a pong.
func (s *session) alive() {
	now := micros()
	s.last.Store(now)
	if !s.in.vendor.beats {
		s.heard(now - aliveLag.Microseconds())
	}
}

// heard tells the symbols of a connection that nothing older than a time is on its way.
func (s *session) heard(at int64) {
	if from := s.live.Load(); from == 0 || micros() < from {
		return
	}
	for _, t := range s.g.trackers {
		t.heardOf(at)
	}
}

// refuse tells, once, that the exchange does not have a symbol. The next connection asks for it again.
func (s *session) refuse(t *tracker, why string) {
	if t.refuse() {
		s.in.failed("an exchange refuses a symbol", errors.New(why[:min(len(why), 256)]), "symbol", t.sym.Name)
	}
}
