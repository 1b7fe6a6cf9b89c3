// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"net/http"
	"strconv"
	"strings"

	"tickedge/internal/alert"
)

// route is what a path may be asked for.
type route struct {
	public  bool // By anybody.
	methods []method
}

type method struct {
	name       string
	answer     func(*request) *Fault
	parameters []string // What the query may have.
}

// of returns what answers a method; nil if nothing does.
func (to *route) of(name string) *method {
	if name == http.MethodHead {
		name = http.MethodGet // net/http leaves the body out.
	}
	for i := range to.methods {
		if to.methods[i].name == name {
			return &to.methods[i]
		}
	}
	return nil
}

func (to *route) allow() string {
	var list []string
	for _, m := range to.methods {
		if list = append(list, m.name); m.name == http.MethodGet {
			list = append(list, http.MethodHead)
		}
	}
	return strings.Join(append(list, http.MethodOptions), ", ")
}

// route finds the route of a request; nil if there is none.
func (s *Server) route(q *request) *route {
	switch path := q.URL.Path; {
	case path == "/alerts":
		return &route{methods: []method{
			{http.MethodGet, s.list, []string{"user_id", "active_only", "symbol", "after", "limit"}}, {http.MethodPost, s.create, nil},
		}}
	case path == "/alerts/fired":
		return &route{methods: []method{{http.MethodGet, s.fired, []string{"user_id", "after", "limit"}}}}
	case path == "/health":
		return &route{public: true, methods: []method{{http.MethodGet, s.health, nil}}}
	case cut(path, "/alerts/", &q.rest) && !strings.Contains(q.rest, "/"):
		user := []string{"user_id"}
		return &route{methods: []method{{http.MethodGet, s.get, user}, {http.MethodPatch, s.patch, user}, {http.MethodDelete, s.delete, user}}}
	case cut(path, "/price/", &q.rest):
		return &route{methods: []method{{http.MethodGet, s.price, nil}}}
	}
	return nil
}

// cut takes the beginning of a path away, if something is behind it.
func cut(path, prefix string, rest *string) (ok bool) {
	*rest, ok = strings.CutPrefix(path, prefix)
	return ok && *rest != ""
}

func (s *Server) answer(q *request, status int, body []byte) *Fault {
	s.send(q.w, status, "application/json", body)
	return nil
}

// number reads a whole number of the query; 0 if it is not there.
func (q *request) number(name, want string) (int64, *Fault) {
	text, there := q.query[name]
	if !there {
		return 0, nil
	}
	n, err := strconv.ParseInt(text[0], 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text[0] {
		return 0, refuse(http.StatusBadRequest, name+": want "+want)
	}
	return n, nil
}

// page reads after and limit. A limit of 0 is none that can be asked for.
func (q *request) page() (after int64, limit int, f *Fault) {
	if after, f = q.number("after", "the number that the page before this one says"); f != nil {
		return 0, 0, f
	}
	n, f := q.number("limit", "1 to "+strconv.Itoa(LimitMax))
	if f == nil && (n > LimitMax || n == 0 && q.query.Has("limit")) {
		f = refuse(http.StatusBadRequest, "limit: want 1 to "+strconv.Itoa(LimitMax))
	}
	return after, int(n), f
}

// user is whose alerts the query asks for; empty if it does not say.
func (q *request) user() (string, *Fault) {
	user := q.query.Get("user_id")
	if user == "" && q.query.Has("user_id") {
		return "", refuse(http.StatusUnprocessableEntity, alert.CheckUser("").Error())
	}
	return user, nil
}

// id is the ID in the path. What is none has no alert.
func (q *request) id() int64 {
	id, err := strconv.ParseInt(q.rest, 10, 64)
	if err != nil || strconv.FormatInt(id, 10) != q.rest {
		return 0
	}
	return id
}

// match reads If-Match: entity tags, each an arm, or a star.
func (q *request) match() (Match, *Fault) {
	fields := q.Header["If-Match"]
	if len(fields) == 0 {
		return nil, nil
	}
	match := Match{}
	for text := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		text = strings.TrimSpace(text)
		switch tag, weak := strings.CutPrefix(text, "W/"); {
		case text == "*":
			return nil, nil
		case len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"':
			return nil, refuse(http.StatusBadRequest, `If-Match: want the arm of the alert in quotes, such as "1", or a star`)
		case !weak: // One that is weak never matches here (RFC 9110, 13.1.1).
			if arm, err := strconv.ParseInt(tag[1:len(tag)-1], 10, 64); err == nil {
				match = append(match, arm)
			}
		}
	}
	return match, nil
}

