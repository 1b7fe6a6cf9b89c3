// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tickedge/bench/internal/lab"
)

const (
	// universe is how many topics tick, which is as many as a conn may have, and rate
	// how often each of them does in a second.
	universe = 256
	rate     = 10

	// settleMax is how long the edge may take to be back where it was: conns that are
	// closing have 2 s, and a counter may be a fraction of a second old. The rest is for
	// machines that are busy.
	settleMax = 30 * time.Second
	// lingerMax is how long topics may take to be gone, which linger for 30 s.
	lingerMax = 90 * time.Second

	// poolMax is how many goroutines and descriptors the edge may have more than before:
	// its pool of connections to Redis grows when many values are fetched at once.
	poolMax = 20
	// rssMax is by how much its memory may grow. The most is due to 100,000 topics and
	// to 5,000 conns, of which it keeps the room.
	rssMax = 128 << 20
)

// edge is the edge under test.
type edge struct {
	lab      *lab.Lab
	server   *lab.Server
	broken   broken
	addr     string
	redis    string // The URL of its Redis.
	ctx      context.Context
	dialed   atomic.Int64 // Conns that peers have opened.
	baseline level
	peak     level
}

// level is how much an edge holds.
type level struct {
	accepted, conns, subscriptions, goroutines, fds float64
	topics, feedTopics, channels                    float64 // Channels are those of Redis.
	rss                                             int64
}

func startEdge(ctx context.Context, l *lab.Lab, args []string) (*edge, error) {
	_, redis, err := l.Redis()
	if err != nil {
		return nil, err
	}
	if _, err := l.Ticks(redis, universe, universe*rate); err != nil {
		return nil, err
	}
	broken, sources, err := startBroken(redis)
	if err != nil {
		return nil, err
	}
	server, err := l.Edge(sources, 1, args...)
	if err != nil {
		broken.end()
		return nil, err
	}
	return &edge{lab: l, server: server, broken: broken, addr: server.Addr, redis: redis, ctx: ctx}, nil
}

// topicName is a topic that ticks.
func topicName(i int) string { return fmt.Sprintf(lab.TopicPattern, i%universe) }

func (e *edge) level() (v level, err error) {
	m, err := e.server.Metrics()
	if err != nil {
		return v, err
	}
	v.conns, v.accepted = m.Sum("edge_connections"), m["edge_connections_accepted_total"]
	v.subscriptions, v.goroutines = m["edge_subscriptions"], m["go_goroutines"]
	v.topics, v.feedTopics, v.channels = m["edge_topics"], m["edge_feed_topics"], m["edge_feed_channels"]
	s, err := e.server.Procs[0].Sample()
	v.fds, v.rss = float64(s.FDs), s.RSS
	e.peak.conns, e.peak.rss = max(e.peak.conns, v.conns), max(e.peak.rss, v.rss)
	return v, err
}

// takeBaseline waits for the subscribers to be all that there is.
func (e *edge) takeBaseline() error {
	var v level
	var err error
	ok := e.until(settleMax, func() bool {
		v, err = e.level()
		return err == nil && v.conns == watchers && v.subscriptions == watchers*watchTopics && v.channels == v.topics
	})
	if !ok {
		return errors.Join(fmt.Errorf("the edge has %v conns with %v subscriptions and %v of %v channels, want those of %d subscribers", v.conns, v.subscriptions, v.channels, v.topics, watchers), err)
	}
	e.baseline = v
	return nil
}

// settled waits until the edge holds what it held before, and says what does not come
// back. Topics linger for half a minute and count only if they are asked for.
func (e *edge) settled(topics bool) error {
	atMost := settleMax
	if topics {
		atMost = lingerMax
	}
	var wrong string
	var err error
	e.until(atMost, func() bool {
		var v level
		if v, err = e.level(); err != nil {
			return e.lab.Failed() != nil
		}
		wrong = v.above(&e.baseline, float64(e.dialed.Load()), topics)
		return wrong == ""
	})
	if failed := e.lab.Failed(); failed != nil {
		return failed
	}
	if err == nil && wrong != "" {
		err = errors.New(wrong)
	}
	return err
}

// above says what there is more of than before, nothing if all is as it was. dialed is
// how many conns the edge must have accepted: before that the counters are old.
func (v *level) above(before *level, dialed float64, topics bool) string {
	var all []string
	check := func(name string, now, most float64) {
		if now > most {
			all = append(all, fmt.Sprintf("%.0f %s, at most %.0f are right", now, name, most))
		}
	}
	if v.accepted < dialed {
		all = append(all, fmt.Sprintf("%.0f of %.0f conns accepted", v.accepted, dialed))
	}
	check("connections", v.conns, before.conns)
	check("subscriptions", v.subscriptions, before.subscriptions)
	check("goroutines", v.goroutines, before.goroutines+poolMax)
	check("descriptors", v.fds, before.fds+poolMax)
	check("MiB of memory", float64(v.rss>>20), float64((before.rss+rssMax)>>20))
	if topics {
		check("topics", v.topics, before.topics)
		check("topics of the feed", v.feedTopics, before.feedTopics)
		check("channels", v.channels, before.channels)
	}
	return strings.Join(all, ", ")
}

// until polls for a condition, and reports whether it came to hold.
func (e *edge) until(atMost time.Duration, holds func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(atMost); !holds(); {
		if time.Now().After(deadline) {
			return false
		}
		select {
		case <-e.ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// heap is what is in use after a garbage collection, in bytes.
func (e *edge) heap() (float64, error) {
	if _, err := e.server.Page(e.ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return 0, err
	}
	m, err := e.server.Metrics()
	return m["go_memstats_heap_inuse_bytes"], err
}

// closings is how many conns were closed so far, by reason. The counters include all of
// an earlier input if the edge is settled.
func (e *edge) closings() map[string]float64 {
	m, _ := e.server.Metrics() // If it fails, so does the wait of the input that asks.
	return m.By("edge_connections_closed_total", "reason")
}

// closed waits until n conns more than before were closed for one of the reasons, and
// returns how many were: "20 × slow_consumer". Several reasons are told as one.
func (e *edge) closed(before map[string]float64, n int, atMost time.Duration, reasons ...string) string {
	sum := 0
	e.until(atMost, func() bool {
		sum = 0
		for reason, count := range e.closings() {
			if slices.Contains(reasons, reason) {
				sum += int(count - before[reason])
			}
		}
		return sum >= n
	})
	return fmt.Sprintf("%d × %s", sum, strings.Join(reasons, " or "))
}

func (e *edge) summary() string {
	load, _ := os.ReadFile("/proc/loadavg") // Of a host that has other things to do, gaps tell little.
	return fmt.Sprintf("The edge held up to %.0f conns, its memory was %d MiB at first and %d MiB at most. Load of the host: %.14s.",
		e.peak.conns, e.baseline.rss>>20, e.peak.rss>>20, load)
}
