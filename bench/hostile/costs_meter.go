// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/bench/internal/lab"
)

// costMeter measures one edge.
type costMeter struct {
	edge  *edge
	query string       // Of each handshake.
	next  atomic.Int64 // Of the numbers of conns.
}

// dial comes from an address of its own, so that limits by source do not add up.
func (m *costMeter) dial(number int) (*peer, error) {
	return m.edge.connectFrom(net.IPv4(127, 3, byte(number>>8), byte(number)), 0)
}

func (m *costMeter) open() (*payer, error) {
	number := int(m.next.Add(1))
	p, err := m.dial(1 + number%60_000)
	if err == nil {
		err = p.upgrade(m.query)
	}
	if err != nil {
		return nil, err
	}
	_ = p.SetDeadline(time.Time{})
	a := &payer{TCPConn: p.TCPConn, number: number, marks: make(chan struct{}, 1<<16), ended: make(chan struct{})}
	go a.listen()
	return a, nil
}

// ready opens a conn and sends what comes first.
func (m *costMeter) ready(k *kind) (*payer, error) {
	a, err := m.open()
	if err != nil {
		return nil, err
	}
	if _, err := a.Write(append(slices.Clone(k.first), alive...)); err != nil {
		return nil, err
	}
	if err := a.await(); err != nil {
		return nil, err
	}
	return a, nil
}

