// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/bench/internal/wire"
)

const (
	squatterAddrs = 100 // Addresses that they come from.
	squatterNames = 256 // Made-up names of each conn, as many as it may have.
	// squatHold is how long a wave stays once all of it has come.
	squatHold = 3 * time.Second
	// servedTopics is how many topics each of the others asks for, once a second.
	servedTopics = 10
)

func squatterInputs(p *plan) []input {
	return []input{{
		name: fmt.Sprintf("squatters: for %v waves of %d conns from %d addresses, each with %d made-up names, beside clients that come anew each second",
			p.squatFor, p.squatters, squatterAddrs, squatterNames),
		demand: squatDemand(p),
		source: "OPERATIONS.md, topics without a value",
		send:   squat,
	}}
}

func squatDemand(p *plan) string {
	return fmt.Sprintf("whoever asks for topics that exist has all values within %v, each time", p.servedMax)
}

// squat fills an edge of its own with made-up names, while a client asks for topics that
// others have too, and one for such that are new to the edge, but not to Redis.
func squat(r *run) string {
	fresh, err := r.edge.setFresh(servedTopics * (int(r.squatFor/time.Second) + 60))
	if err != nil {
		return err.Error()
	}
	server, err := r.edge.lab.Edge(r.edge.redis, 1, r.squatArgs...)
	if err != nil {
		return err.Error()
	}
	defer r.edge.lab.StopServer(server)
	e := &edge{lab: r.edge.lab, server: server, addr: server.Addr, ctx: r.edge.ctx}

	end := time.Now().Add(r.squatFor)
	var conns, waves atomic.Int64
	var going sync.WaitGroup
	going.Go(func() {
		for wave := uint64(0); time.Now().Before(end) && e.ctx.Err() == nil; wave++ {
			conns.Add(int64(squatWave(e, r.plan, wave, end)))
			waves.Add(1)
		}
	})
	known := list(servedTopics, topicName)
	var seen [2]served
	going.Go(func() { seen[0].each(e, end, func(int) []string { return known }) })
	going.Go(func() {
		seen[1].each(e, end, func(i int) []string { return fresh[i*servedTopics:][:servedTopics] })
	})
	going.Wait()

	for i, what := range []string{"topics that others have", "topics new to the edge"} {
		fmt.Fprintf(r.log, "        %s: %s\n", what, &seen[i])
	}
	m, _ := server.Metrics() // If it fails the line says 0.
	fmt.Fprintf(r.log, "        %d squatters in %d waves; of the edge's topics %.0f have no value, %.0f were taken from somebody\n",
		conns.Load(), waves.Load(), m["edge_topics_rowless"], m[`edge_topics_reclaimed_total{state="held"}`])
	var wrong []string
	allowed := r.servedMax + time.Duration(r.watch.pause.Load())
	for i := range seen {
		if text := seen[i].wrong(allowed); text != "" {
			wrong = append(wrong, text)
		}
	}
	if len(wrong) > 0 {
		return strings.Join(wrong, "; ")
	}
	return squatDemand(r.plan)
}

// squatWave opens conns that each subscribe made-up names, holds them and closes them. It
// returns how many have come.
func squatWave(e *edge, p *plan, wave uint64, end time.Time) int {
	var mu sync.Mutex
	var held []*peer
	crowd(p.squatters, 32, func(i int) string {
		if time.Now().After(end) {
			return ""
		}
		ip := net.IPv4(127, 3, byte(i%squatterAddrs/10), byte(1+i%squatterAddrs%10))
		c, err := e.connectFrom(ip, 0)
		if err != nil {
			return err.Error()
		}
		rng := rand.New(rand.NewPCG(p.seed+wave, uint64(i)))
		if _, err := io.WriteString(c, goodRequest("")); err == nil {
			if _, err = c.head(); err == nil {
				// If it fails, so much the better for the others.
				_, _ = c.Write(subscribe(list(squatterNames, func(int) string { return fmt.Sprintf("%016x", rng.Uint64()) })))
			}
		}
		mu.Lock()
		held = append(held, c)
		mu.Unlock()
		return ""
	})
	e.until(min(squatHold, max(0, time.Until(end))), func() bool { return false })
	for _, c := range held {
		c.reset()
	}
	return len(held)
}

