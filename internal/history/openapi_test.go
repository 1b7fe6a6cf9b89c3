// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
)

// published is what docs/openapi.yaml says of answers.
type published struct {
	Paths map[string]struct {
		Get struct {
			Responses map[string]struct {
				Ref string `yaml:"$ref"`
			}
		}
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

// Each status of the document is seen, and has the headers and the type that it says.
func TestOpenAPI(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc published
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.New(t)
	verifier, err := auth.NewVerifier(auth.Config{Secret: []byte(tokenSecret)}, log)
	if err != nil {
		t.Fatal(err)
	}
	open := newSite(t, nil)
	closed := newSite(t, func(c *history.ServerConfig) { c.Verifier = verifier })
	limited := newSite(t, func(c *history.ServerConfig) { c.Rate = guard.Rate{PerSecond: 1, Burst: 1} })
	broken := newSite(t, func(c *history.ServerConfig) {
		c.Store = &historytest.Fake{OnBars: func(q history.Query) error {
			if q.Interval == "1s" {
				panic("a bug")
			}
			return errors.New("no disk")
		}}
	})
	responses := doc.Paths["/history/{symbol}"].Get.Responses
	seen := make(map[string]bool)
	check := func(res *http.Response) {
		status := strconv.Itoa(res.StatusCode)
		seen[status] = true
		said := doc.Components.Responses[filepath.Base(responses[status].Ref)]
		known := []string{"Content-Length", "Content-Type"}
		for name, h := range said.Headers {
			required := h.Required || h.Ref != "" && doc.Components.Headers[filepath.Base(h.Ref)].Required
			if known = append(known, http.CanonicalHeaderKey(name)); required && res.Header.Get(name) == "" {
				t.Errorf("%s has no %s", status, name)
			}
		}
		for name := range res.Header {
			if !slices.Contains(known, name) {
				t.Errorf("%s has %s, which is not described", status, name)
			}
		}
		if kind := res.Header.Get("Content-Type"); kind != "" || len(said.Content) > 0 {
			if _, ok := said.Content[kind]; !ok {
				t.Errorf("%s has the type %q, which is not described", status, kind)
			}
		}
	}
	const origin = "Origin: https://app.example.com"
	for _, format := range []string{"json", "ndjson", "csv"} {
		check(open.ask("GET", path+"?tf=1m&format="+format, origin, "Accept-Encoding: gzip"))
	}
	check(open.ask("GET", path+"?tf=1m", origin, "If-None-Match: *"))
	check(open.ask("GET", path, origin))
	check(closed.ask("GET", path+"?tf=1m", origin))
	check(open.ask("GET", path+"?tf=1m", "Origin: https://evil.example"))
	check(open.ask("GET", "/history/NOPE?tf=1m", origin))
	check(open.ask("POST", path, origin))
	check(open.ask("GET", "/history/a%20b?tf=1m", origin))
	for range 1000 { // Two come within a second, sooner or later.
		if check(limited.ask("GET", path+"?tf=1m", origin)); seen["429"] {
			break
		}
	}
	check(broken.ask("GET", path+"?tf=1s", origin))
	check(broken.ask("GET", path+"?tf=1m", origin))
	if len(responses) == 0 {
		t.Error("the document has no /history/{symbol}")
	}
	for status := range responses {
		if !seen[status] {
			t.Errorf("%s is described and was not seen", status)
		}
	}
}
