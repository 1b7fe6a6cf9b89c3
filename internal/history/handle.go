// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
	"tickedge/internal/web"
)

// problem is an answer that is an error (RFC 9457), as those of the edge are.
type problem struct {
	status int
	detail string
	header string // Header lines, each with its CRLF.
	final  bool   // The connection ends with it.
}

func (p *problem) Error() string { return p.detail }

func refuse(status int, detail string) *problem { return &problem{status: status, detail: detail} }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var p *problem
	err := panics.Try(panics.History, func() error {
		p = s.serve(w, r)
		return nil
	})
	if err != nil {
		s.cfg.Log.Error("panic while answering a request for history", append([]any{"error", err, "hint", panics.Hint}, panics.Attrs(err)...)...)
		p = refuse(http.StatusInternalServerError, "a bug of the server, which is in its log")
	}
	if p != nil {
		s.fail(w, p)
	}
}

func (s *Server) fail(w http.ResponseWriter, p *problem) {
	s.counted(p.status)
	web.Problem(w, p.status, p.detail, p.header, p.final)
}

// serve answers a request, or returns why it does not: what costs little is looked at first.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) *problem {
	if !web.Admit(w, r, s.cfg.Origins, "ETag, Link, Retry-After") {
		return &problem{status: 403, detail: "this page (Origin) may not read here", final: true}
	}
	now, client := time.Now(), web.Client(r, s.cfg.Trusted)
	if !s.rate.Take(client, now) {
		return &problem{status: 429, detail: "too many requests from your address, try again later", header: "Retry-After: 1\r\n"}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		h := w.Header()
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		h.Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, If-None-Match")
		h.Set("Access-Control-Max-Age", "86400")
		s.counted(http.StatusNoContent)
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		return &problem{status: 405, detail: "this is read with GET", header: "Allow: GET, HEAD, OPTIONS\r\n", final: true}
	}
	if r.ContentLength != 0 {
		return &problem{status: 400, detail: "a request for history has no body", final: true}
	}
	symbol, ok := strings.CutPrefix(r.URL.Path, Path)
	if !ok || symbol == "" {
		return refuse(404, "want /history/SYMBOL?tf=1m")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse(400, "the query is not well formed")
	}
	grant, p := s.grant(r, q, client, now)
	if p != nil {
		return p
	}
	if !topics.ValidName(symbol) {
		return refuse(422, "the symbol is no name of a topic: want "+topics.NameRule)
	}
	a, err := s.readAsk(r, symbol, q)
	if err != nil {
		return refuse(400, err.Error())
	}
	topic := bars.Topic(a.tf.Name, symbol)
	if !topics.ValidName(topic) {
		return refuse(422, "the symbol is too long for a topic of bars")
	}
	if !grant.Allows([]byte(topic)) {
		return refuse(403, "the token does not allow "+topic)
	}
	if !s.enter(client) {
		return &problem{status: 503, detail: "as many requests are answered as may be at a time, try again later", header: "Retry-After: 1\r\n"}
	}
	defer s.leave(client)
	return s.answer(w, r, &a)
}

// answer finds the bars and sends them.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, a *ask) *problem {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Time)
	defer cancel()
	page, err := s.find(ctx, a)
	if err != nil {
		if r.Context().Err() == nil {
			s.cfg.Log.Warn("history: a request can't be answered", "symbol", a.symbol, "tf", a.tf.Name, "error", err)
		}
		return &problem{status: 503, detail: "the bars can't be read now, try again later", header: "Retry-After: 2\r\n"}
	}
	if len(page.bars) == 0 && !page.live && s.cfg.Symbol(a.symbol) == nil {
		return refuse(404, "there is no such symbol, and no bars of it")
	}
	s.send(w, r, page)
	return nil
}

// find finds the bars of a page, see merge for the order in which it asks.
func (s *Server) find(ctx context.Context, a *ask) (*page, error) {
	p := &page{ask: *a}
	to := a.to
	if s.cfg.Live != nil {
		p.LiveSeries, p.live = s.cfg.Live.Open(ctx, a.symbol, a.tf.Name)
		if p.live && p.Open != nil {
			to = min(to, p.Open.Start)
		}
	}
	waiting := p.Closed
	if s.cfg.Waiting != nil {
		waiting = merge(0, math.MaxInt64, s.cfg.Waiting(a.symbol, a.tf.Name), p.Closed)
	}
	// One more than is wanted says whether there is another page.
	stored, err := s.cfg.Store.Bars(ctx, Query{Symbol: a.symbol, Interval: a.tf.Name, From: a.from, To: to, Limit: a.limit + 1})
	if err != nil {
		return nil, err
	}
	p.bars = merge(a.from, to, stored, waiting)
	if n := len(p.bars) - a.limit; n > 0 {
		p.bars = p.bars[n:]
		p.next = string(appendCursor(nil, a.symbol, a.tf.Name, p.bars[0].Start))
	}
	p.live = p.live && a.current()
	if p.Open != nil && p.Open.Start < a.from {
		p.Open = nil
	}
	return p, nil
}

// grant is what a client may have by its token. All topics of bars are asked of it, as at the other doors.
func (s *Server) grant(r *http.Request, q url.Values, client guard.Prefix, now time.Time) (g auth.Grant, p *problem) {
	g = auth.Grant{Private: s.cfg.Private}
	fields := r.Header["Authorization"]
	var token []byte
	ways := len(q["token"])
	if ways > 0 {
		token = []byte(q["token"][0])
	}
	for _, field := range fields {
		if t, ok := auth.Bearer([]byte(field)); ok {
			token, ways = t, ways+1
		}
	}
	if ways > 1 {
		return g, &problem{status: 400, detail: httphead.OneToken, final: true}
	}
	if s.cfg.Verifier == nil {
		return g, nil
	}
	claims, why := s.cfg.Verifier.VerifyFrom(client, token, now, s.wrong)
	if why == 0 {
		g.Topics, g.User = claims.Topics, claims.User
		return g, nil
	}
	header := why.Header()
	if why.Status() == 503 {
		header += "Retry-After: 2\r\n"
	}
	return g, &problem{status: why.Status(), detail: why.Error(), header: header}
}
