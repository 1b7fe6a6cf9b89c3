// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Over a reconnect only those topics come with the token whose rows it stands for, and values that are the same are not new.
func TestResume(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	c := quick(t, s.url, Options{})
	sub := subscribe(t, c, "A", "B", "NONE")
	p := s.accept()
	if p.query != "resume=" {
		t.Errorf("the query is %q", p.query)
	}
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"A","n":5,"v":5}`, `{"s":"B","n":5,"v":5}`)
	p.say(`{"t":"resume","token":"ONE"}`)
	everyone(t, sub, "values", live, "A", "B")
	later := subscribe(t, c, "C")
	p.ack(p.hear(), "")
	p.rows("snapshot", `{"s":"C","n":5,"v":5}`)
	next(t, later, "a value", live)
	p.close(1001, "")
	everyone(t, sub, "reconnecting", func(u Update) bool { return u.State == Reconnecting }, "A", "B")
	next(t, later, "reconnecting", func(u Update) bool { return u.State == Reconnecting })

	p = s.accept()
	first, second := p.hear(), p.hear()
	if !slices.Equal(first.Topics, []string{"A", "B"}) || first.Since != "ONE" {
		t.Errorf("resumed: %+v", first)
	}
	if !slices.Equal(second.Topics, []string{"NONE", "C"}) || second.Since != "" {
		t.Errorf("the others: %+v", second)
	}
	p.ack(first, `,"resumed":true`)
	p.rows("snapshot", `{"s":"B","n":1,"v":6}`)
	p.ack(second, "")
	p.rows("snapshot", `{"s":"C","n":1,"v":5}`)
	last := everyone(t, sub, "live", func(u Update) bool { return live(u) && (u.Topic == "A" || u.New) }, "A", "B")
	if u := last["A"]; u.New || string(u.Value) != "5" {
		t.Errorf("A has not changed: %+v", u)
	}
	if u := last["B"]; !u.New || string(u.Value) != "6" || u.Conflated != 0 {
		t.Errorf("B has changed: %+v", u)
	}
	if u := next(t, later, "live", live); u.New {
		t.Errorf("C has not changed: %+v", u)
	}

	// The row of B is of an edge that has given no token: the one of the first edge says nothing about it.
	p.close(1001, "")
	p = s.accept()
	first, second = p.hear(), p.hear()
	if !slices.Equal(first.Topics, []string{"A"}) || first.Since != "ONE" || !slices.Equal(second.Topics, []string{"B", "NONE", "C"}) || second.Since != "" {
		t.Errorf("resumed: %+v, the others: %+v", first, second)
	}

	// An edge that knows no tokens sends everything; what is the same is not new.
	p.ack(first, "")
	if u := next(t, sub, "waiting", func(u Update) bool { return u.Topic == "A" && u.State != Reconnecting }); u.State != Waiting || u.New {
		t.Errorf("%+v", u)
	}
	p.rows("snapshot", `{"s":"A","n":9,"v":5}`)
	if u := next(t, sub, "live", func(u Update) bool { return u.Topic == "A" }); u.State != Live || u.New {
		t.Errorf("%+v", u)
	}
}

// Who wants no resumption does not ask for it.
func TestNoResume(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	subscribe(t, quick(t, s.url, Options{NoResume: true, Interval: 250 * time.Millisecond}), "A")
	if p := s.accept(); p.query != "interval=250" {
		t.Errorf("the query is %q", p.query)
	}
}

// Codes that say "never again" end the client, and it leaves no goroutine behind even if nobody closes it.
func TestNeverAgain(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	before := goleak.IgnoreCurrent()
	c := New(s.url, Options{})
	sub := subscribe(t, c, "A")
	p := s.accept()
	p.ack(p.hear(), "")
	p.say(`{"t":"bye","code":4504,"reason":"replaced"}`)
	p.close(4504, "replaced")
	_, err := sub.Next(within(t))
	for err == nil {
		_, err = sub.Next(within(t))
	}
	if !strings.Contains(err.Error(), "4504 replaced") {
		t.Errorf("it ended with %v", err)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
	select {
	case <-s.peers:
		t.Error("it came back")
	default:
	}
}

// Closed as idle, a client comes back when there is something to subscribe, and not before.
func TestParked(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	c := quick(t, s.url, Options{MinBackoff: 1, MaxBackoff: 1})
	sub := subscribe(t, c, "A")
	p := s.accept()
	p.ack(p.hear(), `,"rejected":[{"topic":"A","code":403,"reason":"no"}]`)
	next(t, sub, "the rejection", func(u Update) bool { return u.State == Rejected })
	p.close(4003, "idle")
	next(t, sub, "parked", func(u Update) bool { return u.State == Reconnecting && u.Code == 4003 })
	for range 50 { // Round trips to the same server, while a client that is not parked comes back after a nanosecond.
		answer, err := http.Get("http" + strings.TrimPrefix(s.url, "ws"))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	select {
	case <-s.peers:
		t.Fatal("it came back with nothing new")
	default:
	}
	subscribe(t, c, "B")
	if cmd := s.accept().hear(); !slices.Equal(cmd.Topics, []string{"A", "B"}) {
		t.Errorf("%+v", cmd)
	}
}

// A hello that does not come ends the connection and not the client.
func TestNoHello(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	sub := subscribe(t, quick(t, s.url, Options{HandshakeTimeout: 50 * time.Millisecond}), "A")
	next(t, sub, "no hello", func(u Update) bool { return u.State == Reconnecting && strings.Contains(u.Reason, "silent") })
	select {
	case p := <-s.peers:
		close(p.ended)
	case <-time.After(patience):
		t.Error("it does not come back")
	}
}

// What is no message of the protocol, is too long, or does not come, ends the connection and not the client.
func TestBadEdges(t *testing.T) {
	leaks(t)
	s := newStandin(t)
	// Until the test accepts the next connection, nothing new is told: it would take the place of what was told of the last.
	sub := subscribe(t, quick(t, s.url, Options{HandshakeTimeout: patience}), "A")
	const hello = `{"t":"hello","v":1,"conn":"1","interval":500,"heartbeat":%d,"max_topics":1}`
	for what, hellos := range map[string][2]string{
		"no hello":        {`{"t":"heartbeat"}`, "did not begin with hello"},
		"no JSON":         {`hello`, "not what the protocol says"},
		"a silent edge":   {strings.Replace(hello, "%d", "50", 1), "silent"},
		"a hello too big": {`{"t":"hello","x":"` + strings.Repeat("x", 65<<10) + `"}`, "too big"},
	} {
		p := s.greet(hellos[0])
		next(t, sub, what, func(u Update) bool { return u.State == Reconnecting && strings.Contains(u.Reason, hellos[1]) })
		_, _, err := p.ws.Read(within(t))
		for err == nil { // Commands.
			_, _, err = p.ws.Read(within(t))
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the connection stays open", what)
		}
		close(p.ended)
	}
	p := s.greet(strings.Replace(hello, "%d", "20000", 1))
	p.ack(p.hear(), "")
	p.say(`{"t":"update","d":[{"s":5}]}`)
	next(t, sub, "a broken update", func(u Update) bool { return strings.Contains(u.Reason, "not what the protocol says") })
	close(p.ended)
	p = s.greet(strings.Replace(hello, "%d", "20000", 1))
	p.ack(p.hear(), "")
	p.say(`{"t":"update","x":"%s"}`, strings.Repeat("x", 65<<10))
	next(t, sub, "a message too long", func(u Update) bool { return strings.Contains(u.Reason, "too big") })
	close(p.ended)
	p = s.greet(`{"t":"hello","v":2}`)
	_, err := sub.Next(within(t))
	for err == nil {
		_, err = sub.Next(within(t))
	}
	if !strings.Contains(err.Error(), "version 2") {
		t.Errorf("version 2: %v", err)
	}
	close(p.ended)
}
