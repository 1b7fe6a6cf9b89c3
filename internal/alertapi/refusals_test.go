// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"strings"
	"testing"
)

const ok = `{"user_id":1,"symbol":"A","condition":"ABOVE","target_price":1`

// refusals are of a server that has one alert, which is of the user 1.
var refusals = []struct {
	method, target, body string
	header               []string
	status               int
	want                 string
}{
	{"POST", "/alerts", ok + `,"price":1}`, nil, 400, `\"price\" is no member of an alert: want some of user_id, symbol,`},
	{"POST", "/alerts", ok + `,"note":"a","note":"b"}`, nil, 400, "twice"},
	{"POST", "/alerts", ok, nil, 400, "not JSON"},
	{"POST", "/alerts", ok + "}{}", nil, 400, "behind"},
	{"POST", "/alerts", "[]", nil, 400, "want an object"},
	{"POST", "/alerts", " ", nil, 400, "want an object"},
	{"POST", "/alerts", "{\"note\":\"\xff\"}", nil, 400, "not JSON"},
	{"POST", "/alerts", `{"symbol":1}`, nil, 400, "symbol: want a text"},
	{"POST", "/alerts", `{"bars":1.5}`, nil, 400, "bars: want a whole"},
	{"POST", "/alerts", `{"expires":-1}`, nil, 400, "expires: want a whole"},
	{"POST", "/alerts", `{"expires":1e3}`, nil, 400, "expires: want a whole"},
	{"POST", "/alerts", `{"expires":"1"}`, nil, 400, "expires: want a whole"},
	{"POST", "/alerts", `{"target_price":true}`, nil, 400, "target_price: not a decimal"},
	{"POST", "/alerts", `{"target_price":"x"}`, nil, 400, "target_price: not a decimal"},
	{"POST", "/alerts", `{"target_price":1e15}`, nil, 400, "target_price: the number does not fit"},
	{"POST", "/alerts", `{"repeat":1}`, nil, 400, "repeat: want true"},
	{"POST", "/alerts", `{"window":"2m"}`, nil, 400, "window: want one of 1m"},
	{"POST", "/alerts", `{"window":5}`, nil, 400, "window: want a text"},
	{"POST", "/alerts", `{"note":{}}`, nil, 400, "note: want a text"},
	{"POST", "/alerts", `{"user_id":{}}`, nil, 400, "user_id: want"},
	{"POST", "/alerts", `{"symbol":"A","condition":"ABOVE","target_price":1}`, nil, 422, "user_id: it is missing"},
	{"POST", "/alerts", `{"user_id":1}`, nil, 422, "symbol: want"},
	{"POST", "/alerts", `{"user_id":1,"symbol":"A"}`, nil, 422, "condition: want one of"},
	{"POST", "/alerts", `{"user_id":1,"symbol":"A","condition":"ABOVE"}`, nil, 422, "target_price: want"},
	{"POST", "/alerts", ok + `,"expires":1699999999999}`, nil, 422, "expires: it is over"},
	{"POST", "/alerts", ok + `,"hysteresis":1}`, nil, 422, "hysteresis: it is for"},
	{"POST", "/alerts", ok + `,"bars":9223372036854775807}`, nil, 422, "bars: ABOVE has none"},
	{"POST", "/alerts", ok + `,"note":"` + strings.Repeat("x", 201) + `"}`, nil, 422, "note: want"},
	{"POST", "/alerts", ok + "}" + strings.Repeat(" ", 16<<10), nil, 413, "at most 16384"},
	{"POST", "/alerts", ok + "}", []string{"Content-Type: text/plain"}, 415, "application/json"},
	{"POST", "/alerts", ok + "}", []string{"Content-Type: application/json; charset=latin1"}, 415, "UTF-8"},
	{"POST", "/alerts", ok + "}", []string{"Content-Encoding: gzip"}, 415, "compressed"},
	{"POST", "/alerts", ok + "}", []string{"Content-Type: application/merge-patch+json"}, 415, "application/json"},
	{"POST", "/alerts", "", nil, 415, "application/json"},
	{"POST", "/alerts?user_id=1", ok + "}", nil, 400, "not known here: want nothing"},
	{"POST", "/alerts", ok + "}", []string{"Idempotency-Key: "}, 400, "Idempotency-Key: want one"},
	{"POST", "/alerts", ok + "}", []string{"Idempotency-Key: " + strings.Repeat("x", 256)}, 400, "255"},
	{"POST", "/alerts", ok + "}", []string{"Idempotency-Key: ä"}, 400, "printable"},
	{"POST", "/alerts", ok + "}", []string{"Idempotency-Key: a", "Idempotency-Key: b"}, 400, "want one"},
	{"GET", "/alerts?active_only=1", "", nil, 400, "active_only: want"},
	{"GET", "/alerts?active=true", "", nil, 400, `\"active\" in the query is not known here: want some of user_id, active_only`},
	{"GET", "/alerts?limit=0", "", nil, 400, "limit: want 1 to 1000"},
	{"GET", "/alerts?limit=1001", "", nil, 400, "limit: want 1 to 1000"},
	{"GET", "/alerts?limit=x", "", nil, 400, "limit: want"},
	{"GET", "/alerts?limit=+1", "", nil, 400, "limit: want"},
	{"GET", "/alerts?after=-1", "", nil, 400, "after: want"},
	{"GET", "/alerts?after=99999999999999999999", "", nil, 400, "after: want"},
	{"GET", "/alerts?user_id=1&user_id=2", "", nil, 400, "more than once"},
	{"GET", "/alerts?a=%zz", "", nil, 400, "well formed"},
	{"GET", "/alerts?symbol=a%20b", "", nil, 422, "symbol: want"},
	{"GET", "/alerts?user_id=", "", nil, 422, "user_id: want"},
	{"GET", "/alerts?user_id=a%00", "", nil, 422, "user_id: want"},
	{"GET", "/alerts", "{}", nil, 400, "no body"},
	{"GET", "/alerts/fired", "", nil, 422, "user_id: it is missing"},
	{"GET", "/alerts/fired?user_id=1&limit=0", "", nil, 400, "limit: want"},
	{"GET", "/alerts/fired?user_id=1&after=x", "", nil, 400, "after: want"},
	{"GET", "/alerts/2", "", nil, 404, "no such alert"},
	{"GET", "/alerts/0", "", nil, 404, "no such alert"},
	{"GET", "/alerts/01", "", nil, 404, "no such alert"},
	{"GET", "/alerts/x", "", nil, 404, "no such alert"},
	{"GET", "/alerts/-1", "", nil, 404, "no such alert"},
	{"GET", "/alerts/1?user_id=2", "", nil, 404, "no such alert"},
	{"GET", "/alerts/", "", nil, 404, "want /alerts,"},
	{"GET", "/alerts/1/x", "", nil, 404, "want /alerts,"},
	{"GET", "/", "", nil, 404, "want /alerts,"},
	{"GET", "/price/", "", nil, 404, "want /alerts,"},
	{"GET", "/price/MSFT", "", nil, 404, "no price of MSFT"},
	{"GET", "/price/a%20b", "", nil, 422, "name"},
	{"PATCH", "/alerts/1", `{"symbol":"MSFT"}`, nil, 422, "keeps it"},
	{"PATCH", "/alerts/1", `{"symbol":null}`, nil, 422, "keeps it"},
	{"PATCH", "/alerts/1", `{"target_price":null}`, nil, 422, "target_price: want"},
	{"PATCH", "/alerts/1", `{"id":1}`, nil, 400, "no member"},
	{"PATCH", "/alerts/1", `{"note":1}`, nil, 400, "note: want"},
	{"PATCH", "/alerts/2", `{"note":"x"}`, nil, 404, "no such alert"},
	{"PATCH", "/alerts/1", `{"note":"x"}`, []string{`If-Match: "2"`}, 412, "another arm"},
	{"PATCH", "/alerts/1", `{"note":"x"}`, []string{`If-Match: W/"1"`}, 412, "another arm"},
	{"PATCH", "/alerts/1", `{"note":"x"}`, []string{`If-Match: "x"`}, 412, "another arm"},
	{"PATCH", "/alerts/1", `{"note":"x"}`, []string{`If-Match: 1`}, 400, "If-Match: want"},
	{"PATCH", "/alerts/1?user_id=2", `{"user_id":1}`, nil, 400, "want it once"},
	{"PATCH", "/alerts/1?user_id=2", `{"note":"x"}`, nil, 404, "no such alert"},
	{"PATCH", "/alerts/1", `x`, []string{"Content-Type: text/plain"}, 415, "json"},
	{"DELETE", "/alerts/1", "", []string{`If-Match: "2", "3"`}, 412, "another arm"},
	{"DELETE", "/alerts/2", "", nil, 404, "no such alert"},
	{"DELETE", "/alerts/1", "{}", nil, 400, "no body"},
	{"DELETE", "/alerts/1", "", []string{`If-Match: `}, 400, "If-Match: want"},
	{"DELETE", "/alerts", "", nil, 405, "one of GET"},
	{"PUT", "/alerts/1", "{}", nil, 405, "one of GET"},
	{"POST", "/alerts/fired", "{}", nil, 405, "one of GET"},
	{"POST", "/price/AAPL", "{}", nil, 405, "one of GET"},
	{"POST", "/health", "{}", nil, 405, "one of GET"},
	{"GET", "/alerts", "", []string{"Origin: https://evil.example"}, 403, "Origin"},
	{"OPTIONS", "/alerts", "", []string{"Origin: https://evil.example"}, 403, "Origin"},
	{"POST", "/alerts", ok + "}", []string{"Origin: https://app.example.com", "Origin: https://app.example.com"}, 403, "Origin"},
}

