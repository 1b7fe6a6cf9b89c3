// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
)

const (
	// DefaultFetchWait is what [Config.FetchWait] is unless something else is set.
	DefaultFetchWait = 3 * time.Second
	fetchWaitMin     = 100 * time.Millisecond
	// fetchLook is when a topic is looked at again whose value is being fetched.
	fetchLook = 50 * time.Millisecond
)

// asks is what a loop needs to answer requests of plain HTTP, used again for each of them.
type asks struct {
	now    ask
	name   [1][]byte
	sights []fanout.Sight
	piece  screen.Piece
	body   []byte
	tag    []byte
	hash   hash.Hash
	sum    []byte
}

// tryPrices answers a request for rows if all that it asks for is there or is known not to come,
// or it has waited for as long as it may.
func (l *loop) tryPrices(c *conn, a *ask, end bool) (answered bool) {
	if a.waiting && !end && l.now.Before(a.waitBy) && l.shard.Newest(c.id) == a.seen {
		l.awaitNews(c, a)
		return false
	}
	a.seen = l.shard.Newest(c.id) // Before the rows, so that none is taken for seen.
	sights := l.shard.AppendSights(l.asks.sights[:0], c.id)
	defer clear(sights) // Rows that are not the newest any more are garbage.
	l.asks.sights = sights
	late := end || !l.now.Before(a.fetchBy)
	for i := range sights {
		s := &sights[i]
		if s.Row != nil || s.Code != 0 {
			continue
		}
		if !late {
			l.shard.Await(c.id, fetchLook)
			return false
		}
		s.Code, s.Reason = protocol.ErrNotNow, "the source of the topic has not answered in time"
	}
	l.asks.tag = l.tagOf(l.asks.tag[:0], a, sights)
	known := len(a.none) > 0 && httphead.ListsTag(a.none, l.asks.tag)
	none := a.kind == onePrice && (len(sights) == 0 || sights[0].Row == nil)
	if known && !none && !end && l.now.Before(a.waitBy) {
		a.waiting = true
		l.awaitNews(c, a)
		return false
	}
	feedDown := l.feedDown(sights)
	if feedDown || a.maxAge > 0 && a.passing(sights) { // It may soon be over, and a cache would go on with it.
		a.maxAge = 0
	}
	switch {
	case none:
		l.noPrice(c, a, sights)
	case known:
		l.shard.GiveUp(c.id)
		l.unchanged(c, a, feedDown)
	default:
		l.values(c, a, sights, feedDown)
	}
	return true
}

// passing reports whether a topic has no row for a reason that may soon be over. No cache is to
// answer so for longer.
func (a *ask) passing(sights []fanout.Sight) bool {
	soon := func(code int) bool { return code == protocol.ErrTooFast || code == protocol.ErrNotNow }
	return slices.ContainsFunc(sights, func(s fanout.Sight) bool { return soon(s.Code) }) ||
		slices.ContainsFunc(a.rejected, func(r protocol.Rejected) bool { return soon(r.Code) })
}

// awaitNews has a request looked at again after a window, or when its time is over.
func (l *loop) awaitNews(c *conn, a *ask) {
	l.shard.Await(c.id, min(l.server.cfg.Shard.Interval, a.waitBy.Sub(l.now)))
}

// tagOf appends the entity tag of what is to be answered: a hash of the values, in their order, and
// of why there is none. n of a row is not in it, which differs between edges and begins anew when
// nobody has had a topic for a while, with the same value.
func (l *loop) tagOf(dst []byte, a *ask, sights []fanout.Sight) []byte {
	if l.asks.hash == nil {
		l.asks.hash = sha256.New()
	}
	h, sum := l.asks.hash, l.asks.sum[:0]
	h.Reset()
	part := func(size int, value []byte) {
		sum = binary.LittleEndian.AppendUint32(sum[:0], uint32(size))
		_, _ = h.Write(sum) // It takes everything.
		_, _ = h.Write(value)
	}
	hashed := 0
	for i := range sights {
		if row := sights[i].Row; row != nil {
			part(len(row.Value()), row.Value())
			hashed += len(row.Value())
		} else {
			part(-sights[i].Code, nil) // No value is that long.
		}
	}
	for _, r := range a.rejected {
		part(-r.Code, nil)
		part(r.Index, nil)
	}
	l.shard.Spent(hashed) // It takes time, whatever comes of it.
	l.asks.sum = h.Sum(sum[:0])
	dst = base64.RawURLEncoding.AppendEncode(append(dst, '"'), l.asks.sum[:16])
	return append(dst, '"')
}

