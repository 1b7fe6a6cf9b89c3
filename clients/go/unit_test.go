// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"A", "A", true}, {"A", "AB", false}, {"*", "", true}, {"*", "x", true}, {"fx:*", "fx:EURUSD", true},
		{"fx:*", "f", false}, {"*USD", "EURUSD", true}, {"*USD", "USDX", false}, {"a*b*c", "aXbYc", true},
		{"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"*b*", "abc", true}, {"", "", true},
	} {
		if got := glob(c.pattern, c.name); got != c.want {
			t.Errorf("%q and %q: %v", c.pattern, c.name, got)
		}
	}
}

// Whether and when to come back follows from the class of the code.
func TestJudge(t *testing.T) {
	o := Options{}.withDefaults()
	whole := func(d time.Duration) time.Duration { return d }
	closed := func(code int) error { return websocket.CloseError{Code: websocket.StatusCode(code), Reason: "why"} }
	for what, c := range map[string]struct {
		ending
		pause time.Duration
		never bool
		park  bool
	}{
		"lost":                    {ending{err: errors.New("reset"), after: -1}, time.Second, false, false},
		"lost, the fourth time":   {ending{err: errors.New("reset"), after: -1, tries: 3}, 8 * time.Second, false, false},
		"lost, again and again":   {ending{err: errors.New("reset"), after: -1, tries: 1000}, 30 * time.Second, false, false},
		"drained":                 {ending{err: closed(1012), after: 420 * time.Millisecond}, 420 * time.Millisecond, false, false},
		"drained for ever":        {ending{err: closed(1012), after: time.Hour}, 10 * time.Minute, false, false},
		"drained again and again": {ending{err: closed(1012), after: 0, tries: 5}, 8 * time.Second, false, false},
		"going away":              {ending{err: closed(1001), after: -1}, time.Second, false, false},
		"an error of the edge":    {ending{err: closed(1011), after: -1}, time.Second, false, false},
		"slow":                    {ending{err: closed(4001), after: -1}, 2500 * time.Millisecond, false, false},
		"no pong":                 {ending{err: closed(4002), after: -1}, time.Second, false, false},
		"idle":                    {ending{err: closed(4003), after: -1}, time.Second, false, true},
		"too old":                 {ending{err: closed(4004), after: -1, lived: time.Hour}, 0, false, false},
		"too old at once":         {ending{err: closed(4004), after: -1, lived: 1}, time.Second, false, false},
		"a code to come":          {ending{err: closed(4499), after: -1}, time.Second, false, false},
		"never, to come":          {ending{err: closed(4999), after: -1}, time.Second, true, false},
		"no token":                {ending{err: closed(4501), after: -1}, time.Second, true, false},
		"another token":           {ending{err: closed(4501), after: -1, token: true}, time.Second, false, false},
		"malformed":               {ending{err: closed(4502), after: -1}, time.Second, true, false},
		"RFC 6455":                {ending{err: closed(1002), after: -1}, time.Second, true, false},
		"policy":                  {ending{err: closed(1008), after: -1}, time.Second, true, false},
		"too big":                 {ending{err: closed(1009), after: -1}, time.Second, true, false},
		"400":                     {ending{err: errors.New("x"), status: 400, after: -1}, time.Second, true, false},
		"404 after a connection":  {ending{err: errors.New("x"), status: 404, after: -1, again: true}, time.Second, false, false},
		"401":                     {ending{err: errors.New("x"), status: 401, after: -1, again: true}, time.Second, true, false},
		"429":                     {ending{err: errors.New("x"), status: 429, after: 7 * time.Second}, 7 * time.Second, false, false},
		"502":                     {ending{err: errors.New("x"), status: 502, after: -1}, time.Second, false, false},
	} {
		v := c.judge(o, whole)
		if v.pause != c.pause || (v.never != nil) != c.never || v.park != c.park {
			t.Errorf("%s: %+v", what, v)
		}
	}
}

