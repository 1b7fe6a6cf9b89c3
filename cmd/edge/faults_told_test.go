// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// forgotten demands that all clients are told of their quiet topics that these are stale, unless they are current, and has
// them tick.
func (r *faultRun) forgotten() {
	r.t.Helper()
	r.eventually("quiet topics are told as stale", time.Now(), currentWithin, func() bool {
		return r.each(func(l *listener) bool {
			for _, topic := range l.topics {
				held, shown := l.held[topic]
				if shown && held != r.publishers.seq[topic].Load() && slices.Contains(quiet(), topic) && !slices.ContainsFunc(l.stale, func(n staleNotice) bool { return n.topic == topic }) {
					return false
				}
			}
			return true
		})
	})
	r.tick(quiet())
}

// ticksOn waits until each loud topic has ticked again.
func (r *faultRun) ticksOn() {
	r.t.Helper()
	before := make(map[int]uint64)
	for _, topic := range loud() {
		before[topic] = r.publishers.seq[topic].Load()
	}
	r.eventually("loud topics tick on", time.Now(), patience, func() bool {
		return !slices.ContainsFunc(loud(), func(topic int) bool { return r.publishers.seq[topic].Load() < before[topic]+2 })
	})
}

// ofEitherEdge are two quiet topics, of which each edge has another.
func ofEitherEdge() []int { return []int{quiet()[0], quiet()[topicsPerClient/2]} }

// forbidden demands that clients are told of topics that their edges may not have any more, and that the
// other topics go on.
func (r *faultRun) forbidden(topics []int) {
	r.t.Helper()
	for _, topic := range topics {
		r.toldStale(topic, 403)
	}
	r.tick(quiet())
	others := slices.DeleteFunc(quiet(), func(topic int) bool { return slices.Contains(topics, topic) })
	r.eventually("the other topics are current", time.Now(), currentWithin, func() bool { return r.current(others) })
	if r.current(topics) {
		r.t.Error("what is forbidden is shown")
	}
}

// toldStale waits until those of all clients who have a topic were told that it is stale, with a code.
func (r *faultRun) toldStale(topic, code int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s is told as stale with code %d", topicName(topic), code), time.Now(), currentWithin, func() bool {
		return r.each(func(l *listener) bool {
			return !slices.Contains(l.topics, topic) || slices.Contains(l.stale, staleNotice{topic, code})
		})
	})
}

// toldUp waits until all clients know that the feed is up again.
func (r *faultRun) toldUp(healed time.Time) {
	r.t.Helper()
	r.eventually("all clients were told that the feed is up", healed, currentWithin+r.fault.moreTime+time.Second, func() bool {
		return r.each(func(l *listener) bool {
			if len(l.feeds) == 0 {
				return false
			}
			last := l.feeds[len(l.feeds)-1]
			return last.state == "up" && r.sinceStruck(last)
		})
	})
}

// sinceStruck reports whether a change is one that the fault made, in whole milliseconds.
func (r *faultRun) sinceStruck(n feedNotice) bool {
	return !n.since.Before(r.struck.Truncate(time.Millisecond)) && !n.since.After(n.at)
}

// each reports whether ok holds for all clients.
func (r *faultRun) each(ok func(*listener) bool) bool {
	for _, l := range r.listeners {
		l.mu.Lock()
		holds := ok(l)
		l.mu.Unlock()
		if !holds {
			return false
		}
	}
	return true
}

// eachOf is each for the clients of one edge.
func (r *faultRun) eachOf(versioned bool, ok func(*listener) bool) bool {
	return r.each(func(l *listener) bool { return l.versioned != versioned || ok(l) })
}

// judge looks at what has to hold all the time, and returns the longest time that a
// client was without a frame.
func (r *faultRun) judge() (silence time.Duration) {
	r.t.Helper()
	// A heartbeat is due at the first visit after its time, and visits are half a
	// second apart.
	most := beat + 500*time.Millisecond + time.Second + 2*r.late.get()
	if !*longFaults {
		most += 2*time.Second + 2*r.late.get() // The edge is late too, and so are its clients.
	}
	for i, l := range r.listeners {
		l.mu.Lock()
		if l.failure != nil {
			r.t.Errorf("client %d: %v", i, l.failure)
		}
		if l.versioned || !r.fault.lossy {
			for _, row := range l.back {
				r.t.Errorf("client %d saw %s", i, row)
			}
		}
		if l.silence > most {
			r.t.Errorf("client %d was without a frame for %v, want at most %v", i, l.silence, most)
		}
		silence = max(silence, l.silence)
		l.mu.Unlock()
	}
	return silence
}

// gaps is edge_feed_gaps_total of each edge.
func (r *faultRun) gaps() (gaps []float64) {
	for _, e := range r.edges {
		gaps = append(gaps, sum(r.t, e, "edge_feed_gaps_total"))
	}
	return gaps
}

// sum adds up a metric over its labels.
func sum(t *testing.T, e *edge, name string) (total float64) {
	t.Helper()
	_, body := e.get("/metrics")
	found := false
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			t.Fatal(err)
		}
		total, found = total+v, true
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return total
}
