// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tickedge/bench/internal/wire"
	"tickedge/internal/broker/redis/redistest"
)

// brokenReplies are what a broken Redis sends: a few of what cmd/edge plays in its tests
// (broken_redis_test.go), at points that a feed with the default names has. Each point has
// a source of its own, so that no pause between attempts grows long.
var brokenReplies = []struct {
	at    redistest.Point
	names []string
}{
	{redistest.Greeting, []string{`error "LOADING Redis is loading the dataset in memory"`, "zero bytes", `bulk of length "9223372036854775807"`}},
	{redistest.Confirmation, []string{"empty array", "count is a bulk", "channel is nil", "nested arrays without end"}},
	{redistest.Message, []string{"cut into single bytes", "a payload of 10 MB", "payload is an array", `array of length "-2"`, "line without end, +"}},
	{redistest.Pong, []string{"another payload", "RESP3 push", "half, and a reset"}},
	{redistest.Fetch, []string{`bulk of length "4294967296"`, "bulk without end", "HTTP response"}},
	{redistest.SentinelAddress, []string{`the master is "127.0.0.1" "99999"`, "port is an array", `array of length "1099511627776"`}},
}

// brokenName is how the topics of a point begin.
func brokenName(at redistest.Point) string { return strings.ReplaceAll(string(at), " ", "-") + ":" }

// broken are the stand-ins for a Redis that sends anything, one for each point.
type broken map[redistest.Point]*redistest.Standin

// startBroken starts them, and returns them as sources beside redis.
func startBroken(redis string) (b broken, sources string, err error) {
	b = make(broken)
	for _, replies := range brokenReplies {
		s, err := redistest.NewStandin()
		if err != nil {
			b.end()
			return nil, "", err
		}
		b[replies.at] = s
		url := "redis://edge:secret@" + s.Addr()
		if replies.at == redistest.SentinelAddress {
			url = "redis-sentinel://edge:secret@" + s.Addr() + "/prices"
		}
		sources += brokenName(replies.at) + "*=" + url + " "
	}
	return b, sources + redis, nil
}

func (b broken) end() {
	for _, s := range b {
		s.Close()
	}
}

// What is demanded after a broken reply.
var brokenDemands = map[redistest.Outcome]string{
	redistest.Survived:  "newest values",
	redistest.Kept:      "the link goes on, newest values",
	redistest.Redialled: "dialled anew, newest values",
	redistest.Lost:      "told down, dialled anew, told up, newest values",
}

func redisInputs(*plan) (all []input) {
	for _, replies := range brokenReplies {
		for _, b := range redistest.Breakages(replies.at) {
			if slices.Contains(replies.names, b.Name) {
				all = append(all, input{fmt.Sprintf("%s, %s", replies.at, b.Name), brokenDemands[brokenOutcome(replies.at, b)],
					"FEED.md", func(r *run) string { return breakReply(r, replies.at, b) }})
			}
		}
	}
	return all
}

// brokenOutcome is what a breakage has to lead to. Where the link was dropped for it, there
// is none to be lost.
func brokenOutcome(at redistest.Point, b redistest.Breakage) redistest.Outcome {
	if o := b.Outcome(at); at != redistest.Greeting || o != redistest.Lost {
		return o
	}
	return redistest.Redialled
}