func TestRefusals(t *testing.T) {
	s := newSite(t, nil)
	s.put(apple)
	for _, c := range refusals {
		res := s.ask(c.method, c.target, c.body, c.header...)
		got := text(t, res)
		h := res.Header
		if res.StatusCode != c.status || !strings.Contains(got, c.want) || h.Get("Cache-Control") != "no-store" ||
			h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s %.100s %q: %d %s %v, want %d %s", c.method, c.target, c.body, c.header, res.StatusCode, got, h, c.status, c.want)
		}
	}
	if a := s.store.alerts[1]; len(s.store.alerts) != 1 || a.Arm != 1 || a.Note != "" || len(s.changed) != 1 {
		t.Errorf("something was done: %+v", s.store.alerts)
	}
	for target, want := range map[string]string{
		"/alerts": "GET, HEAD, POST, OPTIONS", "/alerts/1": "GET, HEAD, PATCH, DELETE, OPTIONS", "/alerts/fired": "GET, HEAD, OPTIONS",
	} {
		if got := s.ask("PUT", target, "").Header.Get("Allow"); got != want {
			t.Errorf("%s: Allow: %s", target, got)
		}
		res := s.ask("OPTIONS", target, "", "Origin: https://app.example.com")
		h := res.Header
		if res.StatusCode != 204 || h.Get("Access-Control-Allow-Methods") != want ||
			h.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
			h.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type, Idempotency-Key, If-Match" {
			t.Errorf("%s: %d %v", target, res.StatusCode, h)
		}
	}
}
