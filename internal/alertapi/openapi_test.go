// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
	"tickedge/internal/guard"
)

type described struct {
	Responses map[string]struct {
		Ref string `yaml:"$ref"`
	}
}

// published is what docs/openapi.yaml says of answers.
type published struct {
	Paths map[string]struct {
		Get, Post, Patch, Delete described
	}
	Components struct {
		Responses map[string]struct {
			Headers map[string]header
			Content map[string]any
		}
		Headers map[string]header
	}
}

// header is a header that an answer may have, or has.
type header struct {
	Required bool
	Ref      string `yaml:"$ref"`
}

// check holds an answer against the document: its headers and its type are those that are described.
func (doc *published) check(t *testing.T, of described, what string, res *http.Response) {
	t.Helper()
	status := strconv.Itoa(res.StatusCode)
	ref, ok := of.Responses[status]
	if !ok {
		t.Errorf("%s is answered with %s, which is not described", what, status)
	}
	said := doc.Components.Responses[filepath.Base(ref.Ref)]
	known := []string{"Content-Length", "Content-Type"}
	for name, h := range said.Headers {
		required := h.Required || h.Ref != "" && doc.Components.Headers[filepath.Base(h.Ref)].Required
		if known = append(known, http.CanonicalHeaderKey(name)); required && res.Header.Get(name) == "" {
			t.Errorf("%s: %s has no %s", what, status, name)
		}
	}
	for name := range res.Header {
		if !slices.Contains(known, name) {
			t.Errorf("%s: %s has %s, which is not described", what, status, name)
		}
	}
	if kind := res.Header.Get("Content-Type"); kind != "" || len(said.Content) > 0 {
		if _, ok := said.Content[kind]; !ok {
			t.Errorf("%s: %s has the type %q, which is not described", what, status, kind)
		}
	}
}

// asking is a request, and the status with which it is answered: one of a method of a path of the document.
type asking struct {
	method, path         string
	status               int
	s                    *site
	target, body, header string
}

// askings are what each method answers with that others do not, the order of its rows being that of its table.
func askings(t *testing.T) (all []asking) {
	open := newSite(t, func(c *alertapi.Config) { c.Quota = 2 })
	open.put(ofAnn)
	moved := newSite(t, nil)
	moved.put(ofAnn)
	moved.store.fail = func(_ context.Context, method string) error {
		if method == "change" {
			return alert.ErrState
		}
		return nil
	}
	const one, long, key = "/alerts/{id}", 20_000, "Idempotency-Key: a"
	big := strings.Repeat(" ", long)
	return []asking{
		{"GET", "/alerts", 200, open, "/alerts", "", ""},
		{"GET", "/alerts", 400, open, "/alerts?x", "", ""},
		{"GET", "/alerts", 422, open, "/alerts?user_id=", "", ""},
		{"POST", "/alerts", 201, open, "/alerts", ofAnn, key},
		{"POST", "/alerts", 200, open, "/alerts", ofAnn, key},
		{"POST", "/alerts", 409, open, "/alerts", ofAnn, ""},
		{"POST", "/alerts", 400, open, "/alerts", "x", ""},
		{"POST", "/alerts", 413, open, "/alerts", big, ""},
		{"POST", "/alerts", 415, open, "/alerts", "x", "Content-Type: text/plain"},
		{"POST", "/alerts", 422, open, "/alerts", "{}", ""},
		{"GET", one, 200, open, "/alerts/1", "", ""},
		{"GET", one, 400, open, "/alerts/1?x", "", ""},
		{"GET", one, 404, open, "/alerts/9", "", ""},
		{"GET", one, 422, open, "/alerts/1?user_id=", "", ""},
		{"PATCH", one, 200, open, "/alerts/1", "{}", ""},
		{"PATCH", one, 400, open, "/alerts/1", "x", ""},
		{"PATCH", one, 404, open, "/alerts/9", "{}", ""},
		{"PATCH", one, 409, moved, "/alerts/1", "{}", ""},
		{"PATCH", one, 412, moved, "/alerts/1", "{}", `If-Match: "1"`},
		{"PATCH", one, 413, open, "/alerts/1", big, ""},
		{"PATCH", one, 415, open, "/alerts/1", "x", "Content-Type: text/plain"},
		{"PATCH", one, 422, open, "/alerts/1", `{"symbol":"B"}`, ""},
		{"DELETE", one, 400, open, "/alerts/1?x", "", ""},
		{"DELETE", one, 404, open, "/alerts/9", "", ""},
		{"DELETE", one, 412, open, "/alerts/1", "", `If-Match: "9"`},
		{"DELETE", one, 422, open, "/alerts/1?user_id=", "", ""},
		{"DELETE", one, 204, open, "/alerts/1", "", ""},
		{"GET", "/alerts/fired", 200, open, "/alerts/fired?user_id=ann", "", ""},
		{"GET", "/alerts/fired", 400, open, "/alerts/fired?x", "", ""},
		{"GET", "/alerts/fired", 422, open, "/alerts/fired", "", ""},
		{"GET", "/price/{symbol}", 200, open, "/price/AAPL", "", ""},
		{"GET", "/price/{symbol}", 400, open, "/price/AAPL?x", "", ""},
		{"GET", "/price/{symbol}", 404, open, "/price/MSFT", "", ""},
		{"GET", "/price/{symbol}", 422, open, "/price/a%20b", "", ""},
	}
}