// feedDown reports whether a source is down of a topic that has a row, which may be old then.
func (l *loop) feedDown(sights []fanout.Sight) bool {
	if l.server.table.Health().Up {
		return false
	}
	for i := range sights {
		if sights[i].Row != nil && !l.server.table.SourceUp(l.server.table.Name(sights[i].ID)) {
			return true
		}
	}
	return false
}

// noPrice answers that a topic has no row, and why.
func (l *loop) noPrice(c *conn, a *ask, sights []fanout.Sight) {
	var code int
	var reason string
	if len(sights) > 0 {
		code, reason = sights[0].Code, sights[0].Reason
	} else {
		code, reason = a.rejected[0].Code, a.rejected[0].Reason
	}
	l.shard.GiveUp(c.id)
	status, header := code, ""
	switch code {
	case protocol.ErrTooManyTopics: // For one topic, it is no matter of its size.
		status, header = 429, "Retry-After: 1\r\n"
	case protocol.ErrTooFast:
		header = "Retry-After: 1\r\n"
	case protocol.ErrNotNow:
		header = l.retryAfter()
	}
	l.problem(c, a, status, code, reason, header)
}

// values answers with rows, and says which topics have none.
func (l *loop) values(c *conn, a *ask, sights []fanout.Sight, feedDown bool) {
	body := l.asks.body[:0]
	if a.kind == onePrice {
		body = append(body, sights[0].Row.JSON()...)
	} else {
		body = l.appendPrices(body, a, sights)
	}
	l.asks.body = body[:0]
	l.shard.GiveUp(c.id)
	if more := len(body) - priceBodyFree; more > 0 {
		snapshots := l.set.shard.Snapshots
		if !snapshots.Has(c.prefix, l.now) {
			l.problem(c, a, 429, 429, "your address has been sent too much, try again later", "Retry-After: 1\r\n")
			return
		}
		snapshots.Spend(c.prefix, more/fanout.SnapshotUnit, l.now)
	}
	l.counts.Loop[ValuesAnswered]++
	out := httphead.BeginResponse(l.out[:0], 200, "application/json", len(body), a.last)
	out = append(l.appendValidity(out, a, feedDown), "\r\n"...)
	if !a.head {
		out = append(out, body...)
	}
	l.finish(c, a, out)
}

func (l *loop) appendPrices(dst []byte, a *ask, sights []fanout.Sight) []byte {
	dst = append(dst, protocol.PricesHead...)
	start := len(dst)
	for i := range sights {
		s := &sights[i]
		if s.Row == nil {
			continue
		}
		if len(dst) > start && len(dst)+len(s.Row.JSON()) > priceBodyMax {
			s.Row, s.Code = nil, protocol.ErrTooManyTopics
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, s.Row.JSON()...)
	}
	dst = append(dst, protocol.PricesMissing...)
	missing := protocol.NewMissing(l.set.shard.MaxTopics)
	for i := range sights {
		if s := &sights[i]; s.Row == nil {
			dst = missing.Append(dst, protocol.Rejected{Topic: l.server.table.Name(s.ID), Code: s.Code})
		}
	}
	for _, r := range a.rejected {
		dst = missing.Append(dst, r)
	}
	return append(dst, protocol.NamesEnd...)
}