// served is how a client fared that came again and again.
type served struct {
	times   int
	took    []time.Duration
	failed  int
	failure string // The last.
}

// each comes once a second and asks for some topics, until the end.
func (s *served) each(e *edge, end time.Time, names func(i int) []string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; time.Now().Before(end) && e.ctx.Err() == nil; i++ {
		took, err := e.serve(names(i))
		s.times++
		s.took = append(s.took, took)
		if err != nil {
			s.failed++
			s.failure = err.Error()
		}
		<-tick.C
	}
}

// wrong says what was wrong, nothing if all was well.
func (s *served) wrong(most time.Duration) string {
	late := 0
	for _, took := range s.took {
		if took > most {
			late++
		}
	}
	switch {
	case s.failed > 0:
		return fmt.Sprintf("%d of %d times not served: %s", s.failed, s.times, s.failure)
	case late > 0:
		return fmt.Sprintf("%d of %d times later than %v, at most %v", late, s.times, most, slices.Max(s.took).Round(time.Millisecond))
	case s.times == 0:
		return "never came"
	}
	return ""
}

func (s *served) String() string {
	if s.times == 0 {
		return "never came"
	}
	sorted := slices.Sorted(slices.Values(s.took))
	return fmt.Sprintf("came %d times, had all values after %v in the median and %v at most; not served %d times %s",
		s.times, sorted[len(sorted)/2].Round(time.Millisecond), sorted[len(sorted)-1].Round(time.Millisecond), s.failed, s.failure)
}

// serve opens a WebSocket for some topics, and returns how long it took from the first packet
// until there was a value of each.
func (e *edge) serve(names []string) (took time.Duration, err error) {
	begin := time.Now()
	p, err := e.upgradedBy("?topics="+strings.Join(names, ","), 0, 0)
	if err != nil {
		return time.Since(begin), err
	}
	defer p.Close()
	missing := make(map[string]bool)
	for _, name := range names {
		missing[name] = true
	}
	for len(missing) > 0 {
		op, payload, err := p.frame()
		if err != nil {
			return time.Since(begin), fmt.Errorf("%s, without %d of %d values", ending(err), len(missing), len(names))
		}
		if op != wire.OpText {
			continue
		}
		var m struct {
			T        string
			Rejected []struct {
				Code   int
				Reason string
			}
			Topics json.RawMessage
			D      []struct{ S string }
		}
		if err := json.Unmarshal(payload, &m); err != nil {
			return time.Since(begin), err
		}
		switch {
		case len(m.Rejected) > 0:
			return time.Since(begin), fmt.Errorf("rejected %d: %s", m.Rejected[0].Code, m.Rejected[0].Reason)
		case m.T == "unsubscribed":
			return time.Since(begin), fmt.Errorf("unsubscribed %s", m.Topics)
		}
		for _, row := range m.D {
			delete(missing, row.S)
		}
	}
	return time.Since(begin), nil
}

// setFresh puts values of topics into Redis that no edge has heard of, and returns their
// names.
func (e *edge) setFresh(n int) ([]string, error) {
	names := list(n, func(i int) string { return fmt.Sprintf("FRESH-%06d", i) })
	return names, set(e.redis, names, func(i int) string { return fmt.Sprint(i) })
}

// set gives topics values that an edge can fetch. They have no blanks and quotes.
func set(redis string, topics []string, value func(i int) string) error {
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(redis, "redis://"), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	var commands strings.Builder
	for i, name := range topics {
		fmt.Fprintf(&commands, "SET price:%s %s\r\n", name, value(i))
	}
	commands.WriteString("QUIT\r\n")
	if _, err := io.WriteString(c, commands.String()); err != nil {
		return err
	}
	answers, err := io.ReadAll(c)
	if got := strings.Count(string(answers), "+OK"); err == nil && got != len(topics)+1 {
		err = fmt.Errorf("redis has answered %d of %d SET with OK: %.100q", got, len(topics), answers)
	}
	return err
}
