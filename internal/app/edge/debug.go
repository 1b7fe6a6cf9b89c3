// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/fanout"
	"tickedge/internal/loop"
	"tickedge/internal/topics"
)

const (
	// debugConns are shown unless ?n= asks for another number, up to debugConnsMax.
	debugConns, debugConnsMax = 100, 10_000
	// debugTimeout is how long a question may wait for the loops.
	debugTimeout = 5 * time.Second
)

// connOrders are the orders of /debug/conns, the worst first.
var connOrders = map[string]func(a, b *fanout.ConnInfo) int{
	"backlog": func(a, b *fanout.ConnInfo) int {
		return cmp.Or(cmp.Compare(b.Backlog, a.Backlog), cmp.Compare(b.BacklogFor, a.BacklogFor), cmp.Compare(b.Step, a.Step))
	},
	"rtt":    func(a, b *fanout.ConnInfo) int { return cmp.Compare(b.RTT, a.RTT) },
	"heard":  func(a, b *fanout.ConnInfo) int { return cmp.Compare(b.Heard, a.Heard) },
	"topics": func(a, b *fanout.ConnInfo) int { return cmp.Compare(b.Topics, a.Topics) },
	"age":    func(a, b *fanout.ConnInfo) int { return cmp.Compare(b.Age, a.Age) },
}

// debugConn is a connection as operators see it: a line of JSON. Times are in
// milliseconds.
type debugConn struct {
	Conn       string `json:"conn"`
	Remote     string `json:"remote"`
	User       string `json:"user,omitempty"`
	Loop       int    `json:"loop"`
	State      string `json:"state"`
	Age        int64  `json:"age_ms"`
	Topics     int    `json:"topics"`
	Window     int64  `json:"interval_ms"`
	Step       int    `json:"slowed_down"`
	Backlog    int    `json:"backlog_bytes"`
	BacklogFor int64  `json:"backlog_ms"`
	Heard      int64  `json:"heard_ms_ago"`
	RTT        int64  `json:"rtt_ms"`
}

// debugEviction is an eviction as operators see it.
type debugEviction struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Code   int       `json:"code,omitempty"`
	Lag    int64     `json:"lag_ms"` // Of the edge itself.
	debugConn
}

func debugConnOf(who loop.Identity, in int, c *fanout.ConnInfo) debugConn {
	return debugConn{
		Conn: who.Conn, Remote: who.Remote, User: who.User, Loop: in, State: c.State,
		Age: c.Age.Milliseconds(), Topics: c.Topics, Window: c.Window.Milliseconds(), Step: c.Step,
		Backlog: c.Backlog, BacklogFor: c.BacklogFor.Milliseconds(), Heard: c.Heard.Milliseconds(), RTT: c.RTT.Milliseconds(),
	}
}

// debugPages are the edge's own pages of the admin port.
func debugPages(server *loop.Server, table *topics.Table) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/version":         serveVersion,
		"/debug/conns":     func(w http.ResponseWriter, r *http.Request) { serveConns(w, r, server) },
		"/debug/evictions": func(w http.ResponseWriter, r *http.Request) { serveEvictions(w, r, server) },
		"/debug/top":       func(w http.ResponseWriter, r *http.Request) { serveTop(w, r, table) },
	}
}

// serveVersion answers /version.
func serveVersion(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(app.BuildVersion()) // Who has gone needs no answer.
}

// serveConns answers /debug/conns?sort=…&n=….
func serveConns(w http.ResponseWriter, r *http.Request, server *loop.Server) {
	order, n := cmp.Or(r.FormValue("sort"), "backlog"), debugConns
	compare, ok := connOrders[order]
	if text := r.FormValue("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > debugConnsMax {
			ok = false
		}
	}
	if !ok {
		http.Error(w, fmt.Sprintf("want /debug/conns?sort=S&n=N with S one of %s and N from 1 to %d",
			strings.Join(slices.Sorted(maps.Keys(connOrders)), ", "), debugConnsMax), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), debugTimeout)
	defer cancel()
	conns, err := server.Inspect(ctx, n, compare)
	writeLines(w, err, conns, func(c *loop.ConnInfo) any { return debugConnOf(c.Identity, c.Loop, &c.ConnInfo) })
}

// serveEvictions answers /debug/evictions.
func serveEvictions(w http.ResponseWriter, r *http.Request, server *loop.Server) {
	ctx, cancel := context.WithTimeout(r.Context(), debugTimeout)
	defer cancel()
	evictions, err := server.Evictions(ctx)
	writeLines(w, err, evictions, func(e *loop.Eviction) any {
		return debugEviction{e.At.UTC(), e.Reason.String(), int(e.Reason.Code()), e.Lag.Milliseconds(), debugConnOf(e.Identity, e.Loop, &e.ConnInfo)}
	})
}

// writeLines writes one JSON object a line, which jq and grep both read.
func writeLines[T any](w http.ResponseWriter, err error, all []T, line func(*T) any) {
	if err != nil {
		http.Error(w, "the event loops have not answered: they are busy or stopping", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	for i := range all {
		if out.Encode(line(&all[i])) != nil {
			return // The reader is gone.
		}
	}
}
