// SPDX-License-Identifier: Apache-2.0

package exchangetest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// conn is one connection. The server's lock guards it.
type conn struct {
	s        *Server
	ws       *websocket.Conn
	cancel   context.CancelFunc
	out      chan string
	trades   map[string]bool // Products.
	others   map[string]bool // Other channels or streams.
	sent     []time.Time
	sequence int64
	beats    int64
	muted    bool
	token    string
	ponged   time.Time
}

// say queues a message.
func (c *conn) say(text string) {
	if c.muted {
		return
	}
	select {
	case c.out <- text:
	default:
		c.s.refuse("a client does not read")
		c.cancel()
	}
}

func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.dials++
	status := s.face.admit(s, r)
	if b := s.ban(); b.status != 0 {
		w.Header().Set("Retry-After", b.after)
		status = b.status
	}
	s.mu.Unlock()
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	c := &conn{s: s, out: make(chan string, 100_000), trades: make(map[string]bool), others: make(map[string]bool), token: r.URL.Query().Get("token"), ponged: time.Now()}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		OnPingReceived: func(context.Context, []byte) bool { s.mu.Lock(); defer s.mu.Unlock(); return !c.muted },
	})
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.ws, c.cancel = ws, cancel
	s.mu.Lock()
	c.muted = s.muted
	s.conns[c] = true
	s.mu.Unlock()
	go c.write(ctx)
	for {
		_, message, err := ws.Read(ctx)
		if err != nil {
			break
		}
		s.mu.Lock()
		c.take(message)
		s.mu.Unlock()
	}
	cancel()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	ws.CloseNow()
}

// take takes what a client sends, if it is within the limits. The server is locked.
func (c *conn) take(message []byte) {
	now := time.Now()
	c.sent = slices.DeleteFunc(c.sent, func(t time.Time) bool { return now.Sub(t) > time.Second })
	if c.sent = append(c.sent, now); len(c.sent) > c.s.c.Messages {
		c.s.refuse("more than %d messages in a second", c.s.c.Messages)
		c.cancel()
		return
	}
	if !c.muted {
		c.s.face.command(c.s, c, message)
	}
}

// write sends what is queued, and beats.
func (c *conn) write(ctx context.Context) {
	defer c.cancel()
	began := time.Now()
	beat := time.NewTicker(c.s.c.Beat)
	defer beat.Stop()
	pong := make(chan struct{}, 1)
	for {
		var text string
		select {
		case <-ctx.Done():
			return
		case text = <-c.out:
		case <-beat.C:
			if c.s.c.Cut > 0 && time.Since(began) > c.s.c.Cut {
				c.s.mu.Lock()
				c.s.refuse("a connection was as old as it gets")
				c.s.mu.Unlock()
				return
			}
			c.s.mu.Lock()
			if !c.muted {
				text = c.s.face.beat(c)
			}
			if strings.HasPrefix(text, "{") { // After what is queued already.
				c.say(text)
				text = ""
			}
			c.s.mu.Unlock()
		}
		switch {
		case text == "end":
			return
		case text == "ping":
			select {
			case pong <- struct{}{}:
				go c.ping(ctx, pong)
			default:
			}
		case text != "":
			if c.ws.Write(ctx, websocket.MessageText, []byte(text)) != nil {
				return
			}
		}
	}
}

// ping wants a pong in time.
func (c *conn) ping(ctx context.Context, pong chan struct{}) {
	defer func() { <-pong }()
	within, cancel := context.WithTimeout(ctx, c.s.c.Pong)
	defer cancel()
	if err := c.ws.Ping(within); err != nil && ctx.Err() == nil && within.Err() != nil {
		c.s.mu.Lock()
		c.s.refuse("no pong")
		c.s.mu.Unlock()
		c.cancel()
	}
}
