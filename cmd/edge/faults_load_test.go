// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// publishers are those of topicsInAll topics. Each tick has a number, seq, that rises by one
// within its topic. Who is not answered writes the same tick again, until it is.
//
// The loud topics tick all the time. The quiet ones tick when a test says so, and not
// again: what an edge has missed of them it must fetch.
type publishers struct {
	up  *upstream
	seq []atomic.Uint64 // By topic. Each has one writer at a time.
}

const (
	topicsInAll = 200
	loudEvery   = 25 * time.Millisecond
	loudTicks   = 10 // Each time, which is 400 a second.
)

func newPublishers(up *upstream) *publishers {
	return &publishers{up: up, seq: make([]atomic.Uint64, topicsInAll)}
}

func topicName(i int) string { return fmt.Sprint("T", i) }

// loud and quiet are the numbers of those topics.
func loud() []int  { return every(2, 0) }
func quiet() []int { return every(2, 1) }

func every(step, from int) (numbers []int) {
	for i := from; i < topicsInAll; i += step {
		numbers = append(numbers, i)
	}
	return numbers
}

// run has the loud topics tick in turn. It ends between two ticks when stop is closed,
// or with ctx.
func (p *publishers) run(ctx context.Context, stop <-chan struct{}) {
	pace := time.NewTicker(loudEvery)
	defer pace.Stop()
	topics := loud()
	for at := 0; ; at = (at + loudTicks) % len(topics) {
		select {
		case <-stop:
			return
		case <-pace.C:
		}
		if p.tick(ctx, topics[at:min(at+loudTicks, len(topics))]) != nil {
			return
		}
	}
}

// tick publishes the next tick of each topic, and returns when the broker has taken all. On
// every attempt the commands of first go before the ticks, in the same transaction:
// nobody can see the ones without the others.
func (p *publishers) tick(ctx context.Context, topics []int, first ...[]any) error {
	values := make([]string, len(topics))
	for i, topic := range topics {
		values[i] = fmt.Sprintf(`{"p":%d.5,"seq":%d}`, topic, p.seq[topic].Add(1))
	}
	for {
		err := p.up.write(ctx, topics, values, first)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond): // The pause between two attempts.
		}
	}
}

// seqIn is the number of a value.
func seqIn(value []byte) (uint64, error) {
	var v struct{ Seq uint64 }
	err := json.Unmarshal(value, &v)
	return v.Seq, err
}

// listener is a client that writes down all that it is sent.
type listener struct {
	topics    []int
	versioned bool // Its edge knows versions.
	ended     chan struct{}

	mu      sync.Mutex
	held    map[int]uint64 // The newest seq, by topic.
	back    []string       // Rows that were older than the one before.
	opening []string       // Types of the first messages.
	updates int
	feeds   []feedNotice
	stale   []staleNotice
	beat    string        // The state of the feed in the newest heartbeat.
	at      time.Time     // When the newest frame came.
	silence time.Duration // The longest time between two frames.
	failure error         // Why it ended.
}

// feedNotice is a message about the state of the feed.
type feedNotice struct {
	state string
	since time.Time
	at    time.Time
}

func (n feedNotice) String() string {
	const form = "15:04:05.000"
	return fmt.Sprintf("%s at %s since %s", n.state, n.at.UTC().Format(form), n.since.UTC().Format(form))
}

// staleNotice is what was said of a topic that is stale.
type staleNotice struct{ topic, code int }

const openingMax = 6

// listen opens a client for topics. It ends with the test.
func (e *edge) listen(topics []int) *listener {
	e.t.Helper()
	names := make([]string, len(topics))
	for i, topic := range topics {
		names[i] = topicName(topic)
	}
	c := e.dial("?interval=500&topics=" + strings.Join(names, ","))
	l := &listener{topics: topics, ended: make(chan struct{}), held: make(map[int]uint64), at: time.Now()}
	go func() {
		defer close(l.ended)
		for {
			_, frame, err := c.ws.Read(context.Background()) // The end of the test closes it.
			if err = l.take(frame, err); err != nil {
				return
			}
		}
	}()
	return l
}

// take notes a frame, or the error in its place.
func (l *listener) take(frame []byte, err error) error {
	now := time.Now()
	var m struct {
		T, State, Feed string
		Since          int64
		Code           int
		Topics         json.RawMessage // A number in an ack.
		D              []struct {
			S string
			V struct{ Seq uint64 }
		}
	}
	if err == nil {
		err = json.Unmarshal(frame, &m)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failure = err
		return err
	}
	l.silence = max(l.silence, now.Sub(l.at))
	l.at = now
	if len(l.opening) < openingMax {
		l.opening = append(l.opening, m.T)
	}
	switch m.T {
	case "update":
		l.updates++
	case "heartbeat":
		l.beat = m.Feed
	case "stale":
		var names []string
		_ = json.Unmarshal(m.Topics, &names)
		for _, name := range names {
			topic, _ := strconv.Atoi(name[1:])
			l.stale = append(l.stale, staleNotice{topic, m.Code})
		}
	case "feed":
		l.feeds = append(l.feeds, feedNotice{m.State, time.UnixMilli(m.Since), now})
	}
	for _, row := range m.D {
		topic, _ := strconv.Atoi(row.S[1:]) // Its own names are all it gets.
		if row.V.Seq < l.held[topic] {
			l.back = append(l.back, fmt.Sprintf("%s from %d to %d", row.S, l.held[topic], row.V.Seq))
		}
		l.held[topic] = row.V.Seq
	}
	return nil
}

// lateness is how late this process was at most to run what was due. What a machine does
// to this process it does to the edge too, and no edge is blamed for that.
type lateness struct{ worst atomic.Int64 }

func (l *lateness) run(ctx context.Context) {
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		l.worst.Store(max(l.worst.Load(), int64(now.Sub(last)-every)))
		last = now
	}
}

func (l *lateness) get() time.Duration { return time.Duration(l.worst.Load()) }
