// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"tickedge/internal/httphead"
)

// ask is the page's answer to a GET with these fields.
func ask(t *testing.T, p *httphead.Page, fields ...string) (*http.Response, string) {
	t.Helper()
	req, refusal := httphead.ParseRequest(headOf("GET / HTTP/1.1", append([]string{"Host: a"}, fields...)...))
	if refusal != nil {
		t.Fatalf("%q: %s", fields, refusal.Reason)
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Answer(&req))), &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

var pageText = strings.Repeat("<p>The page, again and again.\n", 100)

// A page is zipped for who takes that, and both forms are one page.
func TestPageIsZipped(t *testing.T) {
	p := httphead.NewPage("text/html", "Cache-Control: no-cache\r\n", pageText)
	for fields, zipped := range map[string]bool{
		"":                      false,
		"Accept-Encoding: gzip": true,
		"Accept-Encoding: gzip, deflate, br, zstd":     true,
		"accept-encoding: br,\tGZIP ; Q=0.5":           true,
		"Accept-Encoding: x-gzip":                      true,
		"Accept-Encoding: *":                           true,
		"Accept-Encoding: gzip;q=0.001":                true,
		"Accept-Encoding: br\r\nAccept-Encoding: gzip": true,
		"Accept-Encoding: gzip;q=0":                    false,
		"Accept-Encoding: gzip; q=0.000":               false,
		"Accept-Encoding: *, gzip;q=0":                 false,
		"Accept-Encoding: gzip;q=0, *":                 false,
		"Accept-Encoding: *;q=0":                       false,
		"Accept-Encoding: identity;q=1, *;q=0":         false,
		"Accept-Encoding: ":                            false,
		"Accept-Encoding: br, deflate":                 false,
		"X-Accept-Encoding: gzip":                      false,
	} {
		var lines []string
		if fields != "" {
			lines = strings.Split(fields, "\r\n")
		}
		res, body := ask(t, p, lines...)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("%q: zipped %v, want %v", fields, got, zipped)
			continue
		}
		if zipped {
			if len(body) > len(pageText)/10 {
				t.Errorf("%q: %d bytes of %d", fields, len(body), len(pageText))
			}
			r, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			body = string(text)
		}
		if res.StatusCode != 200 || body != pageText || res.Header.Get("Vary") != "Accept-Encoding" ||
			res.Header.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(res.Header.Get("ETag"), `W/"`) {
			t.Errorf("%q: %s %v %q", fields, res.Status, res.Header, body)
		}
	}
}

// Who has the page is told so in a few bytes.
func TestPageIsUnchanged(t *testing.T) {
	p := httphead.NewPage("text/html", "Cache-Control: no-cache\r\n", pageText)
	res, _ := ask(t, p)
	tag := res.Header.Get("ETag")
	strong := strings.TrimPrefix(tag, "W/")
	for value, unchanged := range map[string]bool{
		tag:                        true,
		strong:                     true,
		"*":                        true,
		`"other", ` + tag + `,"x"`: true,
		`"other"`:                  false,
		`W/"other"`:                false,
		strings.Trim(strong, `"`):  false,
		"":                         false,
	} {
		res, body := ask(t, p, "If-None-Match: "+value, "Accept-Encoding: gzip")
		want := 200
		if unchanged {
			want = 304
		}
		if res.StatusCode != want {
			t.Errorf("%s: %s, want %d", value, res.Status, want)
			continue
		}
		if unchanged && (body != "" || res.Header.Get("ETag") != tag || res.Header.Get("Vary") != "Accept-Encoding" ||
			res.Header.Get("Cache-Control") != "no-cache" || res.Header.Get("Content-Length") != "" || !res.Close) {
			t.Errorf("%s: %v %q", value, res.Header, body)
		}
	}
	for _, other := range []*httphead.Page{
		httphead.NewPage("text/html", "Cache-Control: no-cache\r\n", pageText+" "),
		httphead.NewPage("text/html", "Cache-Control: no-store\r\n", pageText),
	} {
		if res, _ := ask(t, other, "If-None-Match: "+tag); res.StatusCode != 200 {
			t.Error("another page, or one with another header, has the same tag")
		}
	}
}
