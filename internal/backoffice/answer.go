// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"tickedge/internal/panics"
)

// answer is what is being answered. It notes the code for what is counted, and what the audit says.
type answer struct {
	http.ResponseWriter
	*Request
	code int
}

func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// problem answers with an error (RFC 9457).
func (a *answer) problem(code int, detail string) {
	a.Note("error", detail)
	a.send(code, "application/problem+json", map[string]any{"title": http.StatusText(code), "status": code, "detail": detail})
}

// fault is problem for what the service says.
func (a *answer) fault(f *Fault) {
	if f.Retry {
		a.Header().Set("Retry-After", "1")
	}
	if f.challenge != "" {
		a.Header().Set("WWW-Authenticate", f.challenge)
	}
	a.problem(f.Status, f.Detail)
}

func (a *answer) json(code int, body any) { a.send(code, "application/json", body) }

func (a *answer) send(code int, kind string, body any) {
	a.Header().Set("Content-Type", kind)
	a.Header().Set("Cache-Control", "no-store")
	a.WriteHeader(code)
	_ = json.NewEncoder(a).Encode(body) // Who has gone needs no answer.
}

// route is one path, and what each of its methods does.
type route struct {
	path    string // A pattern of [http.ServeMux] without a method.
	methods map[string]func(*answer, *http.Request)
}

func (p *Port) routes() []route {
	type methods = map[string]func(*answer, *http.Request)
	return []route{
		{"/publish", methods{"POST": p.publish}},
		{"/conns", methods{"GET": p.listConns}},
		{"/conns/{id}", methods{"GET": p.showConn, "DELETE": p.endConn}},
		{"/users/{user}", methods{"DELETE": p.endUser}},
		{"/topics", methods{"GET": p.listTopics}},
		{"/announce", methods{"POST": p.announce}},
	}
}

// handler is all of the port.
func (p *Port) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range p.routes() {
		mux.HandleFunc(rt.path, func(w http.ResponseWriter, r *http.Request) {
			p.serve(w, r, rt.path, func(a *answer) {
				do, ok := rt.methods[r.Method]
				if !ok {
					for m := range rt.methods {
						a.Header().Add("Allow", m)
					}
					a.problem(http.StatusMethodNotAllowed, "want another method, see Allow")
					return
				}
				do(a, r)
			})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, "other", func(a *answer) {
			a.problem(http.StatusNotFound, "there is /publish, /conns, /conns/ID, /users/SUB, /topics and /announce")
		})
	})
	return mux
}

// serve answers one request: bounded, of somebody who may, counted, and with a line in the audit.
func (p *Port) serve(w http.ResponseWriter, r *http.Request, path string, do func(*answer)) {
	a := &answer{ResponseWriter: w, Request: p.Begin(path, methodOf(r)+" "+path, r.RemoteAddr)}
	defer func() {
		caught := recover()
		if caught != nil && caught != http.ErrAbortHandler {
			f := panics.Caught(panics.Admin, caught)
			p.log.Error("panic while answering a request to the back office", "route", path, "error", f, "hint", panics.Hint, "stack", f.Stack)
			a.problem(http.StatusInternalServerError, "a bug of the edge, which is in its log")
		}
		a.End(a.code)
		if caught == http.ErrAbortHandler {
			panic(caught)
		}
	}()
	allow(a, AnswerTime)
	if f := a.Enter(); f != nil {
		a.fault(f)
	} else if p.caller(a, r) {
		do(a)
	}
}

// methodOf is the method for the log: one of those that are known.
func methodOf(r *http.Request) string {
	switch r.Method {
	case "GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS":
		return r.Method
	}
	return "another method"
}

// allow bounds the time that a request may still take.
func allow(w http.ResponseWriter, d time.Duration) {
	until, rc := time.Now().Add(d), http.NewResponseController(w)
	// The errors say that the connection is gone, which shows by itself.
	_ = rc.SetReadDeadline(until)
	_ = rc.SetWriteDeadline(until)
}

// kind is the media type of a request.
func kind(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return strings.ToLower(t)
}