func (s *Server) health(q *request) *Fault {
	return s.answer(q, http.StatusOK, []byte(`{"status":"ok"}`))
}

func (s *Server) create(q *request) *Fault {
	keys := q.Header["Idempotency-Key"]
	if len(keys) > 1 || len(keys) == 1 && keys[0] == "" {
		return refuse(http.StatusBadRequest, "Idempotency-Key: want one, which is not empty, or none")
	}
	in, f := q.readInput("application/json")
	if f != nil {
		return f
	}
	a, created, f := s.Create(q.Context(), q.who, in, strings.Join(keys, ""))
	if f != nil {
		return f
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	q.w.Header().Set("Location", "/alerts/"+strconv.FormatInt(a.ID, 10))
	return s.answer(q, status, appendAlert(nil, &a))
}

func (s *Server) list(q *request) *Fault {
	user, f := q.user()
	if f != nil {
		return f
	}
	after, limit, f := q.page()
	if f != nil {
		return f
	}
	ask := alert.Query{User: user, Symbol: q.query.Get("symbol"), After: after, Limit: limit}
	switch q.query.Get("active_only") {
	case "true":
		ask.Active = true
	case "false":
	default:
		if q.query.Has("active_only") {
			return refuse(http.StatusBadRequest, "active_only: want true or false")
		}
	}
	alerts, next, f := s.List(q.Context(), q.who, ask)
	if f != nil {
		return f
	}
	return s.answer(q, http.StatusOK, appendAlerts(nil, alerts, next))
}

func (s *Server) get(q *request) *Fault {
	user, f := q.user()
	if f != nil {
		return f
	}
	a, f := s.Get(q.Context(), q.who, user, q.id())
	if f != nil {
		return f
	}
	return s.answer(q, http.StatusOK, appendAlert(nil, &a))
}

func (s *Server) patch(q *request) *Fault {
	user, f := q.user()
	if f != nil {
		return f
	}
	match, f := q.match()
	if f != nil {
		return f
	}
	in, f := q.readInput("application/json", "application/merge-patch+json")
	if f != nil {
		return f
	}
	if in.User != "" && user != "" && in.User != user {
		return refuse(http.StatusBadRequest, "user_id is another one in the query than in the body: want it once")
	}
	if in.User == "" {
		in.User = user
	}
	a, f := s.Change(q.Context(), q.who, in, q.id(), match)
	if f != nil {
		return f
	}
	return s.answer(q, http.StatusOK, appendAlert(nil, &a))
}

func (s *Server) delete(q *request) *Fault {
	user, f := q.user()
	if f != nil {
		return f
	}
	match, f := q.match()
	if f != nil {
		return f
	}
	if f = s.Delete(q.Context(), q.who, user, q.id(), match); f != nil {
		return f
	}
	s.send(q.w, http.StatusNoContent, "", nil)
	return nil
}

func (s *Server) fired(q *request) *Fault {
	user, f := q.user()
	if f != nil {
		return f
	}
	after, limit, f := q.page()
	if f != nil {
		return f
	}
	list, number, f := s.Fired(q.Context(), q.who, user, after, limit)
	if f != nil {
		return f
	}
	return s.answer(q, http.StatusOK, appendFired(nil, list, number))
}

func (s *Server) price(q *request) *Fault {
	price, at, f := s.Price(q.who, q.rest)
	if f != nil {
		return f
	}
	return s.answer(q, http.StatusOK, appendPrice(nil, q.rest, price, at))
}
