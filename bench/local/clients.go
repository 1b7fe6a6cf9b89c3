// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/bench/internal/wire"
)

const (
	// connectMost bounds a connect, from its first packet to the first row, on a machine that is busy.
	connectMost = 20 * time.Second
	// silenceMost is two heartbeats and some: a client that hears nothing for so long comes back (docs/PROTOCOL.md).
	silenceMost = 45 * time.Second
	// pauseFirst and pauseMost are what a client waits that was not told when to come back; each pause is a random part.
	pauseFirst = time.Second
	pauseMost  = 30 * time.Second
	// connecting is how many clients connect at a time at first.
	connecting = 32
)

// phase is what clients have seen since something was done to what they are connected to.
type phase struct {
	began    time.Time
	mu       sync.Mutex
	back     []time.Duration // When each was back, since the phase began.
	overdue  time.Duration   // The longest wait of any for its next row, without what it was told to wait.
	longest  time.Duration   // The longest time without a row of any.
	stall    time.Duration   // The longest time for which this program itself had no processor.
	told     int             // Of those who lost a connection, how many were told when to come back.
	lost     int
	failed   int // Connects that failed.
	twice    int // Clients of whom two connects in a row failed.
	closings map[string]int
}

// crowd are all clients.
type crowd struct {
	addr, host, target string
	addresses          int
	ctx                context.Context
	cancel             context.CancelFunc
	all                sync.WaitGroup
	held               atomic.Int64
	clients            []client
	now                atomic.Pointer[phase]
}

// client is one of them. Only its goroutine writes.
type client struct {
	lastRow atomic.Int64 // When it had a row last, in Unix nanoseconds.
	tls     *tls.Config  // With the sessions that it resumes, as browsers do.
}

func newCrowd(addr, target string, n, addresses int, roots *tls.Config) *crowd {
	c := &crowd{addr: addr, host: addr, target: target, addresses: addresses, clients: make([]client, n)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for i := range c.clients {
		c.clients[i].tls = roots.Clone()
		c.clients[i].tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	c.begin()
	c.all.Go(c.watch)
	return c
}

// watch notes how late this program is itself: what clients wait longer for is not the fault of what is tried.
func (c *crowd) watch() {
	const every = 10 * time.Millisecond
	for before := time.Now(); pause(c.ctx, every) == nil; before = time.Now() {
		late, p := time.Since(before)-every, c.now.Load()
		p.mu.Lock()
		p.stall = max(p.stall, late)
		p.mu.Unlock()
	}
}

// begin begins a phase, and returns it.
func (c *crowd) begin() *phase {
	p := &phase{began: time.Now(), closings: make(map[string]int)}
	c.now.Store(p)
	return p
}

func (c *crowd) end() {
	c.cancel()
	c.all.Wait()
}

// hold has all clients connect, who come back whenever they are cut off.
func (c *crowd) hold(ctx context.Context) error {
	room := make(chan struct{}, connecting)
	for i := range c.clients {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.all.Go(func() { c.live(i, func() { <-room }) })
	}
	return c.whole(ctx)
}

// whole waits until all have a connection and a row.
func (c *crowd) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, wholeMost)
	defer cancel()
	for c.held.Load() < int64(len(c.clients)) {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d clients are served: %w", c.held.Load(), len(c.clients), err)
		}
	}
	return nil
}

// fresh waits until all have had a row that came behind a time, and returns when the last one had.
func (c *crowd) fresh(ctx context.Context, since time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, wholeMost)
	defer cancel()
	for {
		missing := 0
		for i := range c.clients {
			if c.clients[i].lastRow.Load() <= since.UnixNano() {
				missing++
			}
		}
		if missing == 0 {
			return time.Now(), nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("%d of %d clients have had no row since: %w", missing, len(c.clients), err)
		}
	}
}

// live is the life of a client. first is called when its first connect is over.
func (c *crowd) live(i int, first func()) {
	lost, retry, fails := time.Time{}, time.Duration(-1), 0
	for c.ctx.Err() == nil {
		served := false
		told, err := c.connection(i, func() {
			served = true
			if first != nil {
				first()
				first = nil
			}
			c.held.Add(1)
			if !lost.IsZero() {
				c.now.Load().isBack(lost, retry)
			}
		})
		if c.ctx.Err() != nil {
			break
		}
		if p := c.now.Load(); served {
			c.held.Add(-1)
			lost, retry, fails = time.Now(), told, 0
			p.isLost(told, err)
		} else {
			fails++
			p.hasFailed(fails, err)
		}
		wait := told
		if wait < 0 {
			wait = rand.N(min(pauseFirst<<min(fails, 10), pauseMost))
		}
		_ = pause(c.ctx, wait)
	}
	if first != nil {
		first()
	}
}

