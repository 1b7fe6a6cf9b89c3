// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

// Redis goes away and comes back: clients are told, those that come meanwhile as well,
// and /readyz says it in the way that was asked for.
func TestFeedGoesDown(t *testing.T) {
	t.Parallel()
	begin := time.Now().Truncate(time.Millisecond)
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL())
	strict := start(t, "-redis", redis.URL(), "-ready-needs-feed")
	ready := func(e *edge, code int, text string) {
		t.Helper()
		redistest.Eventually(t, text, func() bool {
			got, body := e.get("/readyz")
			return got == code && strings.HasPrefix(body, text)
		})
	}
	ready(e, http.StatusOK, "ready\n")
	ready(strict, http.StatusOK, "ready\n")
	c := e.dial("?topics=AAPL")
	c.next("hello")

	redis.Kill()
	m := c.await("feed")
	if since := time.UnixMilli(m.Since); m.State != "down" || since.Before(begin) || since.After(time.Now()) {
		t.Errorf("%+v, at %v", m, time.Now())
	}
	late := e.dial("")
	late.next("hello")
	if again := late.next("feed"); again.State != "down" || again.Since != m.Since || again.Topics != nil {
		t.Errorf("who comes late gets %+v", again)
	}
	ready(e, http.StatusOK, "ready, but the feed is down since "+time.UnixMilli(m.Since).UTC().Format(time.RFC3339))
	ready(strict, http.StatusServiceUnavailable, "the feed is down since ")

	redis.Start()
	for _, c := range []*client{c, late} {
		if up := c.await("feed"); up.State != "up" || up.Since <= m.Since {
			t.Errorf("%+v after %+v", up, m)
		}
	}
	ready(e, http.StatusOK, "ready\n")
	ready(strict, http.StatusOK, "ready\n")
}

// await reads up to a message of a type, whatever comes before it. Heartbeats alone must not
// keep it waiting.
func (c *client) await(want string) message {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		switch m, err := c.read(); {
		case err != nil:
			c.t.Fatalf("want %s, got %v", want, err)
		case m.T == want:
			return m
		case time.Now().After(deadline):
			c.t.Fatalf("no %s in %v", want, patience)
		}
	}
}

// A topic falls silent, is stale, and recovers.
func TestTopicGoesStale(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL(), "-stale-after", "1s", "-interval", "100ms")
	redis.cli("SET", "price:AAPL", "1")
	names := func(m message) (list []string) {
		t.Helper()
		if err := json.Unmarshal(m.Topics, &list); err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
	c := e.dial("?topics=AAPL,NEVER")
	stale := make(map[string]bool)
	for len(stale) < 2 {
		for _, name := range names(c.await("stale")) {
			stale[name] = true
		}
	}
	if got := e.metric("edge_topics_stale"); got != "2" || e.metric("edge_stale_total") != "2" {
		t.Errorf("%s topics are stale, %s were", got, e.metric("edge_stale_total"))
	}
	late := e.dial("?topics=AAPL")
	for _, want := range []string{"hello", "ack", "snapshot", "stale"} {
		if m := late.next(want); want == "stale" && !slices.Equal(names(m), []string{"AAPL"}) {
			t.Errorf("%+v", m)
		}
	}
	redis.cli("PUBLISH", "channel:prices:AAPL", "2")
	for _, c := range []*client{c, late} {
		if m := c.next("update"); len(m.D) != 1 || string(m.D[0].V) != "2" {
			t.Errorf("%+v", m)
		}
	}
	redistest.Eventually(t, "AAPL is stale again", func() bool { return e.metric("edge_stale_total") == "3" })
	if list := names(c.next("stale")); !slices.Equal(list, []string{"AAPL"}) {
		t.Errorf("stale again: %v", list)
	}
}