// The client never asks for more than an edge grants by default: 20 commands a second and 40 at once, by what they count as.
func TestPace(t *testing.T) {
	c := New("ws://h", Options{})
	c.done = make(chan struct{}) // As if it ran.
	close(c.done)
	var names []string
	for i := range 4000 {
		names = append(names, fmt.Sprintf("%s%04d", strings.Repeat("x", 60), i))
	}
	if _, err := c.Subscribe(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	s := &session{c: c, pending: make(map[uint64]command), credit: chargeBurst, credited: now}
	m, err := parse([]byte(`{"t":"hello","v":1,"heartbeat":1000,"max_topics":4096}`))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.hello(m); err != nil {
		t.Fatal(err)
	}
	credit, last, sent := 40.0, now, 0
	for sent < len(names) {
		payload, wake, err := s.plan(now)
		if err != nil || payload == nil && !wake.After(now) {
			t.Fatalf("%v, at %v, %v", err, now, wake)
		}
		if payload == nil {
			now = wake
			continue
		}
		cmd := s.pending[s.lastID]
		credit = min(40, credit+20*now.Sub(last).Seconds()) - 1 - float64(len(cmd.Topics)/32) - float64(len(payload)/2048)
		if last = now; credit < 0 {
			t.Fatalf("after %d topics and %v it is too fast", sent, now.Sub(time.Unix(1000, 0)))
		}
		clear(s.pending)
		sent += len(cmd.Topics)
	}
}

func TestJitter(t *testing.T) {
	for range 1000 {
		if d := jitter(time.Second); d < 0 || d > time.Second {
			t.Fatalf("%v of a second", d)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for field, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": -1, "x": -1, "-1": -1, "99999999999": -1,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(field, now); got != want {
			t.Errorf("%q: %v, want %v", field, got, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	with := func(claims string) string { return "x." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x" }
	for jwt, want := range map[string]int64{
		with(`{"exp":1732181723}`): 1732181723, with(`{"exp":1732181723.9}`): 1732181723,
		with(`{}`): 0, with(`{"exp":"x"}`): 0, with(`{"exp":1e99}`): 0, with(`{"exp":-5}`): 0, "": 0, "a.b": 0, "a.!.c": 0, with(`[`): 0,
	} {
		got := expiry(jwt)
		if want == 0 && !got.IsZero() || want != 0 && got.Unix() != want {
			t.Errorf("%q: %v, want %d", jwt, got, want)
		}
	}
	now := time.Unix(1000, 0)
	for life, want := range map[time.Duration]time.Duration{
		time.Hour: 59 * time.Minute, time.Minute: 40 * time.Second, 0: time.Second, -time.Hour: time.Second,
	} {
		if got := renewal(now, now.Add(life)).Sub(now); got != want {
			t.Errorf("a token of %v is renewed after %v, want %v", life, got, want)
		}
	}
	if !renewal(now, time.Time{}).IsZero() {
		t.Error("a token that never ends is renewed")
	}
}

// Whatever an edge says, the client keeps to its limits and does not fall over.
func FuzzHandle(f *testing.F) {
	for _, m := range []string{
		`{"t":"hello","v":1,"heartbeat":9223372036854775807,"max_topics":-1}`,
		`{"t":"ack","id":1,"op":"subscribe","topics":2,"rejected":[{"index":-5,"code":429},{"topic":"A","code":413}]}`,
		`{"t":"snapshot","ts":1,"d":[{"s":"A","n":18446744073709551615,"v":{}}]}`,
		`{"t":"update","d":[{"s":"A"},{"s":"A","n":0,"v":null}]}`, `{"t":"feed","state":"down","topics":"*,A*"}`,
		`{"t":"stale","topics":["A",5]}`, `{"t":"unsubscribed","topics":["A"]}`, `{"t":"bye","retry_ms":-9223372036854775808}`,
		`{"t":"resume","token":"x"}`, `{"t":"error","id":1,"code":429}`, `{"t":"x","topics":{}}`, `[]`, `null`, `{"t":5}`,
	} {
		f.Add(m, m)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		c := New("ws://h", Options{})
		c.done = make(chan struct{}) // As if it ran.
		close(c.done)
		sub, err := c.Subscribe(t.Context(), "A", "B")
		if err != nil {
			t.Fatal(err)
		}
		s := &session{c: c, pending: make(map[uint64]command), credit: chargeBurst}
		c.mu.Lock()
		now := time.Now()
		for _, payload := range []string{`{"t":"hello","v":1,"heartbeat":1000,"max_topics":5}`, one, two, one} {
			m, err := parse([]byte(payload))
			if err != nil {
				continue
			}
			if m.T == "hello" {
				_ = s.hello(m) // A version that is not 1 is an error, which is right.
			} else if err := s.handle(m); err != nil {
				t.Errorf("%s: %v", payload, err)
			}
			for range 3 {
				if command, _, _ := s.plan(now); len(command) > 20<<10 {
					t.Errorf("a command of %d bytes", len(command))
				}
			}
		}
		_ = s.c.state(&topic{})
		c.mu.Unlock()
		if len(sub.queue) > 2 || len(s.pending) > maxPending || len(c.resume) > maxResume || strings.Contains(c.url, "\n") {
			t.Error("something has grown beyond its limit")
		}
		_ = c.Close()
	})
}
