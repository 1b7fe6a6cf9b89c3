// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

// reader reads events as the HTML Standard has it (9.2.6), but for what it does with ids.
type reader struct {
	t  testing.TB
	br *bufio.Reader

	retry, id string
}

// next returns the next event. Its name is message if it has none.
func (r *reader) next() (name string, m message) {
	r.t.Helper()
	var data []string
	name = "message"
	for {
		line, err := r.br.ReadString('\n')
		if err != nil {
			r.t.Fatalf("reading events: %v", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			if line != "\n" || len(data) == 0 { // A comment, or nothing to dispatch.
				name = "message"
				continue
			}
			if err := json.Unmarshal([]byte(strings.Join(data, "\n")), &m); err != nil {
				r.t.Fatalf("%q: %v", data, err)
			}
			return name, m
		case "data":
			data = append(data, value)
		case "event":
			name = value
		case "retry":
			r.retry = value
		case "id":
			r.id = value
		}
	}
}

func (r *reader) want(kind string) message {
	r.t.Helper()
	name, m := r.next()
	if name != kind || m.T != kind {
		r.t.Fatalf("got event %s with %+v, want %s", name, m, kind)
	}
	return m
}

// follow opens a stream. fields are more lines of the request.
func (e *edge) follow(query string, fields ...string) (*raw, *http.Response, *reader) {
	e.t.Helper()
	c := dialRaw(e.t, e.Addr())
	c.send([]byte(request("GET", "/sse"+query, fields...)))
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		e.t.Fatalf("answered with %s %v", res.Status, res.Header)
	}
	return c, res, &reader{t: e.t, br: bufio.NewReader(res.Body)}
}

func origins(t *testing.T, list string) *auth.Origins {
	t.Helper()
	o, err := auth.ParseOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestEventStream(t *testing.T) {
	e := serve(t)
	_, res, r := e.follow("?topics=AAPL,MSFT,no%20name&interval=200")
	if h := res.Header; h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" || !res.Close || res.ContentLength != -1 {
		t.Errorf("head: %v, close %v", h, res.Close)
	}
	if hello := r.want("hello"); hello.Interval != 200 {
		t.Errorf("hello = %+v", hello)
	}
	if r.retry == "" {
		t.Error("no retry")
	}
	if ack := r.want("ack"); string(ack.Topics) != "2" || len(ack.Rejected) != 1 || ack.Rejected[0].Code != 422 {
		t.Errorf("ack = %+v", ack)
	}
	e.publish("MSFT", "{\"p\":\n2,\r\"x\":[1 ,\r\n 2]}")
	m := r.want("update")
	if len(m.Rows) != 1 || m.Rows[0].S != "MSFT" {
		t.Fatalf("update = %+v", m)
	}
	var v struct {
		P int
		X []int
	}
	if err := json.Unmarshal(m.Rows[0].V, &v); err != nil || v.P != 2 || len(v.X) != 2 {
		t.Errorf("value %s: %v", m.Rows[0].V, err)
	}
	until(t, func() bool { st := e.Stats(); return st.Loop[Streams] == 1 && st.Loop[WebSockets] == 0 && st.Open == 1 }, "it to be counted")
}

func TestPlainEvents(t *testing.T) {
	e := serve(t)
	_, _, r := e.follow("?events=plain&topics=AAPL")
	for _, kind := range []string{"hello", "ack"} {
		if name, m := r.next(); name != "message" || m.T != kind {
			t.Errorf("event %s with %+v, want %s", name, m, kind)
		}
	}
}

func TestStreamRefusals(t *testing.T) {
	e := serve(t, withTokens(t), func(c *Config) { c.Shard.MaxTopics = 3 })
	token := "&token=" + tokenOf("alice", later(), "")
	for _, c := range []struct {
		method, query, field string
		status               int
		body                 string
	}{
		{"GET", "?x=y" + token, "", 400, "no topics: want /sse?topics=AAPL,MSFT"},
		{"GET", "?topics=A,B,C,D" + token, "", 400, "more than 3 topics in the query"},
		{"GET", "?topics=A&events=all" + token, "", 400, "events is named or plain"},
		{"GET", "?topics=A&interval=1" + token, "", 400, "interval is a whole number of milliseconds from 100 to 60000"},
		{"GET", "?topics=A", "", 401, auth.Missing.Error()},
		{"HEAD", "?topics=A", "", 401, ""},
		{"GET", "?topics=A" + token, "Origin: https://evil.example", 403, "this page (Origin) may not connect here"},
		{"POST", "?topics=A" + token, "", 405, "events are read with GET"},
	} {
		req := request(c.method, "/sse"+c.query, "X: y")
		if c.field != "" {
			req = request(c.method, "/sse"+c.query, c.field)
		}
		if _, res, body := e.ask("", req); res.StatusCode != c.status || body != c.body {
			t.Errorf("%s %s: %s %q", c.method, c.query, res.Status, body)
		}
	}
}

