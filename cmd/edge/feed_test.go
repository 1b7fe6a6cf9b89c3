package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/feed/redistest"
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
