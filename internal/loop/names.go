// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// namesAsk is what a request for names asks for.
type namesAsk struct {
	prefix, after []byte
	most          int
	allowed       auth.Grant // The names that its token allows.
}

var badNames = &httphead.Refusal{Status: 400, Reason: "limit is a whole number from 1 to 1000"}

// read reads the query of a request for names.
func (n *namesAsk) read(req *httphead.Request, allowed auth.Grant) (r *httphead.Refusal) {
	n.allowed, n.most = allowed, namesDefault
	if n.prefix, _, r = req.Parameter("prefix"); r != nil {
		return r
	}
	if n.after, _, r = req.Parameter("after"); r != nil {
		return r
	}
	limit, has, r := req.Parameter("limit")
	if r != nil || !has {
		return r
	}
	most, err := strconv.ParseUint(string(limit), 10, 16)
	if err != nil || most < 1 || most > namesMax {
		return badNames
	}
	n.most = int(most)
	return nil
}

const (
	// namesLook is when a request for names is looked at again, whose list is being made.
	namesLook = 25 * time.Millisecond
	// namesAge is how old the list may be, so how often it is made at most.
	namesAge = time.Second
)

// tryNames answers a request for names if there is a list of them that is new enough.
func (l *loop) tryNames(c *conn, a *ask, end bool) (answered bool) {
	names, truncated, ok := l.server.listed(l.now)
	if !ok && !end {
		l.shard.Await(c.id, namesLook)
		return false
	}
	if !ok {
		l.problem(c, a, 503, 503, "the edge goes down", l.retryAfter())
		return true
	}
	l.counts.Loop[NamesAnswered]++
	body := a.names.appendPage(l.asks.body[:0], names, truncated)
	l.asks.body = body[:0]
	out := httphead.BeginResponse(l.out[:0], 200, "application/json", len(body), a.last)
	out = append(l.appendCORS(append(out, "Cache-Control: no-store\r\n"...), a), "\r\n"...)
	if !a.head {
		out = append(out, body...)
	}
	l.finish(c, a, out)
	return true
}

// appendPage appends one page of a sorted list.
func (n *namesAsk) appendPage(dst []byte, names []string, truncated bool) []byte {
	dst = append(dst, protocol.NamesHead...)
	next := n.page(names, func(name string) { dst = protocol.AppendName(dst, name) })
	return protocol.AppendNamesEnd(dst, next, truncated)
}

// page shows one page of a sorted list. If there are more, next is the last name of the page. The work is
// bounded by the length of the list and that of the token's: what lies between two patterns is passed over at once.
func (n *namesAsk) page(names []string, show func(name string)) (next string) {
	prefix, after := string(n.prefix), string(n.after)
	at, found := slices.BinarySearch(names, max(prefix, after))
	if found && after >= prefix {
		at++
	}
	last, shown := "", 0
	for at < len(names) && strings.HasPrefix(names[at], prefix) {
		name := names[at]
		if !n.allowed.Allows([]byte(name)) {
			pattern, ok := n.allowed.Next(name)
			if !ok {
				break
			}
			at, _ = slices.BinarySearch(names, pattern)
			continue
		}
		if shown == n.most {
			return last
		}
		show(name)
		last = name
		shown++
		at++
	}
	return ""
}

// nameList is the names of the table in order, as of a moment ago, and those of the source if these
// are listed. It is made by a goroutine of its own when it is asked for, one at a time, which no loop
// waits for.
type nameList struct {
	sync.Mutex
	names     []string // Not changed.
	truncated bool     // The source may have more.
	good      time.Time
	making    bool
	shut      bool // The server ends, and no list is made any more.
}

// end has no list made any more.
func (n *nameList) end() {
	n.Lock()
	defer n.Unlock()
	n.shut = true
}

// listed returns the names if they are new enough, or has them made.
func (s *Server) listed(now time.Time) (names []string, truncated, ok bool) {
	n := &s.names
	n.Lock()
	defer n.Unlock()
	if now.Before(n.good) {
		return n.names, n.truncated, true
	}
	if !n.making && !n.shut {
		n.making = true
		s.finished.Go(func() { s.makeNames(len(n.names)) })
	}
	return nil, false, false
}

// makeNames makes the list, in which no name is private, or one of the edges. With many names it is good for longer, so that making it is not all
// that a processor does.
func (s *Server) makeNames(about int) {
	begin := time.Now()
	names, all := s.table.AppendNames(make([]string, 0, about+about/8)), true
	if s.cfg.SourceNames != nil {
		var more []string
		more, all = s.cfg.SourceNames()
		names = append(names, more...)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, topics.Reserved) || s.cfg.Private.Has([]byte(name))
	})
	slices.Sort(names)
	names = slices.Compact(names)
	end := time.Now()
	s.names.Lock()
	defer s.names.Unlock()
	s.names.names, s.names.truncated, s.names.making = names, !all, false
	s.names.good = end.Add(max(namesAge, 10*end.Sub(begin)))
}
