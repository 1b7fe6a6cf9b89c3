// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

const (
	// maxResume is the longest token of resumption that is kept: it is a part of commands, which have 20 KiB.
	maxResume = 1 << 10
	// Bounds of what a hello says, whatever it says.
	maxHeartbeat  = 10 * time.Minute
	mostMaxTopics = 1 << 16
)

// soon is when to ask again for what was refused as too fast, or for now: by default 3 to 6 s.
func (c *Client) soon() time.Duration {
	pause := 3 * c.options.MinBackoff
	return pause + rand.N(pause)
}

// later is when to ask again for what found the edge full.
func later() time.Duration { return 2*time.Minute + rand.N(2*time.Minute) }

// hello begins the connection. The client's mutex is held, as in all that follows.
func (s *session) hello(m message) error {
	var version int
	if m.T != "hello" || json.Unmarshal(m.V, &version) != nil {
		return errors.New("the edge did not begin with hello")
	}
	if version != 1 {
		return &ConnError{Reason: fmt.Sprintf("the edge speaks version %d of the protocol, and this client version 1", version)}
	}
	c := s.c
	s.heartbeat = maxHeartbeat
	if m.Heartbeat > 0 && m.Heartbeat < maxHeartbeat.Milliseconds() {
		s.heartbeat = time.Duration(m.Heartbeat) * time.Millisecond
	}
	s.maxTopics = min(m.MaxTopics, mostMaxTopics)
	if s.maxTopics <= 0 {
		s.maxTopics = mostMaxTopics // The edge does not say; it rejects what is too much.
	}
	s.greeted = time.Now()
	c.up, c.lost = true, verdict{}
	c.reviewAll()
	c.openScreens()
	return nil
}

// handle takes a message in.
func (s *session) handle(m message) error {
	c := s.c
	switch m.T {
	case "snapshot", "update":
		at := time.UnixMilli(m.TS)
		for _, r := range m.D {
			s.row(r, at)
		}
	case "ack", "error":
		s.answer(m)
	case "feed":
		c.setFeed(feed{topics: m.patterns(), down: m.State == "down"})
	case "stale":
		for _, name := range m.names() {
			if t := c.topics[name]; t != nil && t.phase == held {
				t.stale, t.code, t.reason = true, m.Code, m.Reason
				c.review(t)
			}
		}
	case "unsubscribed":
		for _, name := range m.names() {
			if t := c.topics[name]; t != nil && t.phase == held {
				t.refuse(0, m.Reason, time.Now().Add(later()), false)
				c.review(t)
			}
		}
		c.poke()
	case "resume":
		if m.Token != "" && len(m.Token) <= maxResume {
			c.resume, c.from = m.Token, c.conn
			for _, t := range c.topics {
				t.covered = t.has && t.phase == held
			}
		}
	case "screen":
		s.screen(m)
	case "bye":
		s.bye = &m
	}
	return nil
}

// row takes in a value, unless it is there already.
func (s *session) row(r row, at time.Time) {
	c := s.c
	t := c.topics[r.S]
	if t == nil || t.phase != asked && t.phase != held || r.V == nil {
		return
	}
	if string(r.V) == "null" { // The topic is delisted.
		r.V = nil
	}
	same := t.has && t.conn == c.conn && t.n == r.N
	var missed uint64
	if t.has && t.conn == c.conn && r.N > t.n {
		missed = r.N - t.n - 1
	}
	// Over a reconnect n says nothing, and the same value is none that anybody waits for.
	same = same || t.has && t.conn != c.conn && bytes.Equal(t.value, r.V)
	// What the token stands for was seen by the edge that gave it. Another one's value may be older than that.
	t.covered = t.covered && c.from == c.conn
	t.value, t.has, t.n, t.at, t.conn = r.V, true, r.N, at, c.conn
	t.fresh, t.stale, t.lost = true, false, false
	if !same {
		for sub, l := range t.subs {
			if r.V == nil { // That is told by the state. What counts is begun anew.
				l.fresh, l.conflated = false, 0
				continue
			}
			if l.fresh {
				l.conflated++ // The value before this one was not taken.
			}
			l.conflated += missed
			l.fresh = true
			sub.put(l)
		}
	}
	c.review(t)
}

// answer takes in the answer to a command.
func (s *session) answer(m message) {
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	cmd, known := s.pending[id]
	if err != nil || !known {
		return
	}
	delete(s.pending, id)
	s.c.poke()
	switch {
	case m.T == "error":
		s.failed(cmd, m)
	case cmd.Op == "subscribe":
		s.subscribed(cmd, m)
	case cmd.Op == "auth":
		s.authorized(cmd, m)
	case cmd.Op == "screen":
		s.screened(cmd)
	}
}

// subscribed takes in the ack of a subscribe.
func (s *session) subscribed(cmd command, m message) {
	c := s.c
	resumed := cmd.Since != "" && m.Resumed != nil && *m.Resumed
	for _, name := range cmd.Topics {
		t := c.topics[name]
		if t == nil || t.phase != asked || t.id != cmd.ID {
			continue
		}
		t.phase, t.lost = held, false
		t.fresh = t.fresh || resumed
	}
	for _, r := range m.Rejected {
		s.reject(cmd, r)
	}
	for _, name := range cmd.Topics {
		if t := c.topics[name]; t != nil {
			c.review(t)
		}
	}
}

// reject takes in that the edge does not give a topic.
func (s *session) reject(cmd command, r rejection) {
	var name string
	switch {
	case r.Topic != nil:
		name = *r.Topic
	case r.Index >= 0 && r.Index < len(cmd.Topics):
		name = cmd.Topics[r.Index]
	}
	t := s.c.topics[name]
	if t == nil || t.id != cmd.ID && cmd.Op == "subscribe" {
		return
	}
	switch r.Code {
	case 429, 503:
		t.refuse(r.Code, r.Reason, time.Now().Add(s.c.soon()), true)
	case 413:
		t.refuse(r.Code, r.Reason, time.Now().Add(later()), false)
	default:
		t.refuse(r.Code, r.Reason, time.Time{}, false)
	}
	s.c.review(t)
}

// failed takes in that a command was not carried out.
func (s *session) failed(cmd command, m message) {
	passing := m.Code == 429 || m.Code == 503
	if passing {
		s.pauseUntil = time.Now().Add(s.c.soon())
	}
	switch cmd.Op {
	case "screen", "unscreen":
		s.screenFailed(cmd, m)
	case "auth":
		s.renewalFailed(time.Now())
	case "unsubscribe":
		for _, name := range cmd.Topics {
			if !passing {
				continue
			}
			s.c.leaving[name] = struct{}{}
			if t := s.c.topics[name]; t != nil && t.phase != refused {
				t.phase = unasked // It is wanted again. While it is held the edge would send no snapshot.
			}
		}
	case "subscribe":
		for _, name := range cmd.Topics {
			t := s.c.topics[name]
			if t == nil {
				delete(s.c.leaving, name)
				continue
			}
			if t.phase != asked || t.id != cmd.ID {
				continue
			}
			if passing {
				t.phase = unasked
			} else {
				t.refuse(m.Code, m.Reason, time.Time{}, false)
			}
			s.c.review(t)
		}
	}
}

func (c *Client) setFeed(f feed) {
	for i := range c.feeds {
		if c.feeds[i].topics == f.topics {
			c.feeds[i] = f
			c.reviewAll()
			return
		}
	}
	if len(c.feeds) < maxFeeds {
		c.feeds = append(c.feeds, f)
		c.reviewAll()
	}
}
