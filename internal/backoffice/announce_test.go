// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/guard"
)

// An announcement is of bounded length and rate, to all, to a user at all edges, or to a connection of this one.
func TestAnnounce(t *testing.T) {
	d := serve(t)
	long := strings.Repeat("é", TextMax/2)
	for _, c := range []struct {
		body string
		code int
		has  string
	}{
		{`{"text":""}`, 422, "1 to 1024"},
		{`{}`, 422, "1 to 1024"},
		{`{"text":"` + long + `x"}`, 422, "1 to 1024"},
		{`{"text":"a\u0000"}`, 422, "control"},
		{`{"text":"a\u0085"}`, 422, "control"},
		{"{\"text\":\"\xff\"}", 422, "one JSON object"},
		{`{"text":"a","too":1}`, 422, "one JSON object"},
		{`{"text":"a","to":{}}`, 422, "either user or conn"},
		{`{"text":"a","to":{"user":"u","conn":"00000001"}}`, 422, "either user or conn"},
		{`{"text":"a","to":{"user":""}}`, 422, "sub of a token"},
		{`{"text":"a","to":{"conn":"x"}}`, 422, "8 hex digits"},
		{`{"text":"` + strings.Repeat("x", lineMax) + `"}`, 413, "8192"},
		{`{"text":"` + long + `"}`, 200, `{"scope":"all edges","sent":3,"skipped":1}`},
		{`{"text":"a\n\tb","to":{"user":"u"}}`, 200, `"scope":"all edges"`},
		{`{"text":"c","to":{"conn":"00000001"}}`, 200, `"scope":"this edge"`},
		{`{"text":"d","to":{"conn":"00000000"}}`, 404, "no such"},
		{`{"text":"e","to":null}`, 200, `"scope":"all edges"`},
	} {
		if res, body := d.do("POST", "/announce", "application/json", c.body); res.StatusCode != c.code || !strings.Contains(body, c.has) {
			t.Errorf("%.60s: %d %s, want %d %s", c.body, res.StatusCode, body, c.code, c.has)
		}
	}
	if want := []string{"/" + long, "u/a\n\tb", "/e"}; !slices.Equal(d.edge.told, want) {
		t.Errorf("told %q, want %q", d.edge.told, want)
	}
	d.texts = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 5}, time.Now())
	res, _ := d.do("POST", "/announce", "application/json", `{"text":"f"}`)
	for n := 0; res.StatusCode == 200 && n < 10_000; n++ { // 7 come within a second, sooner or later.
		res, _ = d.do("POST", "/announce", "application/json", `{"text":"f"}`)
	}
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d for too many", res.StatusCode)
	}
	if res, _ := d.do("POST", "/announce", "text/plain", "a"); res.StatusCode != 415 {
		t.Errorf("%d for a text", res.StatusCode)
	}
}

// While the broker is away only this edge has done it, and the answer says so.
func TestOtherEdgesAreNotTold(t *testing.T) {
	d := serve(t)
	d.edge.away, d.wait = true, time.Millisecond
	if res, body := d.do("DELETE", "/users/u", "", ""); res.StatusCode != 202 || !strings.Contains(body, `"disconnected":2,"scope":"this edge"`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}
