// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command gnet is the smallest sensible server on gnet v2: the same rows as
// bench/floor, the same sweep over its conns, and nothing that is not needed for
// them. What it costs more than the floor is the price of the library; what edge costs
// more than this is the price of edge.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"tickedge/bench/yard/bare"
)

func main() {
	loops := flag.Int("loops", 1, "event loops")
	bare.Main("gnet", func(c *bare.Config) error { return run(c, *loops) })
}

// run serves until something fails.
func run(c *bare.Config, loops int) error {
	if loops < 1 {
		return fmt.Errorf("-loops %d: want at least 1, such as -loops 1", loops)
	}
	ended, ready := make(chan error), make(chan struct{})
	for range loops {
		// Each loop has rows of its own. They cost less than sharing would.
		l := &loop{
			rows: bare.NewRows(c.Names, c.Rate, time.Now()), numbers: bare.NewTopics(c.Names),
			sweep: bare.Sweep{Window: c.Window}, hello: bare.AppendText(nil, bare.Hello(c.Window)),
			out: make([]byte, bare.FrameSize(bare.TopicsMax)), ready: ready,
		}
		go func() {
			err := gnet.Run(l, "tcp://"+c.Addr, gnet.WithNumEventLoop(1), gnet.WithReusePort(true),
				gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithReadBufferCap(16<<10))
			ended <- fmt.Errorf("event loop ended: %w", err)
		}()
		select {
		case <-ready:
		case err := <-ended:
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "gnet: listening on %s with %d loops\n", c.Addr, loops)
	return <-ended
}

// conn is one client: no topics <=> it has not subscribed yet.
type conn struct {
	gc     gnet.Conn
	place  int // In loop.conns.
	shaken bool
	topics []uint16
}

// loop is a gnet engine with one event loop, whose goroutine owns all of it but
// events and queued.
type loop struct {
	gnet.BuiltinEventEngine
	rows    *bare.Rows
	numbers bare.Topics
	sweep   bare.Sweep
	hello   []byte
	out     []byte
	conns   []*conn
	ready   chan<- struct{}

	events gnet.EventLoop // Set once, before drive begins.
	queued atomic.Bool    // A turn waits in gnet's queue, or runs.
}

func (l *loop) OnBoot(gnet.Engine) gnet.Action {
	l.ready <- struct{}{}
	return gnet.None
}

// drive has the loop make its turns, which only it may make.
func (l *loop) drive() {
	ctx := context.Background()
	for range time.Tick(bare.Turn) {
		if l.queued.CompareAndSwap(false, true) && l.events.Execute(ctx, l) != nil {
			return
		}
	}
}

// Run is a turn: it sends each conn whose time has come its rows.
func (l *loop) Run(context.Context) error {
	now := time.Now()
	l.rows.Refresh(now)
	ms := now.UnixMilli()
	from, to := l.sweep.Next(now, len(l.conns))
	for i := from; i < min(to, len(l.conns)); i++ {
		c := l.conns[i]
		// A write can close the conn, and another takes its place. That one waits for
		// the next window.
		if len(c.topics) > 0 && c.gc.OutboundBuffered() == 0 {
			_, _ = c.gc.Write(l.rows.Gather(l.out, c.topics, ms))
		}
	}
	l.queued.Store(false)
	return nil
}

func (l *loop) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	if l.events == nil {
		l.events = gc.EventLoop()
		go l.drive()
	}
	c := &conn{gc: gc, place: len(l.conns)}
	l.conns = append(l.conns, c)
	gc.SetContext(c)
	return nil, gnet.None
}

func (l *loop) OnClose(gc gnet.Conn, _ error) gnet.Action {
	c := gc.Context().(*conn)
	last := len(l.conns) - 1
	l.conns[c.place], l.conns[last].place = l.conns[last], c.place
	l.conns[last] = nil
	l.conns = l.conns[:last]
	return gnet.None
}

func (l *loop) OnTraffic(gc gnet.Conn) gnet.Action {
	c := gc.Context().(*conn)
	for {
		in, _ := gc.Peek(-1)
		size, action := l.take(c, in)
		if size == 0 && len(in) > bare.InMax {
			return gnet.Close
		}
		if size == 0 || action != gnet.None {
			return action
		}
		_, _ = gc.Discard(size)
	}
}

// take acts on the request or the frame that in begins with, and returns its size, 0
// if it is not all there.
func (l *loop) take(c *conn, in []byte) (int, gnet.Action) {
	if !c.shaken {
		size := bare.HeadSize(in)
		if size == 0 {
			return 0, gnet.None
		}
		answer, ok := bare.AppendAnswer(l.out[:0], in[:size])
		if !ok {
			return size, gnet.Close
		}
		c.shaken = true
		_, _ = c.gc.Write(append(answer, l.hello...))
		return size, gnet.None
	}
	op, payload, size := bare.NextFrame(in)
	switch {
	case size == 0:
	case op == bare.OpClose:
		return size, gnet.Close
	case op == bare.OpText && len(c.topics) == 0:
		var topics [bare.TopicsMax]uint16
		n := l.numbers.Subscribe(payload, topics[:])
		if n == 0 {
			return size, gnet.Close
		}
		c.topics = slices.Clone(topics[:n])
		_, _ = c.gc.Write(bare.AppendAck(l.out[:0], n))
	}
	return size, gnet.None
}
