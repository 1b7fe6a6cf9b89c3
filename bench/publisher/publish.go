// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	// every is the least time between two writes. A broker then gets some 200 messages at a
	// time at the highest rates, and hands them on at once.
	every = time.Millisecond
	// debtMax bounds what is made up for after a time in which the broker or this process did
	// not get on. What is above it is never sent, and shows as a lower rate.
	debtMax = 50 * time.Millisecond
	// patience bounds the wait for the last answers.
	patience = 5 * time.Second
	// unackedMax bounds the messages that JetStream has not acknowledged: it takes what comes
	// into a queue without a limit.
	unackedMax = 10_000
)

// publish publishes until ctx ends, and then waits for the last answers.
func publish(ctx context.Context, c *config) (*report, error) {
	commands := newRing(c)
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	// From the end of ctx on, neither a write nor an answer may take for ever.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now().Add(patience)) })
	defer stop()

	var answers replies
	failed, read := make(chan error, 1), func() error { return answers.read(conn) }
	if c.nats {
		read = func() error { return answers.readNATS(conn) }
		if _, err := io.WriteString(conn, natsHello); err != nil {
			return nil, fmt.Errorf("write: %w", err)
		}
	}
	go func() { failed <- read() }()

	w := &writer{conn: conn, commands: commands, rate: c.rate, answers: &answers, failed: failed}
	if c.acked {
		w.unacked = unackedMax
	}
	if err := w.write(ctx); err != nil {
		return nil, err
	}
	if err := w.await(c); err != nil {
		return nil, err
	}
	w.Sent, w.Unheard, w.Wanted = w.written, answers.unheard.Load(), commands.wanted
	if c.last != "" {
		if err := os.WriteFile(c.last, commands.last(), 0o644); err != nil {
			return nil, err
		}
	}
	return &w.report, nil
}

// writer writes commands at a rate. Owned by one goroutine.
type writer struct {
	report
	conn     io.Writer
	commands *ring
	rate     float64
	answers  *replies
	failed   <-chan error // The end of reading answers.
	unacked  int          // How many may be without an answer; 0 has no limit.
	written  uint64       // Messages.
}

// write writes until ctx ends or the answers fail.
func (w *writer) write(ctx context.Context) error {
	most := max(1, int(debtMax.Seconds()*w.rate))
	began, forgone := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.failed:
			return err
		case <-time.After(every):
		}
		now := time.Now()
		due := int(now.Sub(began).Seconds()*w.rate-forgone) - int(w.written)
		if due > most {
			forgone += float64(due - most)
			due = most
		}
		if w.unacked > 0 {
			if room := w.unacked - int(w.written-w.answers.published.Load()); room < due {
				due = room
				w.Blocked += every
			}
		}
		for due > 0 {
			n, err := w.some(due, now)
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
			due -= n
		}
		w.Forgone = uint64(forgone)
	}
}

// some writes n messages, dated now, or fewer.
func (w *writer) some(n int, now time.Time) (int, error) {
	text, n := w.commands.take(n, now)
	before := time.Now()
	if _, err := w.conn.Write(text); err != nil {
		return 0, err
	}
	// A write that nothing is in the way of takes some 0.1 ms.
	if took := time.Since(before); took > every {
		w.Blocked += took
	}
	w.written += uint64(n)
	return n, nil
}

// await waits until all that was written has been answered. NATS answers no message of its own
// accord, but a PING that comes behind them.
func (w *writer) await(c *config) error {
	answered := func() bool { return w.answers.published.Load() >= w.written }
	if c.nats && !c.acked {
		if _, err := io.WriteString(w.conn, "PING\r\n"); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		answered = func() bool { return w.answers.pongs.Load() >= 2 } // The first one is that of the hello.
	}
	for !answered() {
		select {
		case err := <-w.failed:
			return fmt.Errorf("%d of %d messages were answered: %w", w.answers.published.Load(), w.written, err)
		case <-time.After(every):
		}
	}
	return nil
}

// last has the last value of each topic that is wanted and has had one.
func (r *ring) last() []byte {
	var b bytes.Buffer
	for i := range r.of {
		if t := &r.of[i]; t.wanted && t.sent {
			fmt.Fprintf(&b, "%s\t%s\n", t.name, r.text[t.value:t.value+t.size])
		}
	}
	return b.Bytes()
}
