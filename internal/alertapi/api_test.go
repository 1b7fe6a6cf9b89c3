// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
	"tickedge/internal/guard"
)

// The calls of the public example.
func TestExample(t *testing.T) {
	s := newSite(t, nil)
	res := s.ask("POST", "/alerts", apple)
	const made = `{"id":1,"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":150,"state":"active","active":true,` +
		`"created":1700000000000,"arm":1,"armed":1700000000000}`
	h := res.Header
	if got := text(t, res); got != made || res.StatusCode != 201 || h.Get("Location") != "/alerts/1" ||
		h.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %s", res.StatusCode, h, got)
	}
	if got := s.want(200, "GET", "/alerts?user_id=1&active_only=true", ""); got != `{"alerts":[`+made+`],"next":null}` {
		t.Error(got)
	}
	s.store.fire(1, num(t, "150.2500"), now+7)
	if got := s.want(200, "GET", "/alerts?user_id=1&active_only=true", ""); got != `{"alerts":[],"next":null}` {
		t.Error(got)
	}
	fired := strings.NewReplacer(`"active",`, `"fired",`, `true`, `false`).Replace(strings.TrimSuffix(made, "}")) +
		`,"fired":{"n":1,"price":150.25,"at":1700000000007,"by":"price"}}`
	for _, target := range []string{"/alerts/1", "/alerts/1?user_id=1"} {
		if got := s.want(200, "GET", target, ""); got != fired {
			t.Errorf("%s\nwant %s", got, fired)
		}
	}
	const firings = `{"fired":[{"n":1,"alert":1,"arm":1,"price":150.25,"at":1700000000007,"by":"price","symbol":"AAPL","condition":"ABOVE","target_price":150}],"number":1}`
	if got := s.want(200, "GET", "/alerts/fired?user_id=1", ""); got != firings {
		t.Error(got)
	}
	if got := s.want(200, "GET", "/price/AAPL", ""); got != `{"symbol":"AAPL","price":150.25,"ts":1699999999995}` {
		t.Error(got)
	}
	if got := s.want(200, "GET", "/health", ""); got != `{"status":"ok"}` {
		t.Error(got)
	}
	for _, target := range []string{"/health", "/alerts/1", "/alerts", "/price/AAPL", "/alerts/fired?user_id=1"} {
		s.want(200, "HEAD", target, "")
	}
	if n := s.Counts(); n[201] != 1 || n[200] != 12 {
		t.Errorf("%v", n)
	}
}

// A number and its text are one user; what is no whole number in its one form is a text.
func TestUsers(t *testing.T) {
	s := newSite(t, nil)
	for said, want := range map[string]string{
		"1": "1", `"1"`: "1", "0": "0", "9007199254740991": "9007199254740991", `"9007199254740992"`: `"9007199254740992"`,
		`"01"`: `"01"`, `"-1"`: `"-1"`, `"1.0"`: `"1.0"`, `"\"q\\"`: `"\"q\\"`, `"auth0|<ä>"`: `"auth0|<ä>"`,
		`"auth0|<ä>\n"`: "", `""`: "", "-1": "", "1.0": "", "1e3": "", "-0": "", "9007199254740992": "", "true": "", "[]": "",
	} {
		res := s.ask("POST", "/alerts", `{"user_id":`+said+`,"symbol":"AAPL","condition":"ABOVE","target_price":1}`)
		got := text(t, res)
		good := strings.Contains(got, `"user_id":`+want+`,`)
		if want == "" {
			good = res.StatusCode == 400 && strings.Contains(got, "user_id: want")
		}
		if !good {
			t.Errorf("%s: %d %s, want %s", said, res.StatusCode, got, want)
		}
	}
	if p := read[page](t, s.want(200, "GET", "/alerts?user_id=1", "")); len(p.Alerts) != 2 {
		t.Errorf("%+v", p)
	}
}

