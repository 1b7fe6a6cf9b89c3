// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/panics"
	"tickedge/internal/protocol"
	"tickedge/internal/web"
)

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var f *Fault
	err := panics.Try(panics.Alerts, func() error {
		f = s.serve(w, r)
		return nil
	})
	if err != nil {
		s.Panicked(err)
		f = errBug
	}
	if f != nil {
		s.fail(w, f)
	}
}

// Panicked logs what a door of the service has caught.
func (s *Service) Panicked(err error) {
	s.cfg.Log.Error("panic while answering a request about alerts", append([]any{"error", err, "hint", panics.Hint}, panics.Attrs(err)...)...)
}

func (s *Server) fail(w http.ResponseWriter, f *Fault) {
	s.counted(f.Status)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	web.Problem(w, f.Status, f.Detail, f.header(), f.final)
}

func (s *Server) send(w http.ResponseWriter, status int, kind string, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if kind != "" {
		h.Set("Content-Type", kind)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	s.counted(status)
	w.WriteHeader(status)
	_, _ = w.Write(body) // Who has gone needs no answer.
}

// serve answers a request, or returns why it does not: what costs little is looked at first, and no body is read of who may not ask.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) *Fault {
	if !web.Admit(w, r, s.cfg.Origins, "Location, Retry-After") {
		return &Fault{Status: http.StatusForbidden, Detail: "this page (Origin) may not ask here: its operator allows pages", final: true}
	}
	q := &request{Request: r, w: w}
	now, client := time.Now(), web.Client(r, s.cfg.Trusted)
	if f := s.Admit(client, now); f != nil {
		return f
	}
	to := s.route(q)
	if to == nil {
		return refuse(http.StatusNotFound, "want /alerts, /alerts/ID, /alerts/fired, /price/SYMBOL or /health")
	}
	methods := to.allow()
	if r.Method == http.MethodOptions {
		h := w.Header()
		h.Set("Allow", methods)
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match")
		h.Set("Access-Control-Max-Age", "86400")
		s.send(w, http.StatusNoContent, "", nil)
		return nil
	}
	asked := to.of(r.Method)
	if asked == nil {
		return &Fault{
			Status: http.StatusMethodNotAllowed, Detail: "this is asked with one of " + methods, Header: "Allow: " + methods + "\r\n", final: true,
		}
	}
	if f := q.readQuery(asked.parameters); f != nil {
		return f
	}
	if !to.public {
		who, f := s.Identify(client, r.Header["Authorization"], now)
		if f != nil {
			return f
		}
		q.who = who
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPatch && r.ContentLength != 0 {
		return &Fault{Status: http.StatusBadRequest, Detail: "this request has no body: leave it out", final: true}
	}
	return asked.answer(q)
}

// request is one that is being answered.
type request struct {
	*http.Request
	w     http.ResponseWriter
	who   *Caller
	query url.Values
	rest  string // Of the path: an ID or a symbol.
}

// readQuery refuses parameters that are not known: a slip of the pen would list everything.
func (q *request) readQuery(known []string) (f *Fault) {
	all, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, "the query is not well formed: want name=value, with & between and %XX for what is special")
	}
	for name, values := range all {
		switch {
		case !slices.Contains(known, name):
			text := fmt.Sprintf("%q in the query is not known here: want nothing", protocol.Cut(name, 40))
			if len(known) > 0 {
				text = strings.TrimSuffix(text, "nothing") + "some of " + strings.Join(known, ", ")
			}
			return refuse(http.StatusBadRequest, text)
		case len(values) > 1:
			return refuse(http.StatusBadRequest, name+" is in the query more than once: want it once")
		}
	}
	q.query = all
	return nil
}

// readInput reads the body of a request. kinds are the types that it may have.
func (q *request) readInput(kinds ...string) (*Input, *Fault) {
	kind, parameters, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	charset, has := parameters["charset"]
	if err != nil || !slices.Contains(kinds, kind) || has && !strings.EqualFold(charset, "utf-8") || q.Header.Get("Content-Encoding") != "" {
		return nil, &Fault{Status: http.StatusUnsupportedMediaType, final: true,
			Detail: "want a body of Content-Type: " + kinds[0] + ", in UTF-8 and not compressed"}
	}
	tooLarge := &Fault{Status: http.StatusRequestEntityTooLarge, final: true,
		Detail: "the body is too long: want at most " + strconv.Itoa(BodyMax) + " bytes"}
	if q.ContentLength > BodyMax {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(q.w, q.Body, BodyMax))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &Fault{Status: http.StatusRequestTimeout, Detail: "the body did not come in time: send it at once", final: true}
	case err != nil:
		return nil, &Fault{Status: http.StatusBadRequest, Detail: "the body did not come whole", final: true}
	}
	in, err := ParseInput(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	return in, nil
}
