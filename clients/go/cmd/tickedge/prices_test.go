// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// door answers as an edge does whose prices are beside a path.
func door(t *testing.T, path, token string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != path:
			http.Error(w, "not found: the WebSocket is at /ws", http.StatusNotFound)
		case r.Header.Get("Authorization") != token:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"title":"Unauthorized","status":401,"code":401,"detail":"a token is wanted"}`)
		case r.URL.Query().Get("topics") == "LATE":
			<-r.Context().Done()
		default:
			_, _ = fmt.Fprintf(w, `{"d":[{"s":"B","n":7,"v":{"p":1.10}},{"s":"A","n":1,"v":"\u001b[31m"}],"missing":[{"topic":"NONE","code":404},{"index":3,"code":422}]}`)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestPrices(t *testing.T) {
	url := door(t, "/feed/prices", "")
	ws := strings.Replace(url, "http", "ws", 1)
	for _, at := range []string{ws + "/feed/ws", url + "/feed/prices", ws + "/feed/ws/"} {
		r := try(t.Context(), noEnv, "prices", "-url", at, "B", "A", "NONE", "\x1b", "-timeout", "1m")
		want := `{"topic":"B","state":"live","value":{"p":1.10},"n":7,"conflated":0}` + "\n" + `{"topic":"A","state":"live","value":"\u001b[31m","n":1,"conflated":0}` + "\n"
		if r.code != exitMissing || r.out != want || r.err != "tickedge: NONE: 404 the source has no value of it\ntickedge: ·: 422 it is not the name of a topic, or its value can't be passed on\n" {
			t.Errorf("%s: %+v", at, r)
		}
	}
	if r := try(t.Context(), noEnv, "prices", "-url", ws+"/feed/ws", "B", "A"); r.code != exitOK || r.err == "" {
		t.Errorf("%+v", r)
	}
}

func TestPricesThatCanNotBeHad(t *testing.T) {
	url := strings.Replace(door(t, "/prices", "Bearer secret"), "http", "ws", 1)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := try(t.Context(), noEnv, "prices", "-url", url+"/ws", "-token-file", file, "B", "A"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	if r := try(t.Context(), noEnv, "prices", "-url", "ftp://h/ws", "B"); r.code != exitUsage || !strings.Contains(r.err, "not the URL of an edge") {
		t.Errorf("%+v", r)
	}
	for want, args := range map[string][]string{
		"the edge answers with 401 Unauthorized: a token is wanted": {"-url", url + "/ws", "B"},
		"404 Not Found: not found: the WebSocket is at /ws":         {"-url", url + "/a/ws", "-token", "secret", "B"},
		"out of time":             {"-url", url + "/ws", "-token", "secret", "-timeout", "300ms", "LATE"},
		"the edge can't be asked": {"-url", "ws://127.0.0.1:1/ws", "B"},
	} {
		r := try(t.Context(), noEnv, append([]string{"prices"}, args...)...)
		text := strings.Join(strings.Fields(r.err), " ")
		if r.code != exitMissing || r.out != "" || !strings.Contains(text, want) || strings.Contains(text, "secret") {
			t.Errorf("%q: want %q, %+v", args, want, r)
		}
	}
}
