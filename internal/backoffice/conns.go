// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"net/http"
	"net/netip"
	"regexp"
	"strconv"

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
	conns, next, f := a.Conns(r.Context(), Question{
		User: q.Get("user"), Topic: q.Get("topic"), Address: q.Get("address"), Cursor: q.Get("cursor"), Limit: n,
	})
	if f != nil {
		a.fault(f)
		return
	}
	page := struct {
		Conns []Conn `json:"conns"`
		Next  string `json:"next,omitempty"`
		Scope string `json:"scope"`
	}{conns, next, scopeHere}
	if page.Conns == nil {
		page.Conns = []Conn{}
	}
	a.json(http.StatusOK, page)
}

func (p *Port) showConn(a *answer, r *http.Request) {
	id := r.PathValue("id")
	if !connID.MatchString(id) {
		a.fault(errConnID)
		return
	}
	a.Note("conn", id)
	conns, err := p.edge.Conns(r.Context(), Filter{Conn: id}, "", 1)
	switch {
	case err != nil:
		a.fault(errBusy)
	case len(conns) == 0:
		a.fault(errNoConn)
	default:
		a.json(http.StatusOK, conns[0])
	}
}

func (p *Port) endConn(a *answer, r *http.Request) {
	if bye, ok := byeOf(a, r); ok {
		n, f := a.EndConn(r.Context(), r.PathValue("id"), bye)
		if f != nil {
			a.fault(f)
			return
		}
		a.json(http.StatusOK, map[string]any{"disconnected": n, "scope": scopeHere})
	}
}

func (p *Port) endUser(a *answer, r *http.Request) {
	if bye, ok := byeOf(a, r); ok {
		n, all, f := a.EndUser(r.Context(), r.PathValue("user"), bye)
		if f != nil {
			a.fault(f)
			return
		}
		a.reach(map[string]any{"disconnected": n}, all)
	}
}

// byeOf reads what connections are told that are ended.
func byeOf(a *answer, r *http.Request) (bye Bye, ok bool) {
	if !only(a, r, "code", "reason", "retry_ms") {
		return bye, false
	}
	q, bye := r.URL.Query(), DefaultBye
	if text := q.Get("code"); text != "" {
		bye.Code, _ = strconv.Atoi(text) // Of what is no number comes 0, which is none that may be.
	}
	if q.Has("reason") {
		bye.Reason = q.Get("reason")
	}
	bye.Retry, ok = count(a, r, "retry_ms", 0, int(retryMost.Milliseconds()))
	return bye, ok
}

// reach answers how far a call has reached.
func (a *answer) reach(body map[string]any, all bool) {
	code := http.StatusOK
	if !all {
		code = http.StatusAccepted
	}
	body["scope"] = scopeOf(all)
	a.json(code, body)
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
	a.Note("topics", len(top))
	a.json(http.StatusOK, map[string]any{"topics": top, "held": all, "scope": scopeHere})
}
