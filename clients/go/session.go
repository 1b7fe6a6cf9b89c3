// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	writeTimeout  = 10 * time.Second
	farewell      = time.Second     // For the close frame of the edge.
	afterBye      = 5 * time.Second // From the edge's bye to its close.
	helloLimit    = 64 << 10        // Bytes of a message, before and unless max_topics says more.
	bytesPerTopic = 256
)

// session is one connection. The client's mutex guards what both of its goroutines use.
type session struct {
	c         *Client
	ws        *websocket.Conn
	group     sync.WaitGroup
	heartbeat time.Duration // Set before the second goroutine begins, as are maxTopics and greeted.
	maxTopics int
	greeted   time.Time

	pending    map[uint64]command
	lastID     uint64
	credit     float64 // Of commands.
	credited   time.Time
	pauseUntil time.Time // No commands before.
	bye        *message
	ended      error

	renewAt  time.Time
	renewing bool
	fresh    string // A newer token, to be sent.
}

// run is the client's goroutine: connection after connection, until Close or what ends the client.
func (c *Client) run() {
	defer close(c.done)
	tries, again := 0, false
	var seen uint64
	for c.wanted(seen) {
		e := c.connect()
		if c.ctx.Err() != nil {
			return
		}
		if e.lived >= stable {
			tries = 0
		}
		e.tries, e.again, e.token = tries, again, c.options.Token != nil
		v := e.judge(c.options, jitter)
		tries++
		again = again || e.lived > 0
		unasked, upto := c.drop(v)
		if v.never != nil {
			c.fail(v.never)
			return
		}
		if seen = 0; v.park && !unasked {
			seen = upto
			continue
		}
		pause := time.NewTimer(v.pause)
		select {
		case <-pause.C:
		case <-c.ctx.Done():
			pause.Stop()
			return
		}
	}
}

// wanted waits until there is something to subscribe, newer than seen. It returns false when the client is closed.
func (c *Client) wanted(seen uint64) bool {
	for {
		c.mu.Lock()
		some := c.changed > seen && len(c.topics)+len(c.screens) > 0
		c.mu.Unlock()
		if c.ctx.Err() != nil || some {
			return c.ctx.Err() == nil
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
		}
	}
}

// drop forgets the connection. It returns whether there were topics that it had not come to, and the newest topic so far.
func (c *Client) drop(v verdict) (waiting bool, upto uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up, c.lost = false, v
	c.token.bad = c.token.bad || v.badTok
	c.feeds = nil
	clear(c.leaving)
	waiting = c.loseScreens()
	for _, t := range c.topics {
		waiting = waiting || t.phase == unasked || t.phase == asked
		t.lose()
		c.review(t)
	}
	return waiting, c.changed
}

// connect opens a connection and serves it to its end.
func (c *Client) connect() ending {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	text, err := c.currentToken(ctx)
	if err != nil {
		return ending{err: err, after: -1}
	}
	dialing, stop := context.WithTimeout(ctx, c.options.HandshakeTimeout)
	defer stop()
	ws, answer, err := c.dial(dialing, text)
	if err != nil {
		return refusal(err, answer)
	}
	c.mu.Lock()
	c.conn++
	s := &session{
		c: c, ws: ws, credit: chargeBurst, credited: time.Now(), renewAt: renewal(time.Now(), c.token.exp),
		pending: make(map[uint64]command),
	}
	c.mu.Unlock()
	err = s.open(dialing)
	if err == nil {
		err = s.serve(ctx)
	}
	cancel()
	s.group.Wait()
	_ = ws.CloseNow() // It is closed already, or nobody is there to hear of it.
	return s.ending(err)
}

// dial makes the handshake.
func (c *Client) dial(ctx context.Context, token string) (*websocket.Conn, *http.Response, error) {
	header := c.options.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return websocket.Dial(ctx, c.url, &websocket.DialOptions{
		HTTPClient: c.options.HTTPClient, HTTPHeader: header, CompressionMode: websocket.CompressionDisabled,
	})
}

