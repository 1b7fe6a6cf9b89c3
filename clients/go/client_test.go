// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const row1 = `{"s":"A","n":7,"v":{"p": 12345678901234567890.1234567890123456789,"big":1e400}}`

// A value is what the edge has sent, byte for byte, and n says how many ticks lie between two.
func TestValues(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	sub := subscribe(t, c, "A", "B", "A")
	p := s.accept()
	cmd := p.hear()
	if !slices.Equal(cmd.Topics, []string{"A", "B"}) || cmd.Since != "" {
		t.Errorf("the command is %+v", cmd)
	}
	p.ack(cmd, "")
	p.rows("snapshot", row1)
	u := next(t, sub, "a value", live)
	if want := `{"p": 12345678901234567890.1234567890123456789,"big":1e400}`; string(u.Value) != want || !u.New || u.N != 7 || u.Conflated != 0 {
		t.Errorf("it is %+v, want %s", u, want)
	}
	if u.At.UnixMilli() != 1732181723500 {
		t.Errorf("it was sent at %v", u.At)
	}
	p.rows("update", `{"s":"A","n":10,"v":2}`)
	if u := next(t, sub, "an update", live); u.Conflated != 2 || string(u.Value) != "2" {
		t.Errorf("%+v, want 2 conflated", u)
	}
	// The same row twice is one, and what nobody asked for is none.
	p.rows("update", `{"s":"A","n":10,"v":2}`, `{"s":"NOBODY","n":1,"v":1}`)
	p.rows("update", `{"s":"A","n":11,"v":3}`, `{"s":"A","n":12,"v":4}`, `{"s":"A","n":15,"v":5}`, `{"s":"B","n":1,"v":1}`)
	if u := next(t, sub, "an update", func(u Update) bool { return u.Topic == "B" }); string(u.Value) != "1" {
		t.Errorf("%+v", u)
	}
	p.rows("update", `{"s":"A","n":20,"v":6}`)
	p.rows("update", `{"s":"B","n":2,"v":2}`)
	// B is behind A in the queue, so A was taken before, in one or in several updates.
	p.rows("update", `{"s":"A","n":21,"v":7}`)
	if u := next(t, sub, "the newest", func(u Update) bool { return string(u.Value) == "7" }); u.N != 21 {
		t.Errorf("%+v", u)
	}
}

// Between two values that a subscription takes there are as many ticks as it is told, however slowly it takes them.
func TestConflation(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	slow, fast := subscribe(t, c, "A"), subscribe(t, c, "A")
	p := s.accept()
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"A","n":5,"v":5}`)
	next(t, slow, "the first", live)
	next(t, fast, "the first", live)
	for n := 7; n < 2000; n += 2 {
		p.rows("update", fmt.Sprintf(`{"s":"A","n":%d,"v":%d}`, n, n))
		if u := next(t, fast, "each", live); u.N != uint64(n) || u.Conflated != 1 {
			t.Fatalf("%+v, want n %d and 1 conflated", u, n)
		}
	}
	if n := len(slow.queue); n != 1 {
		t.Errorf("the slow one has a queue of %d", n)
	}
	if u := next(t, slow, "the newest", live); u.N != 1999 || u.Conflated != 1999-5-1 {
		t.Errorf("%+v, want n 1999 and 1993 conflated", u)
	}
}

// A topic that is delisted has a state of its own, and no value until the next one.
func TestDelisted(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	sub := subscribe(t, c, "A", "B")
	p := s.accept()
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"A","n":1,"v":1}`, `{"s":"B","n":0,"v":null}`)
	delisted := func(topic string) func(Update) bool {
		return func(u Update) bool { return u.Topic == topic && u.State == Delisted }
	}
	if u := next(t, sub, "that B is delisted", delisted("B")); u.Value != nil || u.New {
		t.Errorf("%+v", u)
	}
	p.rows("update", `{"s":"A","n":5,"v":2}`, `{"s":"A","n":9,"v":null}`)
	if u := next(t, sub, "that A is delisted", delisted("A")); u.Value != nil || u.New || u.N != 9 || u.Conflated != 0 || u.Err() != nil {
		t.Errorf("%+v", u)
	}
	late := subscribe(t, c, "A")
	if u := next(t, late, "that A is delisted", delisted("A")); u.Value != nil || u.New {
		t.Errorf("who comes later has %+v", u)
	}
	p.rows("update", `{"s":"A","n":10,"v":3}`)
	for _, sub := range []*Subscription{sub, late} {
		if u := next(t, sub, "a value", live); string(u.Value) != "3" || !u.New || u.Conflated != 0 {
			t.Errorf("%+v", u)
		}
	}
}

