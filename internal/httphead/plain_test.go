// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"tickedge/internal/httphead"
)

func parsed(t *testing.T, line string, fields ...string) httphead.Request {
	t.Helper()
	req, refusal := httphead.ParseRequest(headOf(line, append(fields, "Host: e")...))
	if refusal != nil {
		t.Fatalf("%q %q: %+v", line, fields, refusal)
	}
	return req
}

// RFC 9112, 9.3.
func TestPersists(t *testing.T) {
	for connection, want := range map[string]bool{"keep-alive": true, "close": false, "x, CLOSE": false, "closed": true, "": true, "upgrade": true} {
		for line, want := range map[string]bool{"GET / HTTP/1.1": want, "GET / HTTP/1.0": false} {
			if req := parsed(t, line, "Connection: "+connection); req.Persists() != want {
				t.Errorf("%s with %q goes on: %v", line, connection, !want)
			}
		}
	}
	if req := parsed(t, "GET / HTTP/1.1", "Connection: x", "Connection: close"); req.Persists() {
		t.Error("a second field is passed over")
	}
}

// RFC 9110, 13.1.2.
func TestNoneMatch(t *testing.T) {
	req := parsed(t, "GET / HTTP/1.1", `If-None-Match: "a", W/"b"`, `If-None-Match: "c"`)
	list := req.AppendNoneMatch(nil)
	for tag, want := range map[string]bool{`"a"`: true, `"b"`: true, `"c"`: true, `"d"`: false, `a`: false, ``: false} {
		if httphead.ListsTag(list, []byte(tag)) != want {
			t.Errorf("%s lists %s: %v", list, tag, !want)
		}
	}
	for list, want := range map[string]bool{"*": true, " * ": true, `"*"`: false, `**`: false, ``: false, `,,"a"`: true, `w/"a"`: false} {
		if httphead.ListsTag([]byte(list), []byte(`"a"`)) != want {
			t.Errorf("%q lists it: %v", list, !want)
		}
	}
	if none := parsed(t, "GET / HTTP/1.1"); len(none.AppendNoneMatch(nil)) != 0 {
		t.Error("tags out of nothing")
	}
}

func TestParameter(t *testing.T) {
	req := parsed(t, "GET /?a=1&b=%41+x&c&d=1&d=1&e=%zz&f=1;2&%67=7&=8 HTTP/1.1")
	for name, want := range map[string]struct {
		value   string
		has, ok bool
	}{
		"a": {"1", true, true}, "b": {"A x", true, true}, "c": {"", true, true}, "d": {"", true, false}, "e": {"", true, false}, "f": {"", true, false},
		"g": {"7", true, true}, "h": {"", false, true},
	} {
		value, has, refusal := req.Parameter(name)
		if string(value) != want.value || has != want.has || (refusal == nil) != want.ok {
			t.Errorf("%s: %q, %v, %+v", name, value, has, refusal)
		}
	}
}

func TestParseWait(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "10": 10 * time.Second, "10s": 10 * time.Second, "30s": 30 * time.Second, "1ms": time.Millisecond, "30000ms": 30 * time.Second,
		"31s": -1, "30001ms": -1, "s": -1, "ms": -1, "-1s": -1, "+1": -1, "1m": -1, "1.5s": -1, "1 s": -1, "9999999": -1, "999999999999999999999s": -1, "1S": -1,
	} {
		if d, ok := httphead.ParseWait([]byte(text), 30*time.Second); ok != (want >= 0) || ok && d != want {
			t.Errorf("%q: %v, %v", text, d, ok)
		}
	}
}

// Two responses on one connection are read as what they are.
func TestBeginResponse(t *testing.T) {
	out := append(httphead.BeginResponse(nil, 200, "application/json", 2, false), "ETag: \"a\"\r\n\r\n{}"...)
	out = append(httphead.BeginResponse(out, 304, "", 0, false), "\r\n"...)
	out = append(httphead.BeginResponse(out, 204, "", 0, false), "\r\n"...)
	out = append(httphead.BeginResponse(out, 404, "text/plain", 1, true), "\r\nx"...)
	br := bufio.NewReader(bytes.NewReader(out))
	for _, want := range []struct {
		status string
		body   string
		close  bool
	}{{"200 OK", "{}", false}, {"304 Not Modified", "", false}, {"204 No Content", "", false}, {"404 Not Found", "x", true}} {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.Status != want.status || string(body) != want.body || res.Close != want.close || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %v %q (%v), want %+v", res.Status, res.Header, body, err, want)
		}
	}
}
