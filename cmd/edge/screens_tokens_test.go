// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

// A screen lies wholly within what its client's token allows. One that a newer token does not cover ends, and is named; others go on.
func TestScreensOfTokens(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	redis.cli("SET", "price:a:x", `{"p":1}`)
	redis.cli("SET", "price:b:x", `{"p":1}`)
	e := start(t, "-redis", redis.URL(), "-jwt-secret-file", secret, "-command-rate", "0")
	redistest.Eventually(t, "the feed", func() bool { return e.metric(`edge_feed_connected{source="*"}`) == "1" })
	token := func(topics string) string {
		return signed("HS256", fmt.Sprintf(`{"sub":"alice","exp":%d,"topics":%s}`, time.Now().Add(time.Hour).Unix(), topics), withSecret)
	}
	c, _, err := e.try(arrival{"", "", token(`["a:*","b:*"]`), "?interval=100"})
	if err != nil {
		t.Fatal(err)
	}
	s := &screening{c, make(map[string]map[string]string), make(map[string][]string)}
	answered := func(command string) message {
		t.Helper()
		s.send(command)
		for {
			m, err := s.read()
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			if m.T == "ack" || m.T == "error" || m.T == "topics" {
				return m
			}
		}
	}
	for _, topics := range []string{`"*"`, `"c:*"`, `["a:*","*"]`, `["b:*","c"]`} {
		if m := answered(`{"op":"screen","screen":"no","topics":` + topics + `}`); m.T != "error" || m.Code != 403 || !strings.Contains(m.Reason, "does not allow all topics") {
			t.Errorf("%s: %+v", topics, m)
		}
	}
	for _, name := range []string{"a", "b"} {
		s.send(fmt.Sprintf(`{"op":"screen","screen":%q,"topics":"%s:*","where":"p > 0"}`, name, name))
		s.until("the screen "+name, s.has(name, name+":x"))
	}
	if m := answered(`{"op":"auth","token":"` + token(`["b:*"]`) + `"}`); m.T != "ack" || len(m.Rejected) != 1 || m.Rejected[0].Topic != "a" || m.Rejected[0].Code != 403 {
		t.Errorf("a narrower token: %+v", m)
	}
	if m := answered(`{"op":"list"}`); !strings.Contains(string(m.Screens), `"screen":"b"`) || strings.Contains(string(m.Screens), `"screen":"a"`) {
		t.Errorf("list: %s", m.Screens)
	}
	redis.cli("PUBLISH", "channel:prices:a:x", `{"p":2}`)
	redis.cli("PUBLISH", "channel:prices:b:x", `{"p":2}`)
	for s.rows["b"]["b:x"] != `{"p":2}` {
		m, err := s.read()
		if err != nil {
			t.Fatal(err)
		}
		if m.Screen == "a" {
			t.Fatalf("a screen that has ended has %+v", m)
		}
		for _, row := range m.D {
			s.rows["b"][row.S] = string(row.V)
		}
	}
	redistest.Eventually(t, "the end of one", func() bool { return e.metric("edge_screen_subscriptions") == "1" })
}
