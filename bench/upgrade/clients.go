// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tickedge/bench/internal/wire"
)

const (
	// connectMost bounds a connect, from its first packet to the hello. The kernel sends a lost SYN again after a second.
	connectMost = 10 * time.Second
	// retryMost is what a client waits before it comes back: an edge that goes asks for a second at most.
	retryMost = time.Second
	// addresses are those of the loopback that clients come from: each has ports, and limits of the edge, of its own.
	addresses = 200
	// stormMost bounds how many of the storm connect at a time.
	stormMost  = 2000
	stormEvery = 5 * time.Millisecond
	// holders is how many of those who stay connect at a time at first.
	holders = 64
)

// seen is what clients have seen.
type seen struct {
	connects, served, refused, reset, unavailable, late atomic.Int64 // Of the storm.
	longest                                             atomic.Int64 // Of the storm, in nanoseconds.
	sentAway, back, failedBack                          atomic.Int64 // Of those who stay.
}

// crowd are all clients of an address.
type crowd struct {
	addr  string
	away  time.Duration // How long the last packet of a handshake is under way, as with clients that are far away; 0 is the loopback's.
	ctx   context.Context
	close context.CancelFunc
	all   sync.WaitGroup
	from  atomic.Uint32
	held  atomic.Int64
	seen  seen
}

func newCrowd(addr string, away time.Duration) *crowd {
	c := &crowd{addr: addr, away: away}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// end has all clients go.
func (c *crowd) end() {
	c.close()
	c.all.Wait()
}

var errUnavailable = errors.New("503")

// connect opens a connection up to its hello.
func (c *crowd) connect() (conn *net.TCPConn, r *bufio.Reader, err error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(2+c.from.Add(1)%addresses))}
	ctx, cancel := context.WithTimeout(c.ctx, connectMost)
	defer cancel()
	d := net.Dialer{LocalAddr: from}
	if c.away > 0 {
		d.Control = holdACK
	}
	dialed, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, nil, err
	}
	conn = dialed.(*net.TCPConn)
	defer func() {
		if err != nil {
			dialed.Close()
		}
	}()
	// No TIME_WAIT: the ports are needed again.
	if err := errors.Join(conn.SetLinger(0), conn.SetDeadline(time.Now().Add(connectMost))); err != nil {
		return nil, nil, err
	}
	if c.away > 0 {
		if err := pause(ctx, c.away); err != nil {
			return nil, nil, err
		}
	}
	key := [16]byte{1}
	if _, err := conn.Write(wire.AppendRequest(nil, "/ws?topics=AAPL", c.addr, key)); err != nil {
		return nil, nil, err
	}
	r = bufio.NewReaderSize(conn, 2<<10)
	return conn, r, readHello(r, key)
}

// awayMost is how long the kernel holds the last packet of a handshake back at most.
const awayMost = 150 * time.Millisecond

// holdACK has the last packet of a handshake go out with the first data. Until then the server has the handshake under way,
// as it has where the network takes that long.
func holdACK(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, 1)
	})
	return errors.Join(err, failed)
}

// readHello reads the answer to a handshake, and the first bytes of the frame behind it.
func readHello(r *bufio.Reader, key [16]byte) error {
	for most := 1; ; most++ {
		if _, err := r.Peek(most); err != nil {
			return err
		}
		head, _ := r.Peek(max(most, r.Buffered())) // All of it is there.
		size, status, err := wire.ParseAnswer(head, key)
		switch {
		case err != nil:
			return err
		case size == 0:
			most = len(head)
			continue
		case status == 503:
			return errUnavailable
		case status != 101:
			return fmt.Errorf("the edge answers %d", status)
		}
		if _, err := r.Discard(size); err != nil {
			return err
		}
		frame, err := r.Peek(16)
		if err == nil && !bytes.Contains(frame, []byte(`"hello"`)) {
			err = fmt.Errorf("the first frame begins with %q", frame)
		}
		return err
	}
}

// hold has n clients connect and stay: who is sent away comes back.
func (c *crowd) hold(ctx context.Context, n int) error {
	room := make(chan struct{}, holders)
	for range n {
		room <- struct{}{}
		c.all.Go(func() {
			for first := true; c.ctx.Err() == nil; first = false {
				conn, r, err := c.connect()
				if first {
					<-room
				} else if err != nil && c.ctx.Err() == nil {
					c.seen.failedBack.Add(1)
				}
				if err == nil {
					if !first {
						c.seen.back.Add(1)
					}
					c.stay(conn, r)
				}
				_ = pause(c.ctx, rand.N(retryMost))
			}
		})
	}
	return c.whole(ctx, n)
}

// stay reads until the connection ends.
func (c *crowd) stay(conn *net.TCPConn, r *bufio.Reader) {
	c.held.Add(1)
	defer c.held.Add(-1)
	defer conn.Close()
	defer context.AfterFunc(c.ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Time{}) // Or the read fails.
	_, _ = io.Copy(io.Discard, r)     // Frames, up to the close of an edge that goes.
	if c.ctx.Err() == nil {
		c.seen.sentAway.Add(1)
	}
}

// wholeMost bounds how long clients may take until all are connected.
const wholeMost = time.Minute

// whole waits until all who stay are connected.
func (c *crowd) whole(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, wholeMost)
	defer cancel()
	for c.held.Load() < int64(n) {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d clients are connected: %w", c.held.Load(), n, err)
		}
	}
	return nil
}

// storm has others connect, so many in a second, who go again when they have their hello. Each of them tries once.
func (c *crowd) storm(perSecond int) {
	room := make(chan struct{}, stormMost)
	c.all.Go(func() {
		next := time.NewTicker(stormEvery)
		defer next.Stop()
		began, sent := time.Now(), 0
		for {
			select {
			case <-c.ctx.Done():
				return
			case <-next.C:
			}
			// What a busy machine has missed is made up for.
			for due := int(time.Since(began).Seconds() * float64(perSecond)); sent < due; sent++ {
				select {
				case room <- struct{}{}:
					c.all.Go(func() {
						defer func() { <-room }()
						c.tryOnce()
					})
				default: // It is missing in the table.
				}
			}
		}
	})
}

func (c *crowd) tryOnce() {
	began := time.Now()
	conn, _, err := c.connect()
	if c.ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return // The end is no answer.
	}
	s := &c.seen
	s.connects.Add(1)
	switch {
	case err == nil:
		conn.Close()
		s.served.Add(1)
		for took := int64(time.Since(began)); ; {
			if is := s.longest.Load(); took <= is || s.longest.CompareAndSwap(is, took) {
				break
			}
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		s.refused.Add(1)
	case errors.Is(err, errUnavailable):
		s.unavailable.Add(1)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		s.late.Add(1)
	default: // A reset, or an end before the answer.
		s.reset.Add(1)
	}
}
