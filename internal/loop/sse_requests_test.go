// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What a client sends as the last id it has seen is either no HTTP, or harmless: it gets its stream, and rows.
func TestOddLastEventIDs(t *testing.T) {
	e := serve(t)
	const name = "Last-Event-ID: "
	for what, c := range map[string]struct {
		fields []string
		status int
		body   string
	}{
		"empty":           {[]string{"Last-Event-ID:"}, 200, ""},
		"blanks":          {[]string{name + " \t "}, 200, ""},
		"a blank in it":   {[]string{name + "a b"}, 200, ""},
		"a tab in it":     {[]string{name + "a\tb"}, 200, ""},
		"not UTF-8":       {[]string{name + "\xff\xfe"}, 200, ""},
		"Chinese":         {[]string{name + "币安"}, 200, ""},
		"like a token":    {[]string{name + strings.Repeat("A", 48)}, 200, ""},
		"long":            {[]string{name + strings.Repeat("A", 7<<10)}, 200, ""},
		"8 KB":            {[]string{name + strings.Repeat("A", 8<<10)}, 431, "head"},
		"NUL":             {[]string{name + "a\x00b"}, 400, "control character"},
		"CR":              {[]string{name + "a\rb"}, 400, ""},
		"DEL":             {[]string{name + "a\x7fb"}, 400, "control character"},
		"folded":          {[]string{name + "a", " b"}, 400, ""},
		"twice":           {[]string{name + "a", "last-event-id: b"}, 200, ""},
		"twice and empty": {[]string{"Last-Event-ID:", name + "b"}, 200, ""},
		"other case":      {[]string{"LAST-EVENT-ID: a"}, 200, ""},
	} {
		t.Run(what, func(t *testing.T) {
			if c.status != 200 {
				_, res, body := e.ask("", request("GET", "/sse?topics=A", c.fields...))
				if res.StatusCode != c.status || !strings.Contains(body, c.body) {
					t.Errorf("%s %q, want %d %q", res.Status, body, c.status, c.body)
				}
				return
			}
			topic := strings.ReplaceAll(what, " ", "-") // One that nobody has had.
			client, _, r := e.follow("?topics="+url.QueryEscape(topic), c.fields...)
			r.want("hello")
			r.want("ack")
			e.publish(topic, "1")
			if m := r.want("update"); len(m.Rows) != 1 || m.Rows[0].S != topic {
				t.Fatalf("update = %+v", m)
			}
			client.close()
		})
	}
}

// A client of HTTP/1.0 may leave out the host, and gets the same stream.
func TestStreamByHTTP10(t *testing.T) {
	e := serve(t)
	for _, fields := range []string{"", "Host: edge.example\r\n", "Connection: keep-alive\r\n"} {
		c := dialRaw(t, e.Addr())
		c.send([]byte("GET /sse?topics=A HTTP/1.0\r\n" + fields + "\r\n"))
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || len(res.TransferEncoding) > 0 || res.ContentLength != -1 {
			t.Fatalf("%q: %s %v", fields, res.Status, res.Header)
		}
		r := &reader{t: t, br: bufio.NewReader(res.Body)}
		r.want("hello")
		r.want("ack")
		c.close()
	}
}

// Whoever asks whether a page may send a header is told so with the page's own name, and never of all pages, as it may ask
// for credentials.
func TestPreflightWithCredentials(t *testing.T) {
	const page = "https://app.example.com"
	e := serve(t, func(c *Config) { c.Origins = origins(t, page) })
	_, res, body := e.ask("", request("OPTIONS", "/sse?topics=A", "Origin: "+page, "Cookie: a=b",
		"Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization,cache-control,last-event-id"))
	h := res.Header
	if res.StatusCode != 200 || body != "" || h.Get("Access-Control-Allow-Origin") != page || h.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("%s %v %q", res.Status, h, body)
	}
	allowed := strings.ToLower(h.Get("Access-Control-Allow-Headers"))
	for _, name := range []string{"authorization", "cache-control", "last-event-id"} {
		if !strings.Contains(allowed, name) || strings.Contains(h.Get("Access-Control-Allow-Methods"), "*") {
			t.Errorf("%s may not be sent: %v", name, h)
		}
	}
}