func (p *phase) isBack(lost time.Time, retry time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lost.Before(p.began) {
		lost = p.began
	}
	p.back = append(p.back, time.Since(p.began))
	p.overdue = max(p.overdue, time.Since(lost)-max(retry, 0))
}

func (p *phase) isLost(told time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost++
	if told >= 0 {
		p.told++
	}
	p.closings[text(err)]++
}

func (p *phase) hasFailed(fails int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed++
	if fails == 2 {
		p.twice++
	}
	p.closings["connect: "+text(err)]++
}

// hadRow notes how long a client was without a row.
func (p *phase) hadRow(before, now int64) {
	if before = max(before, p.began.UnixNano()); now-before > int64(p.longest) {
		p.mu.Lock()
		p.longest = max(p.longest, time.Duration(now-before))
		p.mu.Unlock()
	}
}

// text tells errors apart without their addresses.
func text(err error) string {
	var op *net.OpError
	switch {
	case err == nil:
		return "bye"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// connection is one connection, until it ends. served is called with its first row. told is how long the edge has it wait, or
// below 0 if nothing was said.
func (c *crowd) connection(i int, served func()) (told time.Duration, err error) {
	told = -1
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%c.addresses))}
	ctx, cancel := context.WithTimeout(c.ctx, connectMost)
	defer cancel()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{LocalAddr: from}, Config: c.clients[i].tls}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return told, err
	}
	defer conn.Close()
	defer context.AfterFunc(c.ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(connectMost)) // Or the read fails.
	key := [16]byte{byte(i), byte(i >> 8)}
	if _, err := conn.Write(wire.AppendRequest(nil, c.target, c.host, key)); err != nil {
		return told, err
	}
	in := bufio.NewReaderSize(conn, 4<<10)
	if err := readAnswer(in, key); err != nil {
		return told, err
	}
	var buf []byte
	for had := false; ; {
		op, payload, err := readFrame(in, &buf)
		if err != nil {
			return told, err
		}
		switch {
		case op == wire.OpPing:
			_, err = conn.Write(wire.AppendFrame(nil, wire.OpPong, [4]byte{1, 2, 3, 4}, payload))
		case op == wire.OpClose:
			_, _ = conn.Write(wire.AppendFrame(nil, wire.OpClose, [4]byte{1, 2, 3, 4}, payload)) // It has ended anyway.
			return told, nil
		case bytes.HasPrefix(payload, []byte(`{"t":"bye"`)):
			told = retryOf(payload)
		case hasRows(payload):
			now := time.Now().UnixNano()
			if before := c.clients[i].lastRow.Swap(now); before > 0 {
				c.now.Load().hadRow(before, now)
			}
			if !had {
				had = true
				served()
			}
			err = conn.SetDeadline(time.Now().Add(silenceMost))
		case had:
			err = conn.SetDeadline(time.Now().Add(silenceMost))
		}
		if err != nil {
			return told, err
		}
	}
}

// hasRows reports whether a message has rows: an update, or a snapshot with some.
func hasRows(payload []byte) bool {
	return (bytes.HasPrefix(payload, []byte(`{"t":"update"`)) || bytes.HasPrefix(payload, []byte(`{"t":"snapshot"`))) &&
		bytes.Contains(payload, []byte(`{"s":`))
}

func retryOf(payload []byte) time.Duration {
	var bye struct {
		Retry *int64 `json:"retry_ms"`
	}
	if json.Unmarshal(payload, &bye) != nil || bye.Retry == nil {
		return -1
	}
	return time.Duration(*bye.Retry) * time.Millisecond
}

// readAnswer reads the answer to a handshake, and nothing behind it.
func readAnswer(in *bufio.Reader, key [16]byte) error {
	for most := 1; ; {
		if _, err := in.Peek(most); err != nil {
			return err
		}
		head, _ := in.Peek(in.Buffered())
		size, status, err := wire.ParseAnswer(head, key)
		switch {
		case err != nil:
			return err
		case size == 0:
			most = len(head) + 1
			continue
		case status != 101:
			return fmt.Errorf("it answers %d", status)
		}
		_, err = in.Discard(size)
		return err
	}
}

// readFrame reads a whole frame. Its payload is good until the next one.
func readFrame(in *bufio.Reader, buf *[]byte) (wire.Op, []byte, error) {
	for most := 2; ; {
		if _, err := in.Peek(most); err != nil {
			return 0, nil, err
		}
		head, _ := in.Peek(min(in.Buffered(), 10))
		h, err := wire.ParseHeader(head)
		if errors.Is(err, wire.ErrShort) {
			most = len(head) + 1
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		_, _ = in.Discard(h.Size) // It is there.
		if cap(*buf) < h.Length {
			*buf = make([]byte, h.Length)
		}
		payload := (*buf)[:h.Length]
		_, err = io.ReadFull(in, payload)
		return h.Op, payload, err
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