// All members, and what a change has of them.
func TestMembers(t *testing.T) {
	s := newSite(t, nil)
	const all = `"symbol":"BTC-USD","condition":"FALLS","percent":2.5,"repeat":true,"hysteresis":0.000001,"expires":1700000000001,` +
		`"note":"a \"ä\"","window":"1h"`
	s.put(`{"user_id":"ann",` + all + `}`)
	if got := s.want(200, "GET", "/alerts/1", ""); !strings.Contains(got, `"user_id":"ann",`+all+`,"state"`) {
		t.Error(got)
	}
	s.put(`{"user_id":"ann","symbol":"A","condition":"ABOVE_AVERAGE","interval":"1h","bars":200,"target_price":null,"expires":0,"note":""}`)
	s.put(`{"user_id":"ann","symbol":"A","condition":"BELOW","target_price":"0.000000000001"}`)
	if got := s.want(200, "GET", "/alerts/3", ""); !strings.Contains(got, `"target_price":0.000000000001,`) {
		t.Error(got)
	}
	for _, c := range []struct{ body, want string }{
		{`{"note":"b"}`, strings.Replace(all, `a \"ä\"`, "b", 1)},
		{`{"expires":null,"note":null,"hysteresis":"1.50","user_id":null}`, `"percent":2.5,"repeat":true,"hysteresis":1.5,"window":"1h","state"`},
		{`{"repeat":false,"hysteresis":null,"window":"5m","percent":3}`, `"condition":"FALLS","percent":3,"window":"5m","state"`},
		{`{"condition":"ABOVE","percent":null,"window":null,"target_price":95123.45,"symbol":"BTC-USD","user_id":"ann"}`,
			`"condition":"ABOVE","target_price":95123.45,"state"`},
		{`{"condition":"BELOW_AVERAGE","target_price":null,"interval":"1d","bars":10}`,
			`"condition":"BELOW_AVERAGE","interval":"1d","bars":10,"state"`},
		{`{}`, `"arm":7,`},
	} {
		got := s.want(200, "PATCH", "/alerts/1", c.body, "Content-Type: application/merge-patch+json; charset=UTF-8")
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
	if len(s.changed) != 9 || s.changed[8].Arm != 7 || s.changed[8].ID != 1 {
		t.Errorf("told: %+v", s.changed)
	}
}

// What waits for a crossing knows from where.
func TestSides(t *testing.T) {
	s := newSite(t, nil)
	side := func(id int64) alert.Side { return s.store.alerts[id].Side }
	for body, want := range map[string]alert.Side{
		`"AAPL","condition":"CROSSES","target_price":150.26`: alert.UnderTarget,
		`"AAPL","condition":"CROSSES","target_price":150.24`: alert.OverTarget,
		`"AAPL","condition":"CROSSES","target_price":150.25`: alert.Unknown,
		`"MSFT","condition":"CROSSES","target_price":1`:      alert.Unknown,
		`"AAPL","condition":"ABOVE","target_price":160`:      alert.Unknown,
	} {
		if id := s.put(`{"user_id":1,"symbol":` + body + `}`); side(id) != want {
			t.Errorf("%s: %d, want %d", body, side(id), want)
		}
	}
	id := s.put(`{"user_id":1,"symbol":"AAPL","condition":"CROSSES","target_price":160}`)
	if s.want(200, "PATCH", at(id), `{"target_price":140}`); side(id) != alert.OverTarget {
		t.Errorf("after a change: %d", side(id))
	}
	s = newSite(t, func(c *alertapi.Config) { c.Price = nil })
	if side(s.put(`{"user_id":1,"symbol":"AAPL","condition":"CROSSES","target_price":160}`)) != alert.Unknown {
		t.Error("without prices")
	}
	s.want(404, "GET", "/price/AAPL", "")
}

// An arm that is right lets changes through, and one that has changed meanwhile does not.
func TestArms(t *testing.T) {
	s := newSite(t, nil)
	s.put(apple)
	for _, header := range []string{`If-Match: "1"`, `If-Match: "9", "2"`, "If-Match: *", "X: none"} {
		s.want(200, "PATCH", "/alerts/1", `{"note":"x"}`, header)
	}
	// Another change comes between reading and writing.
	s.store.fail = func(_ context.Context, method string) error {
		if method == "change" {
			return alert.ErrState
		}
		return nil
	}
	s.want(409, "PATCH", "/alerts/1", `{"note":"y"}`)
	s.want(412, "PATCH", "/alerts/1", `{"note":"y"}`, `If-Match: "5"`)
	s.store.fail = nil
	s.want(204, "DELETE", "/alerts/1", "", `If-Match: "5"`)
	s.want(404, "DELETE", "/alerts/1", "")
	if last := s.changed[len(s.changed)-1]; last.State != alert.Deleted || last.ID != 1 || last.User != "1" || len(s.changed) != 6 {
		t.Errorf("told: %+v", s.changed)
	}
}

func TestIdempotency(t *testing.T) {
	s := newSite(t, nil)
	const key = "Idempotency-Key: 6f9c"
	first := s.want(201, "POST", "/alerts", apple, key)
	again := s.ask("POST", "/alerts", `{"condition":"ABOVE","target_price":"150","symbol":"AAPL","user_id":"1"}`, key)
	if got := text(t, again); again.StatusCode != 200 || got != first || again.Header.Get("Location") != "/alerts/1" {
		t.Errorf("%d %s", again.StatusCode, got)
	}
	s.want(422, "POST", "/alerts", strings.Replace(apple, "150.00", "151", 1), key)
	s.want(201, "POST", "/alerts", strings.Replace(apple, ": 1", ": 2", 1), key)
	s.want(201, "POST", "/alerts", apple)
	if len(s.changed) != 3 || len(s.store.alerts) != 3 {
		t.Errorf("told %d of %d", len(s.changed), len(s.store.alerts))
	}
}

func TestQuota(t *testing.T) {
	s := newSite(t, func(c *alertapi.Config) { c.Quota = 2 })
	s.put(apple)
	second := s.put(apple)
	if got := s.want(409, "POST", "/alerts", apple); !strings.Contains(got, "2 alerts") {
		t.Error(got)
	}
	s.store.fire(second, num(t, "151"), now)
	third := s.put(apple)
	s.want(409, "PATCH", at(second), `{"note":"again"}`)
	s.want(200, "PATCH", at(third), `{"note":"it counts already"}`)
	s.want(204, "DELETE", at(third), "")
	if got := s.want(200, "PATCH", at(second), `{"note":"again"}`); !strings.Contains(got, `"active":true`) {
		t.Error(got)
	}
	s.put(strings.Replace(apple, ": 1", ": 2", 1))
}

// 10,000 alerts, page by page, while some are deleted; and firings.
func TestPaging(t *testing.T) {
	s := newSite(t, nil)
	for i := range int64(10_000) {
		spec := alert.Spec{Symbol: []string{"A", "B"}[i%2], Condition: alert.Above, Target: alert.Whole(i + 1)}
		s.store.last = i + 1
		s.store.alerts[i+1] = alert.Alert{ID: i + 1, User: strconv.FormatInt(i%4/2, 10), Spec: spec, State: alert.Active, Arm: 1}
	}
	for id := int64(1); id <= 40; id++ {
		s.store.fire(id, alert.Whole(id), now+id)
	}
	for query, want := range map[string]struct{ pages, alerts int }{
		"limit=1000": {10, 10_000}, "limit=999": {11, 10_000}, "symbol=A": {50, 5000},
		"user_id=0&limit=1000": {5, 5000}, "user_id=1&symbol=B&limit=1000": {3, 2500},
		"user_id=0&active_only=true&limit=1000": {5, 4980}, "user_id=2": {1, 0}, "active_only=false&symbol=C": {1, 0},
	} {
		var ids []int64
		next, pages := "", 0
		for more := true; more; pages++ {
			p := read[page](t, s.want(200, "GET", "/alerts?"+query+next, ""))
			for _, a := range p.Alerts {
				ids = append(ids, a.ID)
			}
			if more = p.Next != nil; more {
				next = "&after=" + *p.Next
			}
		}
		if pages != want.pages || len(ids) != want.alerts || !slices.IsSorted(ids) || len(slices.Compact(ids)) != want.alerts {
			t.Errorf("%s: %d alerts on %d pages, want %+v", query, len(ids), pages, want)
		}
	}
	type firings struct {
		Fired  []struct{ N, Alert, At int64 }
		Number int64
	}
	var got []int64
	for after := int64(0); ; {
		p := read[firings](t, s.want(200, "GET", fmt.Sprintf("/alerts/fired?user_id=0&limit=7&after=%d", after), ""))
		if p.Number != 20 {
			t.Fatalf("%+v", p)
		}
		if len(p.Fired) == 0 {
			break
		}
		for _, f := range p.Fired {
			got = append(got, f.N)
		}
		after = got[len(got)-1]
	}
	if len(got) != 20 || got[0] != 1 || got[19] != 20 || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
	if p := read[firings](t, s.want(200, "GET", "/alerts/fired?user_id=9", "")); p.Number != 0 || len(p.Fired) != 0 {
		t.Errorf("%+v", p)
	}
}

func TestConfig(t *testing.T) {
	for name, spoil := range map[string]func(*alertapi.Config){
		"no store": func(c *alertapi.Config) { c.Store = nil }, "no origins": func(c *alertapi.Config) { c.Origins = nil },
		"no log":         func(c *alertapi.Config) { c.Log = nil },
		"nobody may ask": func(c *alertapi.Config) { c.Open = false },
		"a rate":         func(c *alertapi.Config) { c.Rate = guard.Rate{Burst: 1} }, "a quota": func(c *alertapi.Config) { c.Quota = -1 },
		"open with keys": func(c *alertapi.Config) { c.Keys = func([]byte) bool { return true } },
	} {
		newSite(t, func(c *alertapi.Config) {
			whole := *c
			if spoil(&whole); whole.Rate == (guard.Rate{}) {
				t.Error("the case spoils nothing")
			}
			if _, err := alertapi.New(whole); err == nil || !strings.Contains(err.Error(), "alertapi: ") {
				t.Errorf("%s is taken: %v", name, err)
			}
		})
	}
}
