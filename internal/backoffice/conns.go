// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"context"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"tickedge/internal/topics"
)

const (
	listDefault, listMost = 100, 1000
	// scopeHere and scopeAll are how far a call reaches.
	scopeHere, scopeAll = "this edge", "all edges"
	UserMax             = 256
)

// Filter says which connections are meant. An empty field lets all through.
type Filter struct {
	Conn    string
	User    string
	Address netip.Addr // Of the client, as far as the edge still knows it, see [Conn].
	Topic   string
}

// Conn is a connection as its operator sees it. Times are in milliseconds.
type Conn struct {
	ID        string `json:"id"`
	User      string `json:"user,omitempty"`
	Address   string `json:"address"` // Behind a proxy, its own, once the handshake is over.
	State     string `json:"state"`
	Transport string `json:"transport"` // websocket, events or http.
	Since     int64  `json:"since"`     // When it came into its state, as Unix time.
	Topics    int    `json:"topics"`
	Window    int64  `json:"interval_ms"`
	Backlog   int    `json:"backlog_bytes"`
}

// Topic is how many subscribers a topic has on this edge.
type Topic struct {
	Name        string `json:"topic"`
	Subscribers int    `json:"subscribers"`
}

// Bye is what a connection that is ended is told.
type Bye struct {
	Code   int    // 4000 to 4999, see docs/PROTOCOL.md.
	Reason string // At most 100 bytes.
	Retry  int    // When it may come back, in milliseconds; 0 is no advice.
}

// What a connection that is ended is told where nothing is said, and the bounds of what may be.
const (
	byeDefault = 4505
	byeReason  = "ended by an operator"
	reasonMax  = 100
	retryMost  = time.Hour
)

var connID = regexp.MustCompile(`^[0-9a-f]{8}$`)

// only reports whether a query has no other parameters than these, each once, and writes what is wrong.
func only(a *answer, r *http.Request, names ...string) bool {
	for name, values := range r.URL.Query() {
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if !known || len(values) > 1 {
			a.problem(http.StatusBadRequest, "want no parameter twice, and no other than those in docs/BACKOFFICE.md")
			return false
		}
	}
	return true
}

// count reads a parameter that is a number of things.
func count(a *answer, r *http.Request, name string, otherwise, most int) (n int, ok bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		a.problem(http.StatusBadRequest, "want "+name+" from 1 to "+strconv.Itoa(most))
		return 0, false
	}
	return n, true
}

func (p *Port) listConns(a *answer, r *http.Request) {
	q := r.URL.Query()
	n, ok := 0, only(a, r, "user", "address", "topic", "limit", "cursor")
	if ok {
		n, ok = count(a, r, "limit", listDefault, listMost)
	}
	if !ok {
		return
	}
	f := Filter{User: q.Get("user"), Topic: q.Get("topic")}
	if text := q.Get("address"); text != "" {
		var err error
		if f.Address, err = netip.ParseAddr(text); err != nil {
			a.problem(http.StatusBadRequest, "want address as an IP address, without a port")
			return
		}
	}
	if len(f.User) > UserMax || f.Topic != "" && !topics.ValidName(f.Topic) || q.Get("cursor") != "" && !connID.MatchString(q.Get("cursor")) {
		a.problem(http.StatusBadRequest, "want user up to 256 bytes, topic as a name of a topic, and cursor as next of the page before")
		return
	}
	conns, err := p.edge.Conns(r.Context(), f, q.Get("cursor"), n+1)
	if err != nil {
		p.busy(a)
		return
	}
	page := struct {
		Conns []Conn `json:"conns"`
		Next  string `json:"next,omitempty"`
		Scope string `json:"scope"`
	}{conns, "", scopeHere}
	if len(conns) > n {
		page.Conns, page.Next = conns[:n], conns[n-1].ID
	}
	if page.Conns == nil {
		page.Conns = []Conn{}
	}
	a.note("conns", len(page.Conns))
	a.json(http.StatusOK, page)
}

func (p *Port) busy(a *answer) {
	a.Header().Set("Retry-After", "1")
	a.problem(http.StatusServiceUnavailable, "the event loops have not answered: they are busy or stopping")
}

