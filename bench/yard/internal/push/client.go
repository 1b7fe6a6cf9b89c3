// SPDX-License-Identifier: Apache-2.0

package push

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"
)

// writeTimeout is how long a client may not take a message before it is gone.
const writeTimeout = 10 * time.Second

// Socket is a WebSocket connection. Read is called by one goroutine and Write by
// another; Close may be called by both and more than once, and ends the other calls.
type Socket interface {
	Read() ([]byte, error)
	Write(text []byte, timeout time.Duration) error
	Close()
}

// client is one conn. Its reader passes commands to its writer, which owns topics and
// rows.
type client struct {
	router *router
	socket Socket
	// ticks is the queue. If it is full, the oldest tick makes room: its topic then
	// shows an older value until it ticks again, which is the price of a queue with a
	// limit. It is nil without a queue.
	ticks    chan *tick
	commands chan []byte   // Closed by the reader when the client is gone.
	gone     chan struct{} // Closed by the writer when it has ended.
	dropped  *atomic.Uint64

	mu      sync.Mutex
	pending map[string]*tick // The newest since the last flush, by topic.

	topics map[string]uint64 // And the n of the snapshot: older ticks may still be in the queue.
	rows   []row             // Scratch.
}

// Serve runs a client in goroutines of its own, so that those of the HTTP server are
// free.
func (s *Server) Serve(socket Socket) {
	c := &client{
		router: s.router, socket: socket,
		commands: make(chan []byte), gone: make(chan struct{}), dropped: &s.dropped,
		topics: map[string]uint64{}, pending: map[string]*tick{},
	}
	if s.queue > 0 {
		c.ticks = make(chan *tick, s.queue)
	}
	go c.read()
	go c.write(s.hello, s.window)
}

// offer puts a tick into the queue, or into pending if there is none. It never waits.
func (c *client) offer(t *tick) {
	if c.ticks == nil {
		c.keep(t)
		return
	}
	for {
		select {
		case c.ticks <- t:
			return
		default:
		}
		select {
		case <-c.ticks:
			c.dropped.Add(1)
		default:
		}
	}
}

// keep makes t the newest of its topic.
func (c *client) keep(t *tick) {
	c.mu.Lock()
	c.pending[t.topic] = t
	c.mu.Unlock()
}

// read passes on what the client says.
func (c *client) read() {
	defer close(c.commands)
	defer c.socket.Close()
	for {
		message, err := c.socket.Read()
		if err != nil {
			return
		}
		select {
		case c.commands <- message:
		case <-c.gone:
			return
		}
	}
}

// write takes commands and ticks, and flushes once per window. Clients come at
// different times, which spreads their flushes over the window.
func (c *client) write(hello []byte, window time.Duration) {
	defer func() {
		for name := range c.topics {
			c.router.unsubscribe(name, c)
		}
		c.socket.Close()
		close(c.gone)
	}()
	if c.send(hello) != nil {
		return
	}
	flush := time.NewTicker(window)
	defer flush.Stop()
	for {
		var err error
		select {
		case message, ok := <-c.commands:
			if !ok {
				return
			}
			err = c.command(message)
		case t := <-c.ticks:
			c.conflate(t)
		case now := <-flush.C:
			err = c.flush(now)
		}
		if err != nil {
			return
		}
	}
}

// conflate takes t and all that waits behind it: it is woken up once for all of them.
func (c *client) conflate(t *tick) {
	for {
		if seen, wanted := c.topics[t.topic]; wanted && t.n > seen {
			c.keep(t)
		}
		select {
		case t = <-c.ticks:
		default:
			return
		}
	}
}

// flush sends what has changed since the flush before.
func (c *client) flush(now time.Time) error {
	c.rows = c.rows[:0]
	c.mu.Lock()
	for _, t := range c.pending {
		c.rows = append(c.rows, row{S: t.topic, N: t.n, V: t.value})
	}
	clear(c.pending)
	c.mu.Unlock()
	if len(c.rows) == 0 {
		return nil
	}
	return c.sendJSON(rowsMessage{T: "update", TS: now.UnixMilli(), D: c.rows})
}

// command acts on a message of the client.
func (c *client) command(message []byte) error {
	cmd, problem := parseCommand(message)
	if problem != "" {
		return c.sendJSON(errorMessage{T: "error", ID: cmd.ID, Code: 400, Reason: problem})
	}
	ack := ackMessage{T: "ack", ID: cmd.ID, Op: cmd.Op}
	c.rows = c.rows[:0]
	for _, name := range cmd.Topics {
		_, has := c.topics[name]
		switch {
		case cmd.Op == opUnsubscribe:
			if has {
				c.unsubscribe(name)
			}
		case has:
		case len(name) == 0 || len(name) > nameMax:
			ack.Rejected = append(ack.Rejected, rejection{Topic: name, Code: 422, Reason: "a name has 1 to 64 bytes"})
		case len(c.topics) == topicsMax:
			ack.Rejected = append(ack.Rejected, rejection{Topic: name, Code: 413, Reason: "too many topics"})
		default:
			c.topics[name] = 0
			if newest := c.router.subscribe(name, c); newest != nil {
				c.topics[name] = newest.n
				c.rows = append(c.rows, row{S: name, N: newest.n, V: newest.value})
			}
		}
	}
	ack.Topics = len(c.topics)
	if err := c.sendJSON(ack); err != nil || len(c.rows) == 0 {
		return err
	}
	return c.sendJSON(rowsMessage{T: "snapshot", TS: time.Now().UnixMilli(), D: c.rows})
}

func (c *client) unsubscribe(name string) {
	c.router.unsubscribe(name, c)
	delete(c.topics, name)
	c.mu.Lock()
	delete(c.pending, name)
	c.mu.Unlock()
}

func (c *client) sendJSON(message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err // A value that is no JSON; the source has checked them.
	}
	return c.send(text)
}

func (c *client) send(text []byte) error { return c.socket.Write(text, writeTimeout) }
