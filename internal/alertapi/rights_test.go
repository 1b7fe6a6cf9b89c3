// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"strings"
	"testing"

	"tickedge/internal/alertapi"
	"tickedge/internal/guard"
)

const (
	ofAnn = `{"user_id":"ann","symbol":"AAPL","condition":"ABOVE","target_price":150}`
	ofMe  = `{"symbol":"AAPL","condition":"ABOVE","target_price":150}`
)

// With a token, users have their own alerts and nobody else's.
func TestRights(t *testing.T) {
	s := guarded(t, nil)
	ann, bob, key := bearer(token("ann", "")), bearer(token("bob", "")), bearer(trustedKey)
	s.put(ofAnn, ann)
	s.put(ofMe, ann)
	s.put(ofMe, bob)
	s.store.fire(1, num(t, "151"), now)
	for _, c := range []struct {
		status                    int
		who, method, target, body string
		want                      string
	}{
		{200, ann, "GET", "/alerts/1", "", `"user_id":"ann"`},
		{404, bob, "GET", "/alerts/1", "", "no such alert"},
		{403, bob, "GET", "/alerts/1?user_id=ann", "", "sub of your token"},
		{404, bob, "PATCH", "/alerts/1", `{"note":"mine"}`, "no such alert"},
		{403, bob, "PATCH", "/alerts/1", `{"note":"mine","user_id":"ann"}`, "sub of your token"},
		{403, bob, "PATCH", "/alerts/1?user_id=ann", `{"note":"mine"}`, "sub of your token"},
		{404, bob, "DELETE", "/alerts/1", "", "no such alert"},
		{403, bob, "DELETE", "/alerts/1?user_id=ann", "", "sub of your token"},
		{403, bob, "POST", "/alerts", ofAnn, "sub of your token"},
		{403, bob, "GET", "/alerts?user_id=ann", "", "sub of your token"},
		{403, bob, "GET", "/alerts/fired?user_id=ann", "", "sub of your token"},
		{200, bob, "GET", "/alerts/fired", "", `{"fired":[],"number":0}`},
		{200, ann, "GET", "/alerts/fired", "", `"number":1`},
		{200, bob, "GET", "/alerts", "", `{"alerts":[{"id":3,`},
		{200, bob, "GET", "/alerts?user_id=bob&active_only=true", "", `{"alerts":[{"id":3,`},
		{200, key, "GET", "/alerts", "", `{"alerts":[{"id":1,`},
		{200, key, "GET", "/alerts/3", "", `"user_id":"bob"`},
		{404, key, "GET", "/alerts/3?user_id=ann", "", "no such alert"},
		{200, key, "GET", "/alerts/fired?user_id=ann", "", `"number":1`},
		{422, key, "GET", "/alerts/fired", "", "user_id: it is missing"},
		{201, key, "POST", "/alerts", ofAnn, `"user_id":"ann"`},
		{200, key, "PATCH", "/alerts/3", `{"note":"by an operator"}`, "by an operator"},
		{204, key, "DELETE", "/alerts/3", "", ""},
		{200, bob, "GET", "/alerts", "", `{"alerts":[],"next":null}`},
	} {
		if got := s.want(c.status, c.method, c.target, c.body, c.who); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %s, want %s", c.method, c.target, got, c.want)
		}
	}
	if a := s.store.alerts[1]; a.Arm != 1 || a.Note != "" || a.User != "ann" {
		t.Errorf("%+v", a)
	}
}

// A token that lists topics lets its user watch those.
func TestTopics(t *testing.T) {
	s := guarded(t, nil)
	s.put(ofMe, bearer(token("ann", "")))
	for topics, allowed := range map[string]bool{`["AAPL"]`: true, `["AA*"]`: true, `["MSFT"]`: false, `[]`: false} {
		who, created, done := bearer(token("ann", topics)), 201, 200
		if !allowed {
			created, done = 403, 403
		}
		s.want(created, "POST", "/alerts", ofMe, who)
		s.want(done, "PATCH", "/alerts/1", `{"note":"x"}`, who)
		s.want(done, "GET", "/price/AAPL", "", who)
		s.want(200, "GET", "/alerts/1", "", who)
	}
	for _, name := range []string{"alerts:bob", "tickedge:x"} {
		body := strings.Replace(ofMe, "AAPL", name, 1)
		s.want(403, "POST", "/alerts", body, bearer(token("ann", "")))
		s.want(403, "GET", "/price/"+name, "", bearer(token("ann", "")))
	}
}

// Who comes without a token or key, or with a wrong one.
func TestStrangers(t *testing.T) {
	s := guarded(t, nil)
	for _, c := range []struct {
		status       int
		header       []string
		authenticate string
	}{
		{401, nil, "Bearer"},
		{401, []string{"Authorization: Basic eDp5"}, "Bearer"},
		{401, []string{"Authorization: Bearer "}, "Bearer"},
		{401, []string{bearer("x")}, "invalid_token"},
		{401, []string{bearer(token("ann", "") + "x")}, "invalid_token"},
		{401, []string{bearer(trustedKey + "x")}, "invalid_token"},
		{400, []string{bearer(trustedKey), bearer(trustedKey)}, ""},
	} {
		for _, target := range []string{"/alerts", "/alerts/1", "/alerts/fired", "/price/AAPL"} {
			res := s.ask("GET", target, "", c.header...)
			says := res.Header.Get("WWW-Authenticate")
			if res.StatusCode != c.status || !strings.Contains(says, c.authenticate) || (c.authenticate == "") != (says == "") {
				t.Errorf("%s %q: %d %v", target, c.header, res.StatusCode, res.Header)
			}
		}
		s.want(c.status, "POST", "/alerts", ofMe, c.header...)
		s.want(c.status, "PATCH", "/alerts/1", `{}`, c.header...)
		s.want(c.status, "DELETE", "/alerts/1", "", c.header...)
	}
	s.want(200, "GET", "/health", "")
	if strings.Contains(s.log.String(), trustedKey) {
		t.Error("a key is in the log")
	}
	// Keys alone: those that guess are held up, and who has a key is not.
	s = guarded(t, func(c *alertapi.Config) { c.Verifier = nil; c.Trusted, _ = guard.ParseTrusted("192.0.2.1") })
	wrong := func(from string) int {
		return s.ask("GET", "/alerts", "", bearer("x"), "X-Forwarded-For: "+from).StatusCode
	}
	codes := map[int]int{}
	for range 1000 {
		if codes[wrong("10.0.0.1")]++; codes[429] > 0 {
			break
		}
	}
	if codes[401] < 8 || codes[429] == 0 {
		t.Errorf("%v", codes)
	}
	s.want(200, "GET", "/alerts", "", bearer(trustedKey), "X-Forwarded-For: 10.0.0.1")
	if got := wrong("10.0.0.2"); got != 401 {
		t.Errorf("another client of the proxy: %d", got)
	}
	// Tokens alone: a key is none.
	s = guarded(t, func(c *alertapi.Config) { c.Keys = nil })
	s.want(401, "GET", "/alerts", "", bearer(trustedKey))
	s.want(200, "GET", "/alerts", "", bearer(token("ann", "")))
}