func (p *Port) showConn(a *answer, r *http.Request) {
	if id, ok := p.connOf(a, r); ok {
		conns, err := p.edge.Conns(r.Context(), Filter{Conn: id}, "", 1)
		switch {
		case err != nil:
			p.busy(a)
		case len(conns) == 0:
			a.problem(http.StatusNotFound, "this edge has no such connection")
		default:
			a.json(http.StatusOK, conns[0])
		}
	}
}

// connOf reads the id of a path.
func (p *Port) connOf(a *answer, r *http.Request) (id string, ok bool) {
	if id = r.PathValue("id"); !connID.MatchString(id) {
		a.problem(http.StatusNotFound, "a connection is named by 8 hex digits, as in its hello")
		return "", false
	}
	a.note("conn", id)
	return id, true
}

func (p *Port) endConn(a *answer, r *http.Request) {
	if id, ok := p.connOf(a, r); ok {
		p.endAll(a, r, Filter{Conn: id})
	}
}

func (p *Port) endUser(a *answer, r *http.Request) {
	user := r.PathValue("user")
	if user == "" || len(user) > UserMax || !utf8.ValidString(user) {
		a.problem(http.StatusNotFound, "want the sub of a token, up to 256 bytes")
		return
	}
	a.note("user", user)
	p.endAll(a, r, Filter{User: user})
}

// endAll ends the connections that are meant. Of a user there may be none.
func (p *Port) endAll(a *answer, r *http.Request, f Filter) {
	if !only(a, r, "code", "reason", "retry_ms") {
		return
	}
	q, bye := r.URL.Query(), Bye{Code: byeDefault, Reason: byeReason}
	if text := q.Get("code"); text != "" {
		code, err := strconv.Atoi(text)
		if err != nil || code < 4000 || code > 4999 {
			a.problem(http.StatusBadRequest, "want code from 4000 to 4499 (who is sent away comes back) or from 4500 to 4999 (and does not)")
			return
		}
		bye.Code = code
	}
	if q.Has("reason") {
		bye.Reason = q.Get("reason")
	}
	if len(bye.Reason) > reasonMax || !utf8.ValidString(bye.Reason) {
		a.problem(http.StatusBadRequest, "want reason up to 100 bytes of UTF-8")
		return
	}
	retry, ok := count(a, r, "retry_ms", 0, int(retryMost.Milliseconds()))
	if !ok {
		return
	}
	bye.Retry = retry
	n, err := p.edge.Disconnect(r.Context(), f, bye)
	a.note("ended", n, "close_code", bye.Code)
	switch {
	case err != nil:
		p.busy(a)
	case n == 0 && f.Conn != "":
		a.problem(http.StatusNotFound, "this edge has no such connection")
	case f.Conn != "":
		a.json(http.StatusOK, map[string]any{"disconnected": n, "scope": scopeHere})
	default:
		told, err := p.edge.TellDisconnect(f.User, bye)
		p.answerTold(a, r, map[string]any{"disconnected": n}, told, err)
	}
}

// answerTold answers how far a call has reached, after a while: all edges when the broker has it.
func (p *Port) answerTold(a *answer, r *http.Request, body map[string]any, told <-chan struct{}, err error) {
	code := http.StatusOK
	if body["scope"] = scopeAll; err != nil || !p.await(r.Context(), told) {
		code, body["scope"] = http.StatusAccepted, scopeHere
	}
	a.note("scope", body["scope"])
	a.json(code, body)
}

func (p *Port) await(ctx context.Context, told <-chan struct{}) bool {
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case <-told:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (p *Port) listTopics(a *answer, r *http.Request) {
	n, ok := 0, only(a, r, "prefix", "limit")
	if ok {
		n, ok = count(a, r, "limit", listDefault, listMost)
	}
	if !ok {
		return
	}
	prefix := r.URL.Query().Get("prefix")
	if len(prefix) > topics.NameMax {
		a.problem(http.StatusBadRequest, "want prefix as the beginning of names of topics")
		return
	}
	top, all := p.edge.Topics(prefix, n)
	if top == nil {
		top = []Topic{}
	}
	a.note("topics", len(top))
	a.json(http.StatusOK, map[string]any{"topics": top, "held": all, "scope": scopeHere})
}
