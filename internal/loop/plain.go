// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"slices"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
)

// plainKind is what a request of plain HTTP asks for.
type plainKind uint8

const (
	notPlain  plainKind = iota
	onePrice            // The row of one topic.
	prices              // Those of several.
	topicList           // Names.
)

// Paths of plain HTTP, in their clean form.
const (
	PricesPath = "/prices"
	pricePath  = "/price"
	TopicsPath = "/topics"
)

// plainKind says what is asked for at a path, which is in its clean form, and of which topic.
func (s *Server) plainKind(path []byte) (kind plainKind, name []byte) {
	switch string(path) {
	case PricesPath:
		return prices, nil
	case TopicsPath:
		return topicList, nil
	}
	for _, before := range [...]string{PricesPath, pricePath} {
		if rest, ok := bytes.CutPrefix(path, []byte(before)); ok && len(rest) > 1 && rest[0] == '/' {
			return onePrice, httphead.UnescapePath(rest[1:])
		}
	}
	return notPlain, nil
}

// ask is a request of plain HTTP that is to be answered.
type ask struct {
	kind   plainKind
	screen bool // The rows of a screen are asked for.
	head   bool // It is a HEAD.
	last   bool // The conn ends behind the answer.

	maxAge int    // Seconds for which a cache may use the answer; 0 is none without asking again.
	origin []byte // Of the page that asks.
	none   []byte // The tags that the client has.

	rejected []protocol.Rejected // Topics that it can't have.
	fetchBy  time.Time           // When values are not awaited any more.
	waitBy   time.Time           // When news is not awaited any more.
	waiting  bool                // It has what there is, and awaits news.
	seen     uint64              // The newest row when it was looked at last.

	names namesAsk

	user    string // Of its token, as are those below: see [auth.Claims].
	tokenID uint64
	issued  uint32
}

// keep returns a copy that does not point into what the conn has sent.
func (a *ask) keep() *ask {
	kept := *a
	kept.origin, kept.none = bytes.Clone(a.origin), bytes.Clone(a.none)
	kept.rejected = slices.Clone(a.rejected)
	kept.names.prefix, kept.names.after = bytes.Clone(a.names.prefix), bytes.Clone(a.names.after)
	return &kept
}

// plain answers a request of plain HTTP, or keeps it until it can be answered.
func (l *loop) plain(c *conn, req *httphead.Request, kind plainKind, name []byte) {
	a := &l.asks.now
	*a = ask{kind: kind, head: string(req.Method) == "HEAD", origin: req.Origin, none: a.none[:0], rejected: a.rejected[:0]}
	c.controlled++
	// Proxies send requests of several clients on one connection, and the guard knows it by one.
	forwarded := len(req.Forwarded) > 0 && l.server.cfg.Trusted.Any()
	a.last = !req.Persists() || forwarded || c.controlled >= requestsMax || l.shutting.shut
	if !l.set.origins.Allow(req.Origin, req.Host) {
		l.alien(req)
		a.origin = nil
		l.fail(c, a, 403, "this page (Origin) may not read here")
		return
	}
	if !l.set.requests.Take(c.prefix, l.now) {
		l.problem(c, a, 429, 429, "too many requests from your address, try again later", "Retry-After: 1\r\n")
		return
	}
	if size := len(req.Path) + len(req.Query) + len(req.Authorization); !l.charge(c, a, 1+fanout.RequestCharge(size, 0)) {
		return
	}
	switch string(req.Method) {
	case "GET", "HEAD":
	case "OPTIONS":
		l.preflight(c, a)
		return
	default:
		l.refusePlain(c, a, &httphead.Refusal{Status: 405, Reason: "this is read with GET", Header: "Allow: GET, HEAD, OPTIONS\r\n"})
		return
	}
	if kind == topicList && !l.server.cfg.ListTopics {
		l.problem(c, a, 404, 404, "names are listed with the flag -list-topics only", "")
		return
	}
	asked, refusal := l.identify(c, req)
	a.user, a.tokenID, a.issued = asked.claims.User, asked.claims.ID, asked.claims.Issued
	if refusal == nil {
		refusal = l.read(a, req, &asked, name)
	}
	if refusal != nil {
		l.refusePlain(c, a, refusal)
		return
	}
	if kind == topicList {
		l.answerOrKeep(c, a)
		return
	}
	names := asked.Topics
	if kind == prices && wantsScreen(&asked) {
		if !l.charge(c, a, fanout.ScreenCharge) {
			return
		}
		l.screenPrices(c, a, &asked)
		return
	}
	if kind == onePrice {
		l.asks.name[0] = name
		names = l.asks.name[:]
	}
	if extra := fanout.RequestCharge(0, len(names)); extra > 0 && !l.charge(c, a, extra) {
		return
	}
	a.rejected = l.shard.Want(c.id, names, l.rights(asked.claims.User, asked.claims.Topics), a.rejected)
	l.answerOrKeep(c, a)
}