// breakReply breaks one reply and returns what was seen, as the demands have it.
func breakReply(r *run, at redistest.Point, b redistest.Breakage) string {
	outcome, standin := brokenOutcome(at, b), r.edge.broken[at]
	defer standin.Release()
	l := &listener{standin: standin, name: brokenName(at), scope: strconv.Quote(brokenName(at) + "*"),
		rows: make(map[string]string), wants: make(map[string]string)}
	if err := l.open(r.edge); err != nil {
		return err.Error()
	}
	defer l.close()
	links, downs := standin.Links(), l.timesDown()
	hold := func() {
		if outcome == redistest.Lost {
			standin.Hold() // So that the outage is long enough to be told.
		}
	}
	var play *redistest.Play
	switch at {
	case redistest.Greeting:
		play = standin.Break(at, b, nil)
		standin.Drop()
	case redistest.Message:
		play = standin.Push(b, "channel:prices:"+l.first, "0", hold)
	case redistest.Confirmation, redistest.Fetch:
		hold()
		play = standin.Break(at, b, nil)
		l.another()
	default:
		hold()
		play = standin.Break(at, b, nil)
	}
	for _, wait := range []struct {
		unless redistest.Outcome
		not    string
		is     func() bool
	}{
		{redistest.Survived, "not asked for", play.Began},
		{redistest.Lost, "not told down", func() bool { return l.timesDown() > downs }},
		{redistest.Redialled, "not dialled anew", func() bool { standin.Release(); return play.Redialled() }},
	} {
		if outcome >= wait.unless && !r.edge.until(patience, wait.is) {
			return wait.not
		}
	}
	l.tick()
	if !r.edge.until(patience, l.current) {
		return l.lacks()
	}
	if outcome == redistest.Kept && standin.Links() != links {
		return "the link was lost"
	}
	return brokenDemands[outcome]
}

// listener is a subscriber to topics of a stand-in.
type listener struct {
	standin *redistest.Standin
	name    string // How its topics begin.
	first   string // The first of them.
	scope   string // What feed messages call them.
	peer    *peer
	done    chan struct{}
	wants   map[string]string // What it is to have.

	mu    sync.Mutex
	rows  map[string]string
	down  bool
	downs int
	err   error
}

// open subscribes to a topic and waits for its value.
func (l *listener) open(e *edge) (err error) {
	if l.peer, err = e.upgraded("?interval=" + watchWindow); err != nil {
		return err
	}
	_ = l.peer.SetDeadline(time.Time{})
	l.done = make(chan struct{})
	go l.listen()
	l.another()
	if !e.until(patience, l.current) {
		l.close()
		return errors.New("before anything was broken: " + l.lacks())
	}
	return nil
}

func (l *listener) close() {
	_ = l.peer.Close()
	<-l.done
}

// another subscribes to a topic that nobody has had, or there would be a row already.
func (l *listener) another() {
	value := nextValue()
	topic := l.name + value
	if l.first == "" {
		l.first = topic
	}
	l.wants[topic] = value
	l.standin.Set("price:"+topic, value)
	_, _ = l.peer.Write(subscribe([]string{topic})) // Whoever waits for the value sees that it failed.
}

// nextValue is a value that no topic has had.
func nextValue() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }

// tick has all its topics tick.
func (l *listener) tick() {
	for topic := range l.wants {
		l.wants[topic] = nextValue()
		l.standin.Tick("price:"+topic, "channel:prices:"+topic, topic, l.wants[topic])
	}
}

func (l *listener) listen() {
	defer close(l.done)
	for {
		op, payload, err := l.peer.heard()
		var m struct {
			T, State string
			Topics   json.RawMessage
			D        []struct {
				S string
				V json.RawMessage
			}
		}
		if err == nil && op == wire.OpText {
			err = json.Unmarshal(payload, &m)
		}
		l.mu.Lock()
		for _, row := range m.D {
			l.rows[row.S] = string(row.V)
		}
		if m.T == "feed" && string(m.Topics) == l.scope {
			if l.down = m.State == "down"; l.down {
				l.downs++
			}
		}
		l.err = err
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// current reports whether it has what it is to have, and knows that it is up.
func (l *listener) current() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, want := range l.wants {
		if l.rows[topic] != want {
			return false
		}
	}
	return !l.down
}

func (l *listener) timesDown() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.downs
}

// lacks says what it has not.
func (l *listener) lacks() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("it has %v and is to have %v; down: %v, error: %v", l.rows, l.wants, l.down, l.err)
}