// A topic that Redis refuses is stale at once, with a reason, for who has it and for who comes
// later. The feed is up, and others are served. When it is permitted it is served too, and no
// client has done anything.
func TestRefusedTopicIsStale(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.cli("ACL", "SETUSER", "edge", "on", ">pw", "+@all", "resetchannels", "&channel:prices:GOOD*", "&channel:prices:HIDDEN", "resetkeys", "~price:GOOD*", "~price:BARRED")
	redis.cli("SET", "price:GOOD", "1")
	e := start(t, "-redis", "redis://edge:pw@"+redis.Addr(), "-ready-needs-feed", "-interval", "100ms")
	refusedIn := func(m message) (names []string) {
		t.Helper()
		if err := json.Unmarshal(m.Topics, &names); err != nil {
			t.Fatal(err)
		}
		if m.Code != 403 || !strings.Contains(m.Reason, "does not permit") || strings.Contains(m.Reason, "price:") {
			t.Errorf("code %d, reason %q", m.Code, m.Reason)
		}
		return names
	}
	stale := func(c *client, want ...string) {
		t.Helper()
		for len(want) > 0 {
			for _, name := range refusedIn(c.await("stale")) {
				at := slices.Index(want, name)
				if at < 0 {
					t.Fatalf("%s is stale, want %q", name, want)
				}
				want = slices.Delete(want, at, at+1)
			}
		}
	}
	current := func() {
		t.Helper()
		redistest.Eventually(t, "the feed is up and current", func() bool {
			code, body := e.get("/readyz")
			return code == http.StatusOK && body == "ready\n" && e.metric(`edge_feed_current{source="*"}`) == "1"
		})
		if n := e.metric(`edge_feed_behind{source="*"}`); n != "0" {
			t.Errorf("%s topics are behind", n)
		}
	}
	current()
	// The channel of one is refused, and the key of the other.
	c := e.dial("?topics=BARRED,HIDDEN,GOOD")
	stale(c, "BARRED", "HIDDEN")
	late := e.dial("?topics=GOOD,BARRED,HIDDEN")
	stale(late, "BARRED", "HIDDEN")
	current()

	// Its values come after all: it is fresh.
	redis.cli("PUBLISH", "channel:prices:HIDDEN", "7")
	if m := c.await("update"); len(m.D) != 1 || m.D[0].S != "HIDDEN" {
		t.Errorf("%+v", m)
	}

	// None of that keeps the feed down after an outage.
	redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
	// That it is refused may be told before the feed is up, or after.
	for up, again := false, []string(nil); !up || again == nil; {
		switch m, err := c.read(); {
		case err != nil:
			t.Fatal(err)
		case m.T == "feed" && m.State == "up":
			up = true
		case m.T == "stale":
			again = refusedIn(m)
			if !slices.Equal(again, []string{"HIDDEN"}) {
				t.Fatalf("%q are stale, want HIDDEN", again)
			}
		}
	}
	current()
	redis.cli("SET", "price:GOOD", "2")
	redis.cli("PUBLISH", "channel:prices:GOOD", "2")
	for m := c.await("update"); len(m.D) != 1 || m.D[0].S != "GOOD"; m = c.await("update") {
	}

	refused := func(n string) {
		t.Helper()
		redistest.Eventually(t, n+" are refused", func() bool { return e.metric(`edge_feed_refused{cause="not_permitted"}`) == n })
	}
	refused("2")
	redis.cli("SET", "price:BARRED", "5")
	redis.cli("SET", "price:HIDDEN", "7") // As it was.
	redis.cli("ACL", "SETUSER", "edge", "allchannels", "allkeys")
	for _, c := range []*client{c, late} {
		missing := map[string]string{"BARRED": "5", "HIDDEN": "7"}
		for len(missing) > 0 {
			m, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range m.D {
				if missing[row.S] == string(row.V) {
					delete(missing, row.S)
				}
			}
		}
	}
	refused("0")
	said := e.stderr.String()
	if n := strings.Count(said, "topics are refused"); n != 1 || !strings.Contains(said, `"cause":"not_permitted"`) || !strings.Contains(said, "&channel:prices:* +subscribe") {
		t.Errorf("%d lines say what to do", n)
	}
}

// Names that clients ask for while Redis is away do not keep the edge from being ready when
// it is back, even if Redis refuses them.
func TestNewNamesDoNotChangeReadiness(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	permit := func() {
		redis.cli("ACL", "SETUSER", "edge", "on", ">pw", "+@all", "~*", "resetchannels", "&channel:prices:GOOD*")
	}
	permit()
	e := start(t, "-redis", "redis://edge:pw@"+redis.Addr(), "-ready-needs-feed")
	ready := func(code int) {
		t.Helper()
		redistest.Eventually(t, http.StatusText(code), func() bool { got, _ := e.get("/readyz"); return got == code })
	}
	ready(http.StatusOK)
	c := e.dial("?topics=GOOD")
	c.next("hello")
	redis.Kill()
	ready(http.StatusServiceUnavailable)
	bad := e.dial("?topics=BAD1,BAD2,BAD3")
	bad.next("hello")
	bad.await("ack")
	redis.Start()
	permit()
	ready(http.StatusOK)
	redis.cli("PUBLISH", "channel:prices:GOOD", "1")
	for m := c.await("update"); len(m.D) != 1 || m.D[0].S != "GOOD"; m = c.await("update") {
	}
	bad.await("stale")
	ready(http.StatusOK)
}

// An edge that was stopped itself, for longer than the timeout, finds its links as they were:
// it does not take them for dead because its own clock went on.
func TestStoppedEdgeKeepsItsLinks(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"channel", "pattern", "stream"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			const timeout = 3 * time.Second
			redis := startRedis(t)
			args := []string{"-redis", redis.URL(), "-redis-mode", mode, "-feed-timeout", timeout.String()}
			if mode == "stream" {
				args = append(args, "-redis-stream", "ticks")
			}
			e := start(t, args...)
			redistest.Eventually(t, "current", func() bool { return e.metric(`edge_feed_current{source="*"}`) == "1" })
			c := e.dial("?topics=AAPL")
			c.next("hello")
			c.await("ack")
			if err := e.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(timeout + timeout/2) // It is the time that it is stopped for.
			if err := e.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if mode == "stream" {
				redis.cli("XADD", "ticks", "*", "topic", "AAPL", "value", "1")
			} else {
				redis.cli("PUBLISH", "channel:prices:AAPL", "1")
			}
			c.await("update")
			if e.metric(`edge_feed_current{source="*"}`) != "1" {
				t.Error("not current")
			}
			if text := e.stderr.String(); strings.Contains(text, `"msg":"feed down"`) {
				t.Error("a link was given up")
			}
		})
	}
}
