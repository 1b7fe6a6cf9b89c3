// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"
)

// What the client asks of the edge stays below what an edge allows by default: 20 commands a second and 40 at once, where
// long ones count as several, and 20 KiB a message.
const (
	chargeRate  = 15.0 // Per second.
	chargeBurst = 30.0
	authCharge  = 30.0
	maxBytes    = 16 << 10
	maxNames    = 256
	maxPending  = 16
	// answerTimeout is how long the edge may not answer a command before the connection is taken for broken.
	answerTimeout = time.Minute
)

var errUnanswered = errors.New("the edge does not answer commands")

// plan returns the next command, encoded, or when to look again; a zero time is when something happens. The client's mutex
// is held.
func (s *session) plan(now time.Time) (payload []byte, wake time.Time, err error) {
	if s.ended != nil {
		return nil, time.Time{}, s.ended
	}
	wake = s.renewAt
	for _, cmd := range s.pending {
		if now.Sub(cmd.sent) > answerTimeout {
			return nil, wake, errUnanswered
		}
		wake = sooner(wake, cmd.sent.Add(answerTimeout+time.Millisecond))
	}
	if len(s.pending) >= maxPending || s.bye != nil {
		return nil, wake, nil
	}
	if now.Before(s.pauseUntil) {
		return nil, sooner(wake, s.pauseUntil), nil
	}
	cmd, at := s.next(now)
	if cmd.Op == "" {
		cmd, at = s.nextScreen(now, at)
	}
	if cmd.Op == "" {
		return nil, sooner(wake, at), nil
	}
	cmd.ID = s.lastID + 1
	if payload, err = encode(cmd); err != nil {
		return nil, wake, err
	}
	charge := 1 + float64(len(cmd.Topics)/32) + float64(len(payload)/2048)
	if cmd.Op == "auth" {
		charge = authCharge
	}
	if charge = min(charge, chargeBurst); !s.pay(charge, now) {
		missing := time.Duration((charge - s.credit) / chargeRate * float64(time.Second))
		return nil, sooner(wake, now.Add(missing+time.Millisecond)), nil
	}
	s.written(cmd, now)
	return payload, wake, nil
}

// next chooses a command: what is left behind first, so that it comes back with a snapshot.
func (s *session) next(now time.Time) (cmd command, wake time.Time) {
	c := s.c
	if s.fresh != "" {
		return command{Op: "auth", Token: s.fresh}, wake
	}
	if len(c.leaving) > 0 {
		return command{Op: "unsubscribe", Topics: fitting(slices.Sorted(maps.Keys(c.leaving)), maxNames)}, wake
	}
	var due []*topic
	onWire := 0
	for _, t := range c.topics {
		switch {
		case t.phase == asked || t.phase == held:
			onWire++
		case t.phase == refused && t.retryAt.IsZero():
		case t.retryAt.After(now):
			wake = sooner(wake, t.retryAt)
		default:
			due = append(due, t)
		}
	}
	if len(due) == 0 {
		return command{}, wake
	}
	slices.SortFunc(due, func(a, b *topic) int { return cmp.Compare(a.seq, b.seq) })
	room := s.maxTopics - onWire
	for _, t := range due[min(max(room, 0), len(due)):] {
		if t.phase != refused {
			t.refuse(413, "more topics than the edge allows on a connection", time.Time{}, false)
			t.full = true
			c.review(t)
		}
	}
	if room <= 0 {
		return command{}, wake
	}
	// Those whose row the client has go together, and the others apart.
	due = due[:min(room, len(due))]
	since := c.resumes(due[0])
	var names []string
	for _, t := range due {
		if c.resumes(t) == since {
			names = append(names, t.name)
		}
	}
	cmd = command{Op: "subscribe", Topics: fitting(names, min(maxNames, s.maxTopics))}
	if since {
		cmd.Since = c.resume
	}
	return cmd, wake
}

// resumes says whether the token of resumption may be shown for a topic.
func (c *Client) resumes(t *topic) bool { return t.covered && c.resume != "" }

// encode writes JSON as short as it can be.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// fitting returns as many names as one command may have.
func fitting(names []string, most int) []string {
	size := 0
	for i, name := range names {
		encoded, _ := encode(name) // A string always has an encoding.
		if size += len(encoded) + 1; i == most || size > maxBytes-maxResume-128 {
			return names[:i]
		}
	}
	return names
}

// pay takes a charge from the credit, or nothing if there is too little.
func (s *session) pay(charge float64, now time.Time) bool {
	s.credit = min(chargeBurst, s.credit+now.Sub(s.credited).Seconds()*chargeRate)
	s.credited = now
	if s.credit < charge {
		return false
	}
	s.credit -= charge
	return true
}

// written notes a command that is about to be written. If writing fails the connection ends, and all of it with it.
func (s *session) written(cmd command, now time.Time) {
	c := s.c
	s.lastID = cmd.ID
	cmd.sent = now
	s.pending[cmd.ID] = cmd
	switch cmd.Op {
	case "auth":
		s.fresh = ""
	case "screen", "unscreen":
		s.screenWritten(cmd)
	case "unsubscribe":
		for _, name := range cmd.Topics {
			delete(c.leaving, name)
		}
		c.makeRoom()
	case "subscribe":
		for _, name := range cmd.Topics {
			t := c.topics[name]
			t.phase, t.id, t.retryAt = asked, cmd.ID, time.Time{}
			c.review(t)
		}
	}
}

// makeRoom has topics asked for that the connection had no room for.
func (c *Client) makeRoom() {
	for _, t := range c.topics {
		if t.full {
			t.full, t.phase, t.code, t.reason = false, unasked, 0, ""
		}
	}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
