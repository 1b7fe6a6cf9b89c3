// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"fmt"
	"time"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// wanting is what decides which topics one stream or request may have. Owned by its goroutine.
type wanting struct {
	server     *Server
	set        *settings // That it goes by.
	caller     *caller
	cursor     *cursor
	subscribes guard.Bucket
}

func (s *Server) wanting(who *caller) *wanting {
	set := s.set.Load()
	return &wanting{
		server: s, set: set, caller: who, cursor: newCursor(s.cfg.Table, set.limits.Snapshots, who.prefix),
		subscribes: set.subscribes.Full(time.Since(s.start)),
	}
}

// want subscribes topics, by the rules of the client port, and returns those that can't be had.
func (w *wanting) want(names []string, now time.Time) (rejected []*pricesv1.Rejected) {
	held := -1 // Topics without a value, which are counted when it matters first.
	for i, name := range names {
		if code, reason := w.wantOne(name, &held, now); code != 0 {
			rejected = append(rejected, reject(name, i, code, reason))
		}
	}
	return rejected
}

// wantOne subscribes one topic, or says why not.
func (w *wanting) wantOne(name string, held *int, now time.Time) (code int, reason string) {
	s, set, c := w.server, w.set, w.cursor
	switch {
	case !topics.ValidName(name):
		return protocol.ErrBadTopic, "a topic is " + topics.NameRule
	case !w.caller.grant.Allows([]byte(name)):
		return protocol.ErrForbidden, fanout.Forbidden([]byte(name), w.server.cfg.Private)
	case c.has(name):
		return 0, ""
	case len(c.entries) >= set.limits.MaxTopics:
		return protocol.ErrTooManyTopics, fmt.Sprintf("at most %d topics per stream", set.limits.MaxTopics)
	case set.subscribes.Take(&w.subscribes, 1, now.Sub(s.start)) != guard.Within:
		return protocol.ErrTooFast, fmt.Sprintf("too many new topics: at most %d per second", set.limits.SubscribeRate)
	}
	known := false
	if id, there := c.table.Find([]byte(name)); !there || c.table.Seq(id) == 0 || c.table.IsAbsent(id) {
		if known = w.exists(name); !known {
			if code, reason = w.doubt(id, there, held, now); code != 0 {
				return code, reason
			}
		}
	}
	if c.add(name, known) != nil {
		return protocol.ErrTooManyTopics, "the edge holds its maximum of topics, try again later"
	}
	return 0, ""
}

// exists reports whether a topic is known to exist, other than by its having a value.
func (w *wanting) exists(name string) bool {
	return w.set.existing.Allows([]byte(name)) || w.caller.grant.Names([]byte(name))
}

// doubt says why a topic can't be had that has no value and is not known to exist, if there is a reason.
func (w *wanting) doubt(id topics.ID, there bool, held *int, now time.Time) (code int, reason string) {
	if most := w.set.limits.MaxValueless; most > 0 {
		if *held < 0 {
			*held = w.valueless()
		}
		if *held >= most {
			return protocol.ErrTooManyTopics, fmt.Sprintf("you have %d topics without a value: unsubscribe some before you ask for one that the edge has no value of", most)
		}
		if there && w.cursor.table.IsAbsent(id) {
			*held++
		}
	}
	if !there && !w.set.limits.NewTopics.Take(w.caller.prefix, now) {
		return protocol.ErrTooFast, "too many topics that are new to the edge come from your address, try again later"
	}
	return 0, ""
}

// valueless counts the topics that are known to have no value, and not known to exist.
func (w *wanting) valueless() (n int) {
	for i := range w.cursor.entries {
		if e := &w.cursor.entries[i]; w.cursor.table.IsAbsent(e.id) && !w.exists(e.name) {
			n++
		}
	}
	return n
}

// reject returns what clients are told of a topic that they can't have. Of a name that is none it has the beginning.
func reject(name string, i, code int, reason string) *pricesv1.Rejected {
	return &pricesv1.Rejected{Topic: protocol.Cut(name, topics.NameMax), Index: uint32(i), Code: uint32(code), Reason: reason}
}
