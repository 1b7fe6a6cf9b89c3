// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"tickedge/internal/logtest"
	"tickedge/internal/panics"
)

// A request whose handler panics is answered, counted and logged, with a stack of bounded
// length. The abort that package http knows of passes.
func TestPanicInARequest(t *testing.T) {
	log, buf := logtest.New(t)
	before := panics.Count(panics.Admin)
	answer := httptest.NewRecorder()
	survive(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }), log).
		ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != http.StatusInternalServerError || !strings.Contains(answer.Body.String(), "boom") {
		t.Errorf("%d %q", answer.Code, answer.Body)
	}
	if panics.Count(panics.Admin) != before+1 || buf.Count("stack=") != 1 || buf.Count("/metrics") != 1 {
		t.Error("not counted and logged once")
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panic = %v", p)
		}
	}()
	survive(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), log).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

// The command line is shown without what is in its URLs.
func TestCommandLineHidesURLs(t *testing.T) {
	was := os.Args
	t.Cleanup(func() { os.Args = was })
	os.Args = []string{"edge", "-redis", "fx:*=redis://u:open-sesame@h", "-redis=redis://:open-sesame@h", "-demo"}
	answer := httptest.NewRecorder()
	commandLine(answer, httptest.NewRequest("GET", "/debug/pprof/cmdline", nil))
	if want := "edge\x00-redis\x00fx:*=redis://xxxxx\x00-redis=redis://xxxxx\x00-demo"; answer.Body.String() != want {
		t.Errorf("%q, want %q", answer.Body, want)
	}
}