// shared are what all methods answer with.
func shared(t *testing.T) (all []asking) {
	open, closed, away := newSite(t, nil), guarded(t, nil), newSite(t, nil)
	away.store.fail = func(context.Context, string) error { return errors.New("no disk") }
	broken := newSite(t, func(c *alertapi.Config) {
		c.Price = func(string) (alert.Num, int64, bool) { panic("on demand") }
	})
	broken.store.fail = func(context.Context, string) error { panic("on demand") }
	for _, of := range []asking{
		{"GET", "/alerts", 0, nil, "/alerts", "", ""}, {"POST", "/alerts", 0, nil, "/alerts", ofAnn, ""},
		{"GET", "/alerts/{id}", 0, nil, "/alerts/1", "", ""}, {"PATCH", "/alerts/{id}", 0, nil, "/alerts/1", "{}", ""},
		{"DELETE", "/alerts/{id}", 0, nil, "/alerts/1", "", ""}, {"GET", "/alerts/fired", 0, nil, "/alerts/fired?user_id=ann", "", ""},
		{"GET", "/price/{symbol}", 0, nil, "/price/AAPL", "", ""},
	} {
		with := func(status int, s *site, header string) {
			of.status, of.s, of.header = status, s, header
			all = append(all, of)
		}
		with(401, closed, "")
		with(403, open, "Origin: https://evil.example")
		with(429, newSite(t, func(c *alertapi.Config) { c.Rate = guard.Rate{PerSecond: 1, Burst: 1} }), "")
		with(500, broken, "")
		if of.path != "/price/{symbol}" {
			with(503, away, "")
		}
	}
	return all
}

// Each status of the document is seen, and no other, with the headers and the type that it says. Of 408, which is of a socket,
// TestSlowBodies sees that it comes.
func TestOpenAPI(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc published
	if err := yaml.Unmarshal(file, &doc); err != nil {
		t.Fatal(err)
	}
	of := func(method, path string) described {
		item := doc.Paths[path]
		return map[string]described{"GET": item.Get, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete}[method]
	}
	seen := make(map[[3]string]bool)
	see := func(c *asking, method string) {
		header := []string{c.header}
		if !strings.HasPrefix(c.header, "Origin") {
			header = append(header, "Origin: https://app.example.com")
		}
		res := c.s.ask(method, c.target, c.body, header...)
		for n := 0; n < 1000 && c.status == 429 && res.StatusCode != 429; n++ { // Two come within a second, sooner or later.
			res = c.s.ask(method, c.target, c.body, header...)
		}
		if res.StatusCode != c.status {
			t.Errorf("%s %s: %d %s, want %d", method, c.target, res.StatusCode, text(t, res), c.status)
		}
		doc.check(t, of(c.method, c.path), c.method+" "+c.path, res)
		seen[[3]string{c.method, c.path, strconv.Itoa(res.StatusCode)}] = true
	}
	for _, c := range append(askings(t), shared(t)...) {
		see(&c, c.method)
		if c.method == "GET" && c.status == 200 {
			c.status = 405
			see(&c, "PUT")
		}
	}
	for path := range doc.Paths {
		for _, method := range []string{"GET", "POST", "PATCH", "DELETE"} {
			if !strings.HasPrefix(path, "/alerts") && !strings.HasPrefix(path, "/price/") {
				continue
			}
			for status := range of(method, path).Responses {
				if !seen[[3]string{method, path, status}] && status != "408" {
					t.Errorf("%s %s: %s is described and was not seen", method, path, status)
				}
			}
		}
	}
}