// charge charges a request, or refuses it. Who goes on regardless is sent away.
func (l *loop) charge(c *conn, a *ask, n int) (ok bool) {
	level := l.shard.Request(c.id, n)
	if level == guard.Within {
		return true
	}
	a.last = a.last || level == guard.Abuse
	l.problem(c, a, 429, 429, "too many requests on this connection, try again later", "Retry-After: 1\r\n")
	return false
}

// Limits of what a request may ask for.
const (
	waitMax       = 30 * time.Second
	namesDefault  = 100
	namesMax      = 1000
	priceBodyMax  = 1 << 20 // Bytes of rows in one answer.
	priceBodyFree = 4 << 10 // That are not counted as a snapshot.
)

var (
	badWait  = &httphead.Refusal{Status: 400, Reason: "wait is a time of at most 30s, such as 10s or 500ms"}
	star     = []byte("*")
	noTopics = &httphead.Refusal{Status: 400, Reason: "no topics: want /prices?topics=AAPL,MSFT or /prices/AAPL"}
)

// read reads what a request says beside its topics, and looks at how many these are.
func (l *loop) read(a *ask, req *httphead.Request, asked *asked, name []byte) *httphead.Refusal {
	if a.kind == topicList {
		return a.names.read(req, l.server.grant(asked.claims.User, asked.claims.Topics))
	}
	if most := l.set.shard.MaxTopics; len(asked.Topics) > most {
		return tooManyNames(most)
	}
	if a.kind == prices && len(asked.Topics) == 0 {
		return noTopics
	}
	wait, _, refusal := req.Parameter("wait")
	if refusal != nil {
		return refusal
	}
	d, ok := httphead.ParseWait(wait, waitMax)
	if !ok {
		return badWait
	}
	a.maxAge = asked.Interval / 1000
	a.none = req.AppendNoneMatch(a.none)
	a.fetchBy = l.now.Add(l.server.cfg.FetchWait)
	if d > 0 && len(a.none) > 0 && !httphead.ListsTag(a.none, star) { // Nothing is new to a star.
		a.waitBy = l.now.Add(max(d, l.server.cfg.Shard.Interval))
	}
	if end := asked.claims.Expires; !end.IsZero() {
		a.fetchBy, a.waitBy = earlier(a.fetchBy, end), earlier(a.waitBy, end)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// answerOrKeep answers a request, or keeps it to be looked at again.
func (l *loop) answerOrKeep(c *conn, a *ask) {
	if l.tryAnswer(c, a, false) {
		return
	}
	c.details().ask = a.keep()
}

// tryAnswer answers a request if it can be answered now, or has to be, as the conn is at its end.
// Else it is looked at again when the wheel says so.
func (l *loop) tryAnswer(c *conn, a *ask, end bool) (answered bool) {
	if a.kind == topicList {
		return l.tryNames(c, a, end)
	}
	if a.screen {
		return l.tryScreen(c, a, end)
	}
	return l.tryPrices(c, a, end)
}