// refusal reads why a handshake failed. The text of the answer is clipped by the library that reads it.
func refusal(err error, answer *http.Response) ending {
	e := ending{err: err, after: -1}
	if answer == nil || answer.StatusCode == http.StatusSwitchingProtocols {
		return e
	}
	e.status = answer.StatusCode
	e.after = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	e.err = errors.New(http.StatusText(e.status))
	if answer.Body != nil && strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		if text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)); len(text) > 0 {
			line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
			e.err = errors.New(line)
		}
	}
	return e
}

// ending says how the connection ended.
func (s *session) ending(err error) ending {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	e := ending{err: err, after: -1}
	if !s.greeted.IsZero() {
		e.lived = max(time.Since(s.greeted), 1)
	}
	if s.bye == nil {
		return e
	}
	if e.code() == 0 { // The close frame did not get through.
		e.err = websocket.CloseError{Code: websocket.StatusCode(s.bye.Code), Reason: s.bye.Reason}
	}
	if ms := s.bye.RetryMS; ms != nil && *ms >= 0 {
		e.after = time.Duration(min(*ms, longestPause.Milliseconds())) * time.Millisecond
	}
	return e
}

// open awaits the hello.
func (s *session) open(ctx context.Context) error {
	s.ws.SetReadLimit(helloLimit)
	m, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if m.T == "bye" {
		s.bye = &m
		return errors.New("bye")
	}
	if err := s.hello(m); err != nil {
		return err
	}
	if m.MaxTopics > 0 {
		s.ws.SetReadLimit(max(helloLimit, int64(s.maxTopics)*bytesPerTopic))
	}
	return nil
}

func (s *session) read(ctx context.Context) (message, error) {
	kind, payload, err := s.ws.Read(ctx)
	if err != nil {
		return message{}, err
	}
	if kind != websocket.MessageText {
		return message{}, errors.New("the edge has sent a binary message")
	}
	return parse(payload)
}

// serve writes commands until the connection ends; another goroutine reads.
func (s *session) serve(ctx context.Context) error {
	c := s.c
	// Reading goes on while the close frame is awaited, so it ends later than ctx.
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer s.group.Wait()
	defer stop()
	deaf := make(chan struct{})
	s.group.Go(func() {
		defer close(deaf)
		s.listen(reading)
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		c.mu.Lock()
		s.renew(reading, now)
		payload, wake, err := s.plan(now)
		c.mu.Unlock()
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			s.bidFarewell(stop)
			return ctx.Err()
		case payload != nil:
			if err := s.write(ctx, payload); err != nil {
				return s.cause(err, deaf)
			}
			continue
		}
		timer.Reset(untilWake(now, wake))
		select {
		case <-c.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// untilWake is how long to sleep. Whatever happens meanwhile wakes the client earlier.
func untilWake(now, wake time.Time) time.Duration {
	if wake.IsZero() {
		return time.Hour
	}
	return max(wake.Sub(now), time.Millisecond)
}

// listen reads until the connection ends. An edge that is silent for two heartbeats, and what one may be late, is dead.
func (s *session) listen(ctx context.Context) {
	patience := 2*s.heartbeat + s.heartbeat/4 + time.Second
	for {
		limit, cancel := context.WithTimeout(ctx, patience)
		m, err := s.read(limit)
		cancel()
		s.c.mu.Lock()
		if err == nil {
			err = s.handle(m)
		}
		if s.bye != nil {
			patience = min(patience, afterBye)
		}
		s.ended = err
		s.c.mu.Unlock()
		if err != nil {
			s.c.poke()
			return
		}
	}
}

func (s *session) write(ctx context.Context, payload []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, payload)
}

// cause prefers what the reader has seen, such as a close frame, to a write that failed for it.
func (s *session) cause(err error, deaf <-chan struct{}) error {
	late := time.NewTimer(farewell)
	defer late.Stop()
	select {
	case <-deaf:
	case <-late.C:
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if websocket.CloseStatus(s.ended) != -1 {
		return s.ended
	}
	return err
}

// bidFarewell closes in order, in the time that is given for it.
func (s *session) bidFarewell(stop func()) {
	late := time.AfterFunc(farewell, stop)
	defer late.Stop()
	_ = s.ws.Close(websocket.StatusNormalClosure, "") // An edge that does not answer is left without.
}