// Scripts of pages that are allowed may read the answer, whatever it is, and no others.
func TestCORS(t *testing.T) {
	const page = "https://app.example.com"
	e := serve(t, withTokens(t), func(c *Config) { c.Origins = origins(t, page) })
	good := "?topics=A&token=" + tokenOf("alice", later(), "")
	check := func(res *http.Response, origin, credentials string) {
		t.Helper()
		h := res.Header
		if h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != credentials || h.Get("Vary") != "Origin" {
			t.Errorf("%s %v", res.Status, h)
		}
	}
	_, res, _ := e.follow(good, "Origin: "+page)
	check(res, page, "true")
	_, res, _ = e.follow(good)
	check(res, "", "")
	_, res, _ = e.ask("", request("GET", "/sse?topics=A", "Origin: "+page))
	if check(res, page, "true"); res.StatusCode != 401 {
		t.Error(res.Status)
	}
	_, res, _ = e.ask("", request("OPTIONS", "/sse?topics=A", "Origin: "+page, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization"))
	if check(res, page, "true"); res.StatusCode != 200 || !strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	_, res, _ = e.ask("", request("OPTIONS", "/sse?topics=A", "Origin: https://evil.example", "Access-Control-Request-Method: GET"))
	if res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	_, res, body := e.ask("", request("HEAD", "/sse"+good, "X: y"))
	if res.StatusCode != 200 || body != "" || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %s %v %q", res.Status, res.Header, body)
	}
}

func TestCORSForAll(t *testing.T) {
	e := serve(t, func(c *Config) { c.Origins = origins(t, "*") })
	_, res, _ := e.follow("?topics=A", "Origin: https://app.example.com")
	if h := res.Header; h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%v", h)
	}
}

// The end of a stream is told as that of a WebSocket, and when to come back.
func TestStreamsEndWithBye(t *testing.T) {
	t.Run("drain", func(t *testing.T) {
		e := serve(t)
		c, _, r := e.follow("?topics=A")
		r.want("hello")
		r.want("ack")
		var ended sync.WaitGroup
		ended.Go(func() { e.end(time.Millisecond) })
		bye := r.want("bye")
		if bye.Code != 1012 || bye.RetryMS == 0 {
			t.Errorf("bye = %+v", bye)
		}
		if rest, _ := r.br.ReadString(0); rest != fmt.Sprintf("retry: %d\n\n", max(bye.RetryMS, bye.RetryMS%1000+1000)) {
			t.Errorf("then %q", rest)
		}
		c.close()
		ended.Wait()
	})
	t.Run("token", func(t *testing.T) {
		e := serve(t, withTokens(t))
		c, _, r := e.follow("?topics=A&token=" + tokenOf("alice", later(), ""))
		r.want("hello")
		r.want("ack")
		e.expireAt(later().Add(time.Minute))
		if bye := r.want("bye"); bye.Code != 4501 {
			t.Errorf("bye = %+v", bye)
		}
		c.close()
		e.wantClosed("token_expired", "4501", 1)
	})
}

// A kernel acknowledges for a program that says nothing: the stream stays, until something else comes.
func TestWhatComesOnAStream(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Shard.PingInterval, c.Shard.PongTimeout, c.Shard.Heartbeat = 100*time.Millisecond, 200*time.Millisecond, 250*time.Millisecond
	})
	c, _, r := e.follow("?topics=A")
	r.want("hello")
	r.want("ack")
	for range 10 {
		r.want("heartbeat")
	}
	until(t, func() bool { return e.Stats().Count[fanout.Pings] > 5 }, "pings")
	c.send([]byte("GET /sse?topics=B HTTP/1.1\r\nHost: x\r\n\r\n"))
	for {
		if _, m := r.next(); m.T == "bye" {
			if m.Code != 1008 {
				t.Errorf("bye = %+v", m)
			}
			break
		}
	}
	c.close()
	e.wantClosed("stream_input", "1008", 1)
	_, res, body := e.ask("", request("GET", "/sse?topics=A", "X: y")+"more")
	if res.StatusCode != 400 {
		t.Errorf("%s %q", res.Status, body)
	}
}

