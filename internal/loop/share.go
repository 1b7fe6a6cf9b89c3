// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

// What another door of the edge shares with this one, so that a client has no more by coming through both.

// Enter asks the guard for room for a connection, or a stream, of another door, until Leave.
func (s *Server) Enter(prefix guard.Prefix, now time.Time) guard.Verdict {
	return s.guard.Enter(prefix, now)
}

// Leave gives that room up.
func (s *Server) Leave(prefix guard.Prefix) { s.guard.Leave(prefix) }

// EnterUser counts a stream of another door in as a connection of its user, who may have to lose the oldest
// one for it. If it is the one that has to go later, end is called, once and from any goroutine: it must
// not wait. leave is to be called when the stream has ended, whatever ended it.
func (s *Server) EnterUser(user string, end func()) (leave func()) {
	mine := &session{user: user, end: end}
	for _, old := range s.sessions.enter(mine) {
		old.yield()
	}
	return func() { s.sessions.leave(mine) }
}

// ListNames returns one page of names behind after that begin with prefix and are allowed, in the order of their
// bytes, and the name to go on behind if there are more. truncated says that the source may have names that are on
// no page. It is false while there is no list that is new enough: one is being made, so ask again soon.
func (s *Server) ListNames(prefix, after string, most int, allowed auth.Grant) (names []string, next string, truncated, ok bool) {
	all, truncated, ok := s.listed(time.Now())
	if !ok {
		return nil, "", false, false
	}
	n := namesAsk{prefix: []byte(prefix), after: []byte(after), most: most, allowed: allowed}
	next = n.page(all, func(name string) { names = append(names, name) })
	return names, next, truncated, true
}