// Subscriptions of a topic share it on the wire. It is given up with the last of them.
func TestSharing(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	one := subscribe(t, c, "A", "B")
	p := s.accept()
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"A","n":5,"v":5}`)
	next(t, one, "a value", live)
	two, err := c.Subscribe(ctx, "A")
	if err != nil {
		t.Fatal(err)
	}
	if u := next(t, two, "what is there", live); !u.New || string(u.Value) != "5" {
		t.Errorf("%+v", u)
	}
	one.Close()
	if cmd := p.hear(); cmd.Op != "unsubscribe" || !slices.Equal(cmd.Topics, []string{"B"}) {
		t.Errorf("%+v, want B unsubscribed", cmd)
	} else {
		p.ack(cmd, "")
	}
	cancel()
	cmd := p.hear()
	if cmd.Op != "unsubscribe" || !slices.Equal(cmd.Topics, []string{"A"}) {
		t.Errorf("%+v, want A unsubscribed", cmd)
	}
	if _, err := two.Next(within(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
	if _, err := one.Next(within(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	// Refused as too fast, and wanted again meanwhile: given up first, so that a snapshot comes.
	p.say(`{"t":"error","id":%d,"code":429,"reason":"too fast"}`, cmd.ID)
	three := subscribe(t, c, "A")
	for cmd = p.hear(); cmd.Op != "unsubscribe"; cmd = p.hear() {
		p.ack(cmd, "")
	}
	p.ack(cmd, "")
	if cmd = p.hear(); cmd.Op != "subscribe" {
		t.Errorf("%+v, want A subscribed", cmd)
	}
	p.ack(cmd, "")
	p.rows("snapshot", `{"s":"A","n":6,"v":6}`)
	next(t, three, "a value", live)
}

// A topic that is wanted again before the edge has refused to let go of it is given up once more, so that a snapshot comes.
func TestUnsubscribeIsRefused(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	one, two := subscribe(t, c, "A"), subscribe(t, c, "B")
	p := s.accept()
	for range 2 {
		cmd := p.hear()
		p.ack(cmd, "")
		if len(cmd.Topics) == 2 {
			break
		}
	}
	p.rows("snapshot", `{"s":"B","n":6,"v":6}`)
	next(t, two, "a value", live)
	one.Close()
	first := p.hear()
	subscribe(t, c, "A")
	second := p.hear()
	p.say(`{"t":"error","id":%d,"code":429,"reason":"too fast"}`, first.ID)
	p.ack(second, "")
	third, fourth := p.hear(), p.hear()
	if ops := []string{first.Op, second.Op, third.Op, fourth.Op}; !slices.Equal(ops, []string{"unsubscribe", "subscribe", "unsubscribe", "subscribe"}) {
		t.Errorf("the commands are %q", ops)
	}
}

// Names that the edge does not give come with its code and reason; those that pass are asked for again.
func TestRejected(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	sub := subscribe(t, c, "no name", "TSLA", "FAST", "A", strings.Repeat("x", 65), "\xff")
	p := s.accept()
	cmd := p.hear()
	if len(cmd.Topics) != 4 {
		t.Errorf("the command has %q", cmd.Topics)
	}
	p.ack(cmd, `,"rejected":[{"topic":"no name","code":422,"reason":"bad"},{"index":1,"code":403,"reason":"not allowed"},{"topic":"FAST","code":429,"reason":"too fast"}]`)
	last := everyone(t, sub, "rejections", func(u Update) bool { return u.State == Rejected }, "no name", "TSLA", "FAST", strings.Repeat("x", 65), "\xff")
	var e *TopicError
	if !errors.As(last["TSLA"].Err(), &e) || e.Code != 403 || e.Reason != "not allowed" || e.Temporary {
		t.Errorf("TSLA: %v", last["TSLA"].Err())
	}
	if !errors.As(last["FAST"].Err(), &e) || !e.Temporary {
		t.Errorf("FAST: %v", last["FAST"].Err())
	}
	if cmd = p.hear(); !slices.Equal(cmd.Topics, []string{"FAST"}) {
		t.Errorf("asked again for %q", cmd.Topics)
	}
	p.say(`{"t":"error","id":%d,"code":429,"reason":"too fast"}`, cmd.ID)
	cmd = p.hear()
	p.ack(cmd, "")
	p.rows("update", `{"s":"FAST","n":1,"v":1}`)
	next(t, sub, "the value", live)
	p.say(`{"t":"unsubscribed","topics":["FAST","A"],"reason":"the edge is full"}`)
	if u := next(t, sub, "the withdrawal", func(u Update) bool { return u.Topic == "A" }); u.State != Rejected || u.Code != 0 || u.Reason != "the edge is full" {
		t.Errorf("%+v", u)
	}
	// On the next connection all but what is no name is asked for again.
	p.close(1001, "")
	p = s.accept()
	if cmd = p.hear(); !slices.Equal(cmd.Topics, []string{"TSLA", "FAST", "A"}) {
		t.Errorf("asked for %q", cmd.Topics)
	}
}

// Each topic has a state of its own.
func TestStates(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	sub := subscribe(t, c, "fx:EURUSD", "AAPL")
	p := s.accept()
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"AAPL","n":5,"v":5}`, `{"s":"fx:EURUSD","n":5,"v":5}`)
	everyone(t, sub, "values", live, "fx:EURUSD", "AAPL")
	p.say(`{"t":"feed","state":"down","since":1,"topics":"fx:*,crypto:*"}`)
	if u := next(t, sub, "a feed that is down", func(Update) bool { return true }); u.Topic != "fx:EURUSD" || u.State != Down || u.New {
		t.Errorf("%+v", u)
	}
	p.say(`{"t":"feed","state":"down","since":1}`)
	if u := next(t, sub, "the other", func(Update) bool { return true }); u.Topic != "AAPL" || u.State != Down {
		t.Errorf("%+v", u)
	}
	p.say(`{"t":"feed","state":"up","since":1,"topics":"fx:*,crypto:*"}`)
	if u := next(t, sub, "a feed that is up", func(Update) bool { return true }); u.Topic != "fx:EURUSD" || u.State != Live {
		t.Errorf("%+v", u)
	}
	p.say(`{"t":"stale","ts":1,"code":403,"reason":"not permitted","topics":["fx:EURUSD"]}`)
	if u := next(t, sub, "stale", func(Update) bool { return true }); u.State != Stale || u.Code != 403 || u.Reason != "not permitted" || u.Value == nil || u.New {
		t.Errorf("%+v", u)
	}
	p.rows("update", `{"s":"fx:EURUSD","n":6,"v":6}`)
	if u := next(t, sub, "fresh", func(Update) bool { return true }); u.State != Live || !u.New {
		t.Errorf("%+v", u)
	}
	p.say(`{"t":"news of another kind","d":5,"n":[1]}`) // Is passed over.
	p.close(1012, "draining")
	last := everyone(t, sub, "reconnecting", func(u Update) bool { return u.State == Reconnecting }, "fx:EURUSD", "AAPL")
	if u := last["AAPL"]; u.Code != 1012 || u.Reason != "draining" || string(u.Value) != "5" {
		t.Errorf("%+v", u)
	}
	// The next edge has its own feeds.
	p = s.accept()
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"AAPL","n":1,"v":5}`)
	next(t, sub, "live", func(u Update) bool { return u.Topic == "AAPL" && live(u) })
}

// Commands have no more topics than hello allows, and no more bytes than the edge takes.
func TestCommandsAreSplit(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	var names []string
	for i := range 1100 {
		names = append(names, fmt.Sprintf("%s%04d", strings.Repeat("<", 60), i))
	}
	sub := subscribe(t, c, names...)
	p := s.greet(`{"t":"hello","v":1,"conn":"1","interval":500,"heartbeat":20000,"max_topics":1000}`)
	var asked []string
	for len(asked) < 1000 {
		cmd := p.hear() // The stand-in takes 20 KiB.
		if len(cmd.Topics) > 256 {
			t.Errorf("a command has %d topics", len(cmd.Topics))
		}
		asked = append(asked, cmd.Topics...)
		p.ack(cmd, "")
	}
	if !slices.Equal(asked, names[:1000]) {
		t.Error("the topics are not the first 1000")
	}
	over := everyone(t, sub, "those that are too much", func(u Update) bool { return u.Code == 413 && u.State == Rejected }, names[1000:]...)
	if len(over) != 100 {
		t.Errorf("%d topics are told of", len(over))
	}
	// What is given up makes room.
	again := subscribe(t, c, names[1000:1003]...)
	sub.Close()
	var got []string
	for len(got) < 3 {
		cmd := p.hear()
		if p.ack(cmd, ""); cmd.Op == "subscribe" {
			got = append(got, cmd.Topics...)
		}
	}
	if !slices.Equal(got, names[1000:1003]) {
		t.Errorf("asked for %q", got)
	}
	again.Close()
}

// What is wrong with the address or the window is said at once, and shows no query.
func TestMistakes(t *testing.T) {
	leaks(t)
	for address, want := range map[string]string{
		"ftp://host/":           "want ws:// or wss://",
		"localhost:8080":        "want ws:// or wss://",
		"ws://":                 "no host",
		"ws://h/%zz?token=hush": "no URL",
	} {
		_, err := New(address, Options{}).Subscribe(context.Background(), "A")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	if _, err := New("ws://h", Options{Interval: 5}).Subscribe(context.Background(), "A"); err == nil || !strings.Contains(err.Error(), "100ms") {
		t.Errorf("an interval of 5 ns: %v", err)
	}
	if _, err := New("ws://h", Options{}).Subscribe(context.Background()); err == nil {
		t.Error("no topics are no error")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New("ws://h", Options{}).Subscribe(ended, "A"); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	c := New("ws://h", Options{})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Subscribe(context.Background(), "A"); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A handshake that is refused for good ends the client; it says what the edge has said, without the URL.
func TestRefusedHandshake(t *testing.T) {
	leaks(t)
	tries := make(chan int, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tries <- 1
		if len(tries) < 3 {
			w.Header().Set("Retry-After", "0")
			http.Error(w, "going down", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "this page may not connect", http.StatusForbidden)
	}))
	defer server.Close()
	c := quick(t, server.URL+"/?secret=hush", Options{})
	sub := subscribe(t, c, "A")
	next(t, sub, "the first refusal", func(u Update) bool { return u.State == Reconnecting && u.Code == 503 && u.Reason == "going down" })
	var err error
	for err == nil {
		_, err = sub.Next(within(t))
	}
	var refused *ConnError
	if !errors.As(err, &refused) || refused.Status != 403 || refused.Reason != "this page may not connect" || strings.Contains(err.Error(), "hush") {
		t.Errorf("it ended with %v", err)
	}
	if _, err := c.Subscribe(context.Background(), "A"); !errors.As(err, &refused) {
		t.Errorf("a later one: %v", err)
	}
}