// stamp has the table note that its source was heard just now.
func (e *edge) stamp() string {
	now := time.Now().UnixMilli()
	e.table.Heard(0, now)
	e.table.Stamp(func() (int64, int64) { return now, now })
	return e.table.Offer().Token
}

// resumable is an edge with the topics A and B, whose values were read, and a token of before B has ticked.
func resumable(t *testing.T) (e *edge, token string) {
	e = serve(t)
	for _, name := range []string{"A", "B"} {
		id, err := e.table.Acquire([]byte(name), 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.table.Release(id, time.Now()) })
		mark, _ := e.table.Mark(name)
		e.table.Repair(name, "1", mark, topics.Meta{})
	}
	token = e.stamp()
	e.publish("B", "2")
	return e, token
}

// resumedRows are what is sent behind the ack, whose resumed is to be as wanted.
func resumedRows(t *testing.T, ack, snapshot message, want string) (rows string) {
	t.Helper()
	if string(ack.Resumed) != want {
		t.Errorf("resumed is %q, want %q", ack.Resumed, want)
	}
	for _, row := range snapshot.Rows {
		rows += row.S
	}
	return rows
}

func TestResumeByTheRequest(t *testing.T) {
	e, token := resumable(t)
	for _, c := range []struct{ query, field, resumed, rows string }{
		{"", "", "", "AB"},
		{"&resume=", "", "false", "AB"},
		{"&resume=" + token, "", "true", "B"},
		{"&resume=" + token + "&fresh=A", "", "true", "AB"},
		{"&resume=" + token + "&fresh=A", "Last-Event-ID: " + token, "true", "B"},
		{"&resume=" + token, "Last-Event-ID: x", "false", "AB"},
		{"", "Last-Event-ID: " + token, "true", "B"},
	} {
		field := c.field
		if field == "" {
			field = "X: y"
		}
		_, _, r := e.follow("?topics=A,B"+c.query, field)
		r.want("hello")
		ack := r.want("ack")
		if none := r.id == topics.NoToken; none != (c.resumed != "true") {
			t.Errorf("%+v on a stream: the id of the ack is %q", c, r.id)
		}
		if rows := resumedRows(t, ack, r.want("snapshot"), c.resumed); rows != c.rows {
			t.Errorf("%+v on a stream: rows %s", c, rows)
		}
		if c.field != "" {
			continue
		}
		ws := dialRaw(t, e.Addr())
		if err := ws.handshake("?topics=A,B" + c.query); err != nil {
			t.Fatal(err)
		}
		ws.want("hello")
		ack = ws.want("ack")
		if c.resumed == "false" && ws.want("resume").Token != topics.NoToken {
			t.Errorf("%+v on a WebSocket: its token is not revoked", c)
		}
		if rows := resumedRows(t, ack, ws.want("snapshot"), c.resumed); rows != c.rows {
			t.Errorf("%+v on a WebSocket: rows %s", c, rows)
		}
		if c.resumed == "" {
			ws.close()
			continue
		}
		e.stamp()
		if m := ws.want("resume"); m.Token == "" {
			t.Errorf("%+v", m)
		}
		ws.close()
	}
	ws := dialRaw(t, e.Addr()).upgrade("?resume=")
	ws.send(command(`{"op":"subscribe","topics":["A","B"],"since":%q}`, token))
	if rows := resumedRows(t, ws.want("ack"), ws.want("snapshot"), "true"); rows != "B" {
		t.Errorf("by a command: rows %s", rows)
	}
}

// An event gets an id, by which the stream goes on.
func TestAStreamGoesOn(t *testing.T) {
	e, _ := resumable(t)
	_, _, r := e.follow("?topics=A,B")
	r.want("hello")
	r.want("ack")
	r.want("snapshot")
	e.stamp()
	until(t, func() bool {
		e.publish("A", "2")
		r.want("update")
		return r.id != ""
	}, "an id")
	id := r.id
	e.publish("B", "3")
	_, _, r = e.follow("?topics=A,B", "Last-Event-ID: "+id)
	r.want("hello")
	ack := r.want("ack")
	for _, row := range r.want("snapshot").Rows {
		if string(ack.Resumed) != "true" || row.S == "A" && string(row.V) != "2" {
			t.Errorf("%+v", row)
		}
	}
}
