// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var movers = ScreenConfig{Topics: []string{"crypto:*"}, Where: "chg_pct > 5", Top: 20, By: "-chg_pct"}

func ask(t *testing.T, c *Client, config ScreenConfig) *Screen {
	t.Helper()
	s, err := c.Screen(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// change takes updates until one fulfils what is wanted, and returns it.
func change(t *testing.T, s *Screen, what string, want func(ScreenUpdate) bool) ScreenUpdate {
	t.Helper()
	return until(t, s.Next, what, want)
}

func full(u ScreenUpdate) bool        { return u.Full }
func changedRows(u ScreenUpdate) bool { return len(u.Rows)+len(u.Out)+len(u.Order) > 0 }

func in(state State) func(ScreenUpdate) bool {
	return func(u ScreenUpdate) bool { return u.State == state }
}

// inOrder writes rows as name=value.
func inOrder(rows []ScreenRow) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Topic+"="+string(r.Value))
	}
	return strings.Join(all, " ")
}

// screens sends a message of the first screen of a client.
func (p *peer) screens(format string, args ...any) {
	p.t.Helper()
	p.say(`{"t":"screen","ts":1732181723500,"screen":"s1"`+format+`}`, args...)
}

// taken waits until the client has taken in what was said: a topic is acknowledged behind that.
func (p *peer) taken(c *Client, topic string) {
	p.t.Helper()
	subscribe(p.t, c, topic)
	p.ack(p.hear(), "")
	ctx := within(p.t)
	for ctx.Err() == nil {
		c.mu.Lock()
		done := c.topics[topic] != nil && c.topics[topic].phase == held
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
	p.t.Fatal("what was said is not taken in")
}

// A screen is asked for, and what changes is told once.
func TestScreen(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	s := ask(t, quick(t, st.url, Options{}), movers)
	p := st.accept()
	cmd := p.hear()
	want := command{Op: "screen", ID: 1, Screen: "s1", Topics: movers.Topics, Where: movers.Where, Top: 20, By: "-chg_pct"}
	if fmt.Sprint(cmd) != fmt.Sprint(want) {
		t.Errorf("the command is %+v, want %+v", cmd, want)
	}
	p.ack(cmd, `,"screens":1,"screen":"s1"`)
	p.screens(`,"full":true,"d":[{"s":"B","n":1,"v":{"p": 1.50}},{"s":"A","n":4,"v":9}],"order":["B","A"]`)
	u := change(t, s, "all of it", full)
	if inOrder(u.Rows) != `A=9 B={"p": 1.50}` || !slices.Equal(u.Order, []string{"B", "A"}) || u.State != Live || u.Err() != nil {
		t.Errorf("%+v", u)
	}
	if r := u.Rows[0]; r.N != 4 || r.At.UnixMilli() != 1732181723500 {
		t.Errorf("%+v", r)
	}
	p.screens(`,"d":[{"s":"A","n":5,"v":10}]`)
	if u := change(t, s, "a value", changedRows); inOrder(u.Rows) != "A=10" || u.Full || u.Order != nil || u.Out != nil {
		t.Errorf("%+v", u)
	}
	p.screens(`,"d":[{"s":"C","n":1,"v":3}],"out":["A","NONE"],"order":["C","B"]`)
	u = change(t, s, "another one", changedRows)
	if inOrder(u.Rows) != "C=3" || !slices.Equal(u.Out, []string{"A"}) || !slices.Equal(u.Order, []string{"C", "B"}) {
		t.Errorf("%+v", u)
	}
	if got := inOrder(s.Rows()); got != `C=3 B={"p": 1.50}` {
		t.Errorf("inside are %s", got)
	}
	p.screens(`,"order":["B","C"]`)
	if u := change(t, s, "another order", changedRows); !slices.Equal(u.Order, []string{"B", "C"}) || u.Rows != nil {
		t.Errorf("%+v", u)
	}
}

// A slow reader is told the newest of all, and nothing of what came and went.
func TestScreenConflates(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	c := quick(t, st.url, Options{})
	s, fence := ask(t, c, ScreenConfig{Topics: []string{"*"}}), ask(t, c, ScreenConfig{Topics: []string{"*"}})
	p := st.accept()
	for range 2 {
		p.ack(p.hear(), "")
	}
	reached := func() {
		t.Helper()
		p.say(`{"t":"screen","ts":1,"screen":"s2","full":true}`)
		change(t, fence, "all that was said", full)
	}
	p.screens(`,"full":true,"d":[{"s":"A","n":1,"v":1},{"s":"B","n":1,"v":1}]`)
	reached()
	change(t, s, "all of it", full)
	p.screens(`,"d":[{"s":"A","n":2,"v":2},{"s":"C","n":1,"v":1}]`)
	p.screens(`,"d":[{"s":"A","n":3,"v":3}],"out":["B","C"]`)
	p.screens(`,"d":[{"s":"B","n":2,"v":2}]`)
	p.screens(`,"d":[{"s":"D","n":2,"v":2}]`)
	p.screens(`,"out":["D"]`)
	reached()
	if u := change(t, s, "the newest", changedRows); inOrder(u.Rows) != "A=3 B=2" || u.Out != nil || u.Order != nil {
		t.Errorf("%+v", u)
	}
	if got := inOrder(s.Rows()); got != "A=3 B=2" {
		t.Errorf("inside are %s", got)
	}
	for n := range 2000 {
		p.screens(`,"d":[{"s":"T%d","n":1,"v":1}]`, n)
		p.screens(`,"out":["T%d"]`, n)
	}
	reached()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(s.news.rows)+len(s.news.out)+len(s.had) > 2 {
		t.Errorf("%d rows, %d that are out and %d names are kept for a slow reader", len(s.news.rows), len(s.news.out), len(s.had))
	}
}

// After a lost connection it is asked for again, and what was there stays until all of it came.
func TestScreenComesBack(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	s := ask(t, quick(t, st.url, Options{}), movers)
	p := st.accept()
	p.ack(p.hear(), "")
	p.screens(`,"full":true,"more":true,"d":[{"s":"A","n":9,"v":1}],"order":["B","A"]`)
	p.screens(`,"d":[{"s":"B","n":9,"v":1}]`)
	if u := change(t, s, "all of it", full); inOrder(u.Rows) != "A=1 B=1" || !slices.Equal(u.Order, []string{"B", "A"}) {
		t.Errorf("%+v", u)
	}
	p.close(1001, "away")
	if u := change(t, s, "the loss", in(Reconnecting)); u.Code != 1001 || u.Reason == "" {
		t.Errorf("%+v", u)
	}
	p = st.accept()
	change(t, s, "the connection", in(Waiting))
	cmd := p.hear()
	if cmd.Screen != "s1" || cmd.Where != movers.Where {
		t.Errorf("the command is %+v", cmd)
	}
	p.ack(cmd, "")
	p.screens(`,"d":[{"s":"A","n":1,"v":77}]`) // Nothing that an edge says: there was no full state yet.
	p.taken(s.client, "FIRST")
	if got := inOrder(s.Rows()); got != "B=1 A=1" {
		t.Errorf("inside are %s", got)
	}
	p.screens(`,"full":true,"more":true,"d":[{"s":"C","n":1,"v":1}],"order":["C"]`)
	p.screens(`,"more":true,"d":[{"s":"A","n":1,"v":2}],"out":["C"]`)
	p.taken(s.client, "SECOND")
	if got := inOrder(s.Rows()); got != "B=1 A=1" {
		t.Errorf("inside are %s before all came", got)
	}
	p.screens(`,"d":[{"s":"D","n":1,"v":3}],"order":["D","A"]`)
	u := change(t, s, "all of it", func(u ScreenUpdate) bool {
		if !u.Full && changedRows(u) {
			t.Errorf("before all came it tells %+v", u)
		}
		return len(u.Rows) > 1
	})
	if inOrder(u.Rows) != "A=2 D=3" || !slices.Equal(u.Out, []string{"B"}) || !slices.Equal(u.Order, []string{"D", "A"}) || u.State != Live {
		t.Errorf("%+v", u)
	}
}

// What the edge does not give is told with its place, and asked for again by the next connection only.
func TestScreenRejected(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	c := quick(t, st.url, Options{})
	s := ask(t, c, ScreenConfig{Topics: []string{"*"}, Where: "p = 5"})
	p := st.accept()
	p.say(`{"t":"error","id":%d,"code":400,"reason":"where, at byte 2: write == to compare","at":2}`, p.hear().ID)
	u := change(t, s, "the refusal", in(Rejected))
	var e *ScreenError
	if !errors.As(u.Err(), &e) || e.Code != 400 || e.At != 2 || e.Temporary || !strings.Contains(e.Error(), "write ==") {
		t.Errorf("%+v", u)
	}
	p.screens(`,"full":true,"d":[{"s":"A","n":1,"v":1}]`) // It is not that of this client.
	subscribe(t, c, "A")
	if cmd := p.hear(); cmd.Op != "subscribe" {
		t.Errorf("it is asked for again: %+v", cmd)
	}
	if len(s.Rows()) > 0 {
		t.Error("it has rows")
	}
	p.close(1001, "")
	p = st.accept()
	if ops := []string{p.hear().Op, p.hear().Op}; !slices.Contains(ops, "screen") {
		t.Errorf("the next connection is asked for %q", ops)
	}
}

// What is refused for now is asked for again.
func TestScreenRejectedForNow(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	s := ask(t, quick(t, st.url, Options{}), movers)
	p := st.accept()
	for _, code := range []int{429, 503} {
		p.say(`{"t":"error","id":%d,"code":%d,"reason":"no CPU for further conditions"}`, p.hear().ID, code)
		if u := change(t, s, "the refusal", in(Rejected)); !u.Temporary || u.Code != code || u.At != -1 {
			t.Errorf("%+v", u)
		}
	}
	p.ack(p.hear(), "")
	p.screens(`,"full":true`)
	if u := change(t, s, "all of it", full); u.State != Live || u.Rows != nil || u.Code != 0 {
		t.Errorf("%+v", u)
	}
}

// A newer token has those asked for again that the old one did not allow.
func TestScreenAndToken(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	n := 0
	o := Options{Token: func(context.Context) (string, error) {
		n++
		return jwt(3*time.Second, fmt.Sprintf(`,"n":%d`, n)), nil
	}}
	s := ask(t, quick(t, st.url, o), movers)
	p := st.accept()
	p.say(`{"t":"error","id":%d,"code":403,"reason":"the token does not allow crypto:*"}`, p.hear().ID)
	change(t, s, "the refusal", in(Rejected))
	cmd := p.hear()
	if cmd.Op != "auth" {
		t.Fatalf("%+v", cmd)
	}
	p.ack(cmd, "")
	if cmd := p.hear(); cmd.Op != "screen" {
		t.Errorf("%+v", cmd)
	}
}

// A screen that is closed is given up, and what still comes of it is no other's.
func TestScreenClosed(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	c := quick(t, st.url, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	s, err := c.Screen(ctx, movers)
	if err != nil {
		t.Fatal(err)
	}
	p := st.accept()
	p.ack(p.hear(), "")
	p.screens(`,"full":true,"d":[{"s":"A","n":1,"v":1}]`)
	change(t, s, "all of it", full)
	cancel()
	if _, err := s.Next(within(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	cmd := p.hear()
	if cmd.Op != "unscreen" || cmd.Screen != "s1" {
		t.Errorf("%+v", cmd)
	}
	p.say(`{"t":"error","id":%d,"code":429,"reason":"too fast"}`, cmd.ID)
	again := ask(t, c, movers)
	ops := map[string]command{}
	for range 2 {
		cmd := p.hear()
		ops[cmd.Op] = cmd
		p.ack(cmd, "")
	}
	if ops["unscreen"].Screen != "s1" || ops["screen"].Screen != "s2" {
		t.Errorf("%+v", ops)
	}
	p.screens(`,"full":true,"d":[{"s":"OLD","n":1,"v":1}]`)
	p.say(`{"t":"screen","ts":1,"screen":"s2","full":true}`)
	if u := change(t, again, "all of it", full); len(u.Rows) > 0 {
		t.Errorf("%+v", u)
	}
	again.Close()
	again.Close()
	if _, err := again.Next(within(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("it ends with %v", err)
	}
}

// A screen alone keeps a client connected; what ends the client is its error.
func TestScreenEndsWithTheClient(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	c := quick(t, st.url, Options{})
	s := ask(t, c, movers)
	p := st.accept()
	p.hear()
	p.close(1012, "restart")
	p = st.accept()
	p.hear()
	p.close(4502, "go away")
	var refused *ConnError
	for _, err := range s.All(within(t)) {
		if err != nil && (!errors.As(err, &refused) || refused.Code != 4502) {
			t.Errorf("it ends with %v", err)
		}
	}
	if refused == nil {
		t.Error("it has not ended")
	}
	if _, err := c.Screen(context.Background(), movers); !errors.As(err, &refused) {
		t.Errorf("another one is %v", err)
	}
}

// What can't be asked for is an error at once, and no pattern is subscribed.
func TestScreenUsage(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	c := quick(t, st.url, Options{})
	for _, bad := range []ScreenConfig{{}, {Topics: []string{"A", ""}}, {Topics: []string{"*"}, Where: strings.Repeat("x", 20<<10)}} {
		if _, err := c.Screen(context.Background(), bad); err == nil {
			t.Errorf("%.100v is asked for", bad)
		}
	}
	if _, err := New("ftp://x", Options{}).Screen(context.Background(), movers); err == nil {
		t.Error("a URL that is none is asked for")
	}
	sub := subscribe(t, c, "crypto:*")
	if u := next(t, sub, "the refusal", func(u Update) bool { return u.State == Rejected }); u.Code != 422 || !strings.Contains(u.Reason, "Client.Screen") {
		t.Errorf("%+v", u)
	}
}

// Messages of screens may be longer than those of a few topics.
func TestScreenOfMany(t *testing.T) {
	leaks(t)
	st := newStandin(t)
	s := ask(t, quick(t, st.url, Options{}), ScreenConfig{Topics: []string{"*"}})
	p := st.accept()
	p.ack(p.hear(), "")
	rows := make([]string, 5000)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"s":"T%04d","n":1,"v":{"p":189.87,"pad":"%s"}}`, i, strings.Repeat("x", 100))
	}
	p.screens(`,"full":true,"d":[%s]`, strings.Join(rows, ","))
	if u := change(t, s, "all of it", full); len(u.Rows) != len(rows) || u.Rows[4999].Topic != "T4999" {
		t.Errorf("%d rows", len(u.Rows))
	}
}
