// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	tickedge "tickedge/clients/go"
)

// screens answers the first command of each connection with these messages, in which %d is its id, and tells what it was. The last
// message awaits the gate, if there is one.
func screens(t *testing.T, gate <-chan struct{}, messages ...string) (url string, asked <-chan string) {
	t.Helper()
	var handlers sync.WaitGroup
	commands := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		say := func(text string) { _ = ws.Write(r.Context(), websocket.MessageText, []byte(text)) }
		say(`{"t":"hello","v":1,"conn":"1","interval":500,"heartbeat":20000,"max_topics":256}`)
		_, payload, err := ws.Read(r.Context())
		var cmd struct{ ID int }
		if err != nil || json.Unmarshal(payload, &cmd) != nil {
			return
		}
		commands <- string(payload)
		for i, m := range messages {
			if gate != nil && i == len(messages)-1 {
				<-gate
			}
			say(strings.Replace(m, "%d", fmt.Sprint(cmd.ID), 1))
		}
		_, _, _ = ws.Read(r.Context())
	}))
	t.Cleanup(func() {
		server.Close()
		handlers.Wait()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http"), commands
}

const screenAck = `{"t":"ack","id":%d,"op":"screen","topics":0,"screens":1,"screen":"s1"}`

// Rows are printed as they change, with their ranks.
func TestScreen(t *testing.T) {
	gate := make(chan struct{})
	url, asked := screens(t, gate, screenAck,
		`{"t":"screen","ts":5,"screen":"s1","full":true,"d":[{"s":"A","n":1,"v":{"p":1.50}},{"s":"B","n":2,"v":3}],"order":["B","A"]}`,
		`{"t":"screen","ts":6,"screen":"s1","d":[{"s":"C","n":1,"v":4}],"out":["B"],"order":["C","A"]}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var problems bytes.Buffer
	out := &until{texts: []string{`"topic":"A"`, `"topic":"C"`}, reached: []func(){func() { close(gate) }, cancel}}
	args := []string{"screen", "-url", url, "-topics", "crypto:*,fx:*", "-where", "chg_pct > 5", "-top", "20", "-by", "-chg_pct", "A"}
	if code := run(ctx, args, noEnv, out, &problems); code != exitOK || problems.Len() > 0 {
		t.Errorf("%d %s", code, problems.String())
	}
	if got, want := <-asked, `{"op":"screen","topics":["A","crypto:*","fx:*"],"screen":"s1","where":"chg_pct > 5","top":20,"by":"-chg_pct","id":1}`; got != want {
		t.Errorf("it asks %s, want %s", got, want)
	}
	want := `{"topic":"B","state":"live","value":3,"n":2,"conflated":0,"ts":5,"rank":1}
{"topic":"A","state":"live","value":{"p":1.50},"n":1,"conflated":0,"ts":5,"rank":2}
{"topic":"B","state":"out","value":null,"n":0,"conflated":0}
{"topic":"C","state":"live","value":4,"n":1,"conflated":0,"ts":6,"rank":1}
`
	if got := out.all.String(); got != want {
		t.Errorf("it prints\n%s, want\n%s", got, want)
	}
}

// until calls a function when the text of that place was written, and so on with the next.
type until struct {
	all     bytes.Buffer
	texts   []string
	reached []func()
}

func (u *until) Write(p []byte) (int, error) {
	u.all.Write(p)
	if len(u.texts) > 0 && strings.Contains(u.all.String(), u.texts[0]) {
		u.reached[0]()
		u.texts, u.reached = u.texts[1:], u.reached[1:]
	}
	return len(p), nil
}

// A condition that is wrong is shown with its place; what else is refused is said, and an edge that says nothing ends with the time.
func TestScreenRefused(t *testing.T) {
	url, _ := screens(t, nil, `{"t":"error","id":%d,"code":400,"reason":"where, at byte 4: write == to compare","at":4}`)
	r := try(t.Context(), noEnv, "screen", "-url", url, "*", "-where", "币 = 5")
	if r.code != exitUsage || r.out != "" || r.err != "tickedge: where, at byte 4: write == to compare\n  币 = 5\n     ^\n" {
		t.Errorf("%+v", r)
	}
	url, _ = screens(t, nil, `{"t":"error","id":%d,"code":400,"reason":"unknown op \"screen\""}`)
	if r = try(t.Context(), noEnv, "screen", "-url", url, "*"); r.code != exitUsage || !strings.Contains(r.err, "unknown op") {
		t.Errorf("%+v", r)
	}
	url, _ = screens(t, nil, `{"t":"error","id":%d,"code":501,"reason":"its source has no patterns"}`)
	if r = try(t.Context(), noEnv, "screen", "-url", url, "*"); r.code != exitMissing || !strings.Contains(r.err, "no patterns") {
		t.Errorf("%+v", r)
	}
	url, _ = screens(t, nil, `{"t":"error","id":%d,"code":429,"reason":"no CPU for it"}`)
	if r = try(t.Context(), noEnv, "screen", "-url", url, "*", "-timeout", "500ms"); r.code != exitMissing || !strings.Contains(r.err, "rejected: 429 no CPU") {
		t.Errorf("%+v", r)
	}
	url, _ = screens(t, nil, screenAck, `{"t":"screen","ts":5,"screen":"s1","full":true}`)
	if r = try(t.Context(), noEnv, "screen", "-url", url, "*", "-timeout", "500ms"); r.code != exitOK || r.out+r.err != "" {
		t.Errorf("%+v", r)
	}
	for want, args := range map[string][]string{
		"say of which topics":     {"screen"},
		"give -top, 1 to 100":     {"screen", "*", "-top", "5"},
		"and -by together":        {"screen", "*", "-by", "p", "-top", "101"},
		"-where is of":            {"get", "A", "-where", "p > 5"},
		"there are commas alone":  {"screen", "-topics", ","},
		"too long: want up to 64": {"screen", "*", "-where", strings.Repeat("x", 20<<10)},
	} {
		if r := try(t.Context(), noEnv, args...); r.code != exitUsage || !strings.Contains(strings.Join(strings.Fields(r.err), " "), want) {
			t.Errorf("%.40q: %+v", args, r)
		}
	}
}

// The rows of a table stand as they are ranked, or by their names.
func TestScreenTable(t *testing.T) {
	var out bytes.Buffer
	v := screened{stdout: &out, stderr: &out, show: newTable(nil), rows: make(map[string]tickedge.ScreenRow)}
	row := func(name string) tickedge.ScreenRow {
		return tickedge.ScreenRow{Topic: name, Value: json.RawMessage("1")}
	}
	for _, step := range []struct {
		u    tickedge.ScreenUpdate
		want string
	}{
		{tickedge.ScreenUpdate{State: tickedge.Live, Full: true, Rows: []tickedge.ScreenRow{row("C"), row("A")}}, "A,C"},
		{tickedge.ScreenUpdate{State: tickedge.Live, Rows: []tickedge.ScreenRow{row("B")}, Out: []string{"C"}}, "A,B"},
		{tickedge.ScreenUpdate{State: tickedge.Live, Order: []string{"B", "A"}}, "B,A"},
		{tickedge.ScreenUpdate{State: tickedge.Reconnecting, Reason: "away"}, "B,A"},
	} {
		if err := v.take(step.u); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(v.show.order, ","); got != step.want || len(v.show.rows) != len(v.show.order) {
			t.Errorf("%+v: %s, want %s", step.u, got, step.want)
		}
	}
	if lines := v.show.text(80, 24); !strings.HasPrefix(lines[1], "B") || !strings.Contains(lines[1], "reconnecting") || !strings.Contains(out.String(), "reconnecting: away") {
		t.Errorf("%q", lines)
	}
}
