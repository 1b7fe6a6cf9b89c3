// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"context"
	"net/http"
	"net/netip"
	"time"
	"unicode/utf8"

	"tickedge/internal/topics"
)

// DefaultBye is what a connection that is ended is told where nothing is said.
var DefaultBye = Bye{Code: 4505, Reason: "ended by an operator"}

// What may be said.
const (
	reasonMax = 100
	retryMost = time.Hour
)

var (
	errBusy = &Fault{
		Status: http.StatusServiceUnavailable, Detail: "the event loops have not answered: they are busy or stopping", Retry: true,
	}
	errNoConn = &Fault{Status: http.StatusNotFound, Detail: "this edge has no such connection"}
	errConnID = &Fault{Status: http.StatusNotFound, Detail: "a connection is named by 8 hex digits, as in its hello"}
	errUser   = &Fault{Status: http.StatusNotFound, Detail: "want the sub of a token, up to 256 bytes"}
)

func wrong(detail string) *Fault { return &Fault{Status: http.StatusBadRequest, Detail: detail} }

// Question asks for a page of connections. What is empty lets all through.
type Question struct {
	Conn, User, Topic string
	Address           string // An IP address.
	Cursor            string // The next of the page before.
	Limit             int    // 1 to 1000; 0 is 100.
}

// Conns answers with a page of connections, and where the next one begins.
func (q *Request) Conns(ctx context.Context, ask Question) (conns []Conn, next string, fault *Fault) {
	f := Filter{Conn: ask.Conn, User: ask.User, Topic: ask.Topic}
	if ask.Address != "" {
		var err error
		if f.Address, err = netip.ParseAddr(ask.Address); err != nil {
			return nil, "", wrong("want address as an IP address, without a port")
		}
	}
	n := ask.Limit
	if n == 0 {
		n = listDefault
	}
	switch named := func(id string) bool { return id == "" || connID.MatchString(id) }; {
	case len(f.User) > UserMax || f.Topic != "" && !topics.ValidName(f.Topic) || !named(ask.Cursor):
		return nil, "", wrong("want user up to 256 bytes, topic as a name of a topic, and cursor as next of the page before")
	case !named(f.Conn):
		return nil, "", errConnID
	case n < 1 || n > listMost:
		return nil, "", wrong("want limit from 1 to 1000")
	}
	conns, err := q.service.edge.Conns(ctx, f, ask.Cursor, n+1)
	if err != nil {
		return nil, "", errBusy
	}
	if len(conns) > n {
		conns, next = conns[:n], conns[n-1].ID
	}
	q.Note("conns", len(conns))
	return conns, next, nil
}

// EndConn ends one connection of this edge, and returns how many that were.
func (q *Request) EndConn(ctx context.Context, id string, bye Bye) (n int, f *Fault) {
	if !connID.MatchString(id) {
		return 0, errConnID
	}
	q.Note("conn", id)
	n, f = q.disconnect(ctx, Filter{Conn: id}, bye)
	if f == nil && n == 0 {
		f = errNoConn
	}
	return n, f
}

// EndUser ends the connections of a user, and has the other edges of the broker do so. It returns how many there were here,
// and whether the broker has it for all others.
func (q *Request) EndUser(ctx context.Context, user string, bye Bye) (n int, all bool, f *Fault) {
	if user == "" || len(user) > UserMax || !utf8.ValidString(user) {
		return 0, false, errUser
	}
	q.Note("user", user)
	if n, f = q.disconnect(ctx, Filter{User: user}, bye); f != nil {
		return 0, false, f
	}
	told, err := q.service.edge.TellDisconnect(user, bye)
	return n, q.reached(ctx, told, err), nil
}

func (q *Request) disconnect(ctx context.Context, f Filter, bye Bye) (n int, fault *Fault) {
	switch {
	case bye.Code < 4000 || bye.Code > 4999:
		return 0, wrong("want code from 4000 to 4499 (who is sent away comes back) or from 4500 to 4999 (and does not)")
	case len(bye.Reason) > reasonMax || !utf8.ValidString(bye.Reason):
		return 0, wrong("want reason up to 100 bytes of UTF-8")
	case bye.Retry < 0 || bye.Retry > int(retryMost.Milliseconds()):
		return 0, wrong("want retry_ms from 1 to 3600000")
	}
	n, err := q.service.edge.Disconnect(ctx, f, bye)
	q.Note("ended", n, "close_code", bye.Code)
	if err != nil {
		return 0, errBusy
	}
	return n, nil
}

// reached reports, after a while, whether the broker has what concerns all edges.
func (q *Request) reached(ctx context.Context, told <-chan struct{}, err error) (all bool) {
	if err == nil {
		timer := time.NewTimer(q.service.wait)
		defer timer.Stop()
		select {
		case <-told:
			all = true
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	q.Note("scope", scopeOf(all))
	return all
}

func scopeOf(all bool) string {
	if all {
		return scopeAll
	}
	return scopeHere
}