func (m *costMeter) readyAll(k *kind, n int) ([]*payer, error) {
	var all []*payer
	for range n {
		a, err := m.ready(k)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func closeAll(all []*payer) {
	for _, a := range all {
		_ = a.SetLinger(0)
		_ = a.Close()
		<-a.ended
	}
}

// holdAll keeps the topics with values in the edge's table.
func (m *costMeter) holdAll() error {
	for _, name := range []func(int) string{topicName, bigName} {
		if _, err := m.ready(&kind{first: subscribe(list(universe, name))}); err != nil {
			return err // The others stay until the edge ends.
		}
	}
	m.pause(2 * time.Second) // They are fetched meanwhile.
	return nil
}

// pause waits while the edge does what it does by itself.
func (m *costMeter) pause(d time.Duration) {
	select {
	case <-m.edge.ctx.Done():
	case <-time.After(d):
	}
}

// idle is what the edge uses by itself with the conns that are there, in cores.
func (m *costMeter) idle(d time.Duration) (float64, error) {
	u, err := m.edge.server.Use(func() error { m.pause(d); return nil })
	return u.Share(), err
}

// beyond is the CPU that was used beyond what the edge uses by itself, in seconds.
func beyond(rest float64, u lab.Usage) float64 { return u.CPU.Seconds() - rest*u.Took.Seconds() }

func (m *costMeter) cost(k kind) (c cost, err error) {
	c.kind = k
	if k.once != nil {
		return c, m.requests(&c)
	}
	if err := m.packed(&c); err != nil {
		return c, fmt.Errorf("at once: %w", err)
	}
	if k.never {
		return c, nil
	}
	if c.rate, err = m.permitted(&k); err != nil {
		return c, err
	}
	if math.IsInf(c.rate, 1) {
		c.core, err = m.flooded(&k)
	} else if c.rate > 0 {
		c.core, err = m.steady(&k, c.rate)
		c.core = max(c.core, c.rate*c.each/1e6) // Below the noise of the measurement.
	}
	return c, err
}

// onWire is how many bytes of IP packets n bytes are that are sent at once.
func onWire(n int) float64 {
	return float64(n) + packetHead*math.Ceil(float64(n)/segment)
}

// packed measures many conns that each send as many as are let through at once.
func (m *costMeter) packed(c *cost) error {
	const rounds = 3
	var figures []float64
	for range rounds {
		with, size, err := m.burst(&c.kind, c.atOnce)
		if err != nil {
			return err
		}
		without, _, err := m.burst(&c.kind, 0)
		if err != nil {
			return err
		}
		n := float64(packed * c.atOnce)
		figures = append(figures, (with-without)/n*1e6)
		c.size = size / n
	}
	c.each = max(0, median(figures))
	c.perByte = c.each * 1e3 / c.size
	return nil
}

// burst has conns send n messages each and a sign of life, and returns the CPU and the
// bytes of the messages.
func (m *costMeter) burst(k *kind, n int) (cpu, size float64, err error) {
	all, err := m.readyAll(k, packed)
	if err != nil {
		return 0, 0, err
	}
	defer closeAll(all)
	m.pause(300 * time.Millisecond) // Of the snapshots of what came first.
	rest, err := m.idle(300 * time.Millisecond)
	if err != nil {
		return 0, 0, err
	}
	used, err := m.edge.server.Use(func() error {
		for _, a := range all {
			sent, err := a.send(k, n, alive)
			if err == nil {
				err = a.await()
			}
			if err != nil {
				return err
			}
			size += sent
		}
		if strings.Contains(k.name, "new name") {
			m.pause(500 * time.Millisecond) // The feed has its part in it.
		}
		return nil
	})
	return beyond(rest, used), size, err
}

// permitted is the rate at which one conn may send for as long as it likes.
func (m *costMeter) permitted(k *kind) (rate float64, err error) {
	one, err := m.ready(k)
	if err != nil {
		return 0, err
	}
	until := time.Now().Add(time.Second)
	for time.Now().Before(until) && !one.refused.Load() && m.edge.ctx.Err() == nil {
		if _, err := one.send(k, 8, nil); err != nil {
			break
		}
	}
	m.pause(300 * time.Millisecond)
	free := !one.refused.Load()
	closeAll([]*payer{one})
	if free {
		return math.Inf(1), nil
	}
	all, err := m.readyAll(k, len(ladder))
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	m.at(all, k, func(i int) float64 { return ladder[i] }, leadIn+measure)
	m.pause(2 * time.Second) // The edge may be behind with its answers.
	for i, a := range all {
		if !a.refused.Load() {
			return ladder[i], nil
		}
	}
	return 0, nil
}

// at has each conn send at its rate for a time, evenly.
func (m *costMeter) at(all []*payer, k *kind, rate func(i int) float64, d time.Duration) {
	var going sync.WaitGroup
	end := time.Now().Add(d)
	for i, a := range all {
		going.Go(func() {
			every := time.Duration(float64(time.Second) / rate(i))
			next := time.Now().Add(every * time.Duration(i) / time.Duration(len(all)))
			for next.Before(end) && !a.refused.Load() && m.edge.ctx.Err() == nil {
				m.pause(time.Until(next))
				if _, err := a.send(k, 1, nil); err != nil {
					return
				}
				next = next.Add(every)
			}
		})
	}
	going.Wait()
}

// steady is the share of a core that one of many conns takes at a rate.
func (m *costMeter) steady(k *kind, rate float64) (float64, error) {
	all, err := m.readyAll(k, steady)
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	m.pause(500 * time.Millisecond)
	rest, err := m.idle(2 * time.Second)
	if err != nil {
		return 0, err
	}
	busy := 0.0
	done := make(chan error, 1)
	go func() {
		m.pause(leadIn / 3)
		var err error
		busy, err = m.idle(measure)
		done <- err
	}()
	m.at(all, k, func(int) float64 { return rate }, leadIn/3+measure+time.Second/2)
	err = <-done
	return (busy - rest) / float64(len(all)), err
}

// flooded is the share of a core that one conn takes that sends all it can.
func (m *costMeter) flooded(k *kind) (float64, error) {
	rest, err := m.idle(time.Second)
	if err != nil {
		return 0, err
	}
	one, err := m.ready(k)
	if err != nil {
		return 0, err
	}
	defer closeAll([]*payer{one})
	used, err := m.edge.server.Use(func() error {
		for begin := time.Now(); time.Since(begin) < measure && m.edge.ctx.Err() == nil; {
			if _, err := one.send(k, 64, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return used.Share() - rest, err
}

// requests measures conns that send one request each and end.
func (m *costMeter) requests(c *cost) error {
	n, atOnce := 2000, 8
	if c.dribble {
		n = 200
	}
	rest, err := m.idle(time.Second)
	if err != nil {
		return err
	}
	used, err := m.edge.server.Use(func() error {
		if what := crowd(n, atOnce, func(i int) string { return m.request(c, i) }); what != fmt.Sprintf("%d × done", n) {
			return errors.New(what)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.each = beyond(rest, used) / float64(n) * 1e6
	// And the SYN, two acknowledgements and the FIN of the client.
	c.size = onWire(len(c.once(0))) + 4*packetHead + onWire(len(c.then)+len(closing(1000, "")))
	if c.dribble {
		c.size += packetHead * float64(len(c.once(0))-1)
	}
	c.perByte = c.each * 1e3 / c.size
	return nil
}

// request sends the i-th request of a kind.
func (m *costMeter) request(c *cost, i int) string {
	from := 1 + i%1000
	if c.oneSource {
		from = 1001
	}
	p, err := m.dial(from)
	return using(p, err, func(p *peer) string {
		// Errors show as a missing answer.
		if b := c.once(i); c.dribble {
			_ = dribble(p, b)
		} else {
			_, _ = p.Write(b)
		}
		status, err := p.head()
		if err != nil {
			return err.Error()
		}
		if status == 101 {
			_, _ = p.Write(append(slices.Clone(c.then), closing(1000, "")...))
		}
		return cmp.Or(strings.TrimPrefix(p.end(), "ended"), "done")
	})
}