// unchanged answers that the client has what there is.
func (l *loop) unchanged(c *conn, a *ask, feedDown bool) {
	l.counts.Loop[UnchangedAnswered]++
	out := httphead.BeginResponse(l.out[:0], 304, "", 0, a.last)
	l.finish(c, a, append(l.appendValidity(out, a, feedDown), "\r\n"...))
}

// appendValidity appends the header lines that say what a cache may do with rows.
func (l *loop) appendValidity(dst []byte, a *ask, feedDown bool) []byte {
	dst = append(append(append(dst, "ETag: "...), l.asks.tag...), "\r\nCache-Control: "...)
	if l.set.verifier != nil {
		dst = append(dst, "private, "...)
	}
	if a.maxAge > 0 {
		dst = strconv.AppendInt(append(dst, "max-age="...), int64(a.maxAge), 10)
	} else {
		dst = append(dst, "no-cache"...)
	}
	dst = append(dst, "\r\n"...)
	if feedDown {
		dst = append(dst, "Tickedge-Feed: down\r\n"...)
	}
	return l.appendCORS(dst, a)
}

// appendCORS appends what lets scripts of an allowed page read the answer and its header.
func (l *loop) appendCORS(dst []byte, a *ask) []byte {
	dst = append(dst, l.cors(a.origin)...)
	if len(a.origin) > 0 {
		dst = append(dst, "Access-Control-Expose-Headers: ETag, Retry-After, Tickedge-Feed\r\n"...)
	}
	return dst
}

const plainPreflight = "Access-Control-Allow-Methods: GET, HEAD\r\n" +
	"Access-Control-Allow-Headers: Authorization, Cache-Control, If-None-Match\r\nAccess-Control-Max-Age: 86400\r\n"

// preflight says what scripts of other pages may do here.
func (l *loop) preflight(c *conn, a *ask) {
	out := append(httphead.BeginResponse(l.out[:0], 204, "", 0, a.last), plainPreflight...)
	l.finish(c, a, append(l.appendCORS(out, a), "\r\n"...))
}

// problem answers with an error. header holds more header lines, each with its CRLF.
func (l *loop) problem(c *conn, a *ask, status, code int, detail, header string) {
	l.counts.refuse(status)
	l.counts.Loop[ProblemsAnswered]++
	body := protocol.AppendProblem(l.asks.body[:0], status, httphead.StatusText(status), code, detail)
	l.asks.body = body[:0]
	out := httphead.BeginResponse(l.out[:0], status, "application/problem+json", len(body), a.last)
	out = append(append(out, header...), "Cache-Control: no-store\r\n"...)
	out = append(l.appendCORS(out, a), "\r\n"...)
	if !a.head {
		out = append(out, body...)
	}
	l.finish(c, a, out)
}

// fail answers with an error behind which the conn ends.
func (l *loop) fail(c *conn, a *ask, status int, detail string) {
	a.last = true
	l.problem(c, a, status, status, detail, "")
}

// refusePlain answers a request that is not carried out. Unless it may be repeated later the conn
// ends: who has no right to be here is not to stay.
func (l *loop) refusePlain(c *conn, a *ask, r *httphead.Refusal) {
	a.last = a.last || r.Status != 429 && r.Status != 503
	l.problem(c, a, r.Status, r.Status, r.Reason, r.Header)
}

func tooManyNames(most int) *httphead.Refusal {
	return &httphead.Refusal{Status: 400, Reason: fmt.Sprintf("more than %d topics in the query", most)}
}

// finish writes an answer. The conn may be gone then.
func (l *loop) finish(c *conn, a *ask, out []byte) {
	l.out = out[:0]
	l.shard.Spent(len(out))
	if a.last {
		why := c.cause
		if why == 0 {
			why = causeHTTP
		}
		l.closeWith(c, why, out)
		return
	}
	if l.write(c, out) != gone {
		l.shard.Await(c.id, l.server.cfg.KeepAlive)
	}
}
