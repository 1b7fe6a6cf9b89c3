// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// resumer is a client that loses its connection and comes back, by a WebSocket or as a stream of events.
type resumer struct {
	t    *testing.T
	name string
	// request says what it asks for at first, and with a token. All else is a command behind the hello.
	request func(token string) (query, lastEventID string, commands []string)
	streams bool
	// fresh holds if it says, when it comes back, that it has no row of E.
	fresh bool

	cut  context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	token   string
	resumed []bool              // Of the acks of this connection that have it.
	rows    map[string][]string // Of this connection.
}

// resumeTopics: A changes while nobody is there, B does not, and C later. D is not held at the other edge.
const resumeTopics = "A,B,C,D,E"

func resumers(t *testing.T) []*resumer {
	parameters := func(token string) string { return "?topics=" + resumeTopics + "&resume=" + token }
	all := []*resumer{
		{name: "WebSocket by its URL", fresh: true, request: func(token string) (string, string, []string) {
			return parameters(token) + "&fresh=E", "", nil
		}},
		{name: "WebSocket by commands", fresh: true, request: func(token string) (string, string, []string) {
			since, _ := json.Marshal(token)
			return "", "", []string{`{"op":"subscribe","topics":["A","B","C","D"],"since":` + string(since) + `}`, `{"op":"subscribe","topics":["E"]}`}
		}},
		{name: "stream by Last-Event-ID", streams: true, request: func(token string) (string, string, []string) {
			return "?topics=" + resumeTopics, token, nil
		}},
		{name: "stream by its URL", streams: true, fresh: true, request: func(token string) (string, string, []string) {
			return parameters(token) + "&fresh=E&events=plain", "", nil
		}},
	}
	for _, r := range all {
		r.t = t
	}
	return all
}

// connect opens a connection with the token that it has, and reads until that ends.
func (r *resumer) connect(e *edge) {
	r.t.Helper()
	r.mu.Lock()
	token := r.token
	r.resumed, r.rows = nil, make(map[string][]string)
	r.mu.Unlock()
	query, lastEventID, commands := r.request(token)
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cut, r.done = cancel, make(chan struct{})
	if r.streams {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.addr+"/sse"+query, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if lastEventID != "" {
			req.Header.Set("Last-Event-ID", lastEventID)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil || res.StatusCode != http.StatusOK {
			r.t.Fatalf("%s: %+v %v", r.name, res, err)
		}
		go r.stream(res)
		return
	}
	c := e.dial(query)
	go r.listen(ctx, c.ws)
	for _, command := range commands {
		c.send(command)
	}
}

func (r *resumer) stream(res *http.Response) {
	defer close(r.done)
	defer res.Body.Close()
	id := ""
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
		case "data":
			r.take([]byte(value))
		case "id":
			id = value
		case "": // The end of an event.
			r.mu.Lock()
			if id != "" {
				r.token = id
			}
			r.mu.Unlock()
		}
	}
}

func (r *resumer) listen(ctx context.Context, ws *websocket.Conn) {
	defer close(r.done)
	defer ws.CloseNow()
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		r.take(b)
	}
}

func (r *resumer) take(payload []byte) {
	received(r.t, payload)
	var m struct {
		message
		Token   string
		Resumed *bool
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		r.t.Errorf("%s: %q: %v", r.name, payload, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.T == "resume" {
		r.token = m.Token
	}
	if m.Resumed != nil {
		r.resumed = append(r.resumed, *m.Resumed)
	}
	for _, row := range m.D {
		r.rows[row.S] = append(r.rows[row.S], string(row.V))
	}
}

// has reports whether the newest row of a topic that came over this connection is a value.
func (r *resumer) has(topic, value string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows := r.rows[topic]
	return len(rows) > 0 && rows[len(rows)-1] == value
}

func (r *resumer) newest() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.token
}

// leave ends the connection from this side, without a word.
func (r *resumer) leave() {
	r.cut()
	<-r.done
}

// price publishes a value as publishers do.
func (r *redisServer) price(topic, value string) {
	r.t.Helper()
	r.Do("SET", "price:"+topic, value)
	r.Do("PUBLISH", "channel:prices:"+topic, value)
}

// takenAt waits until the client has a token by which an edge sends nothing of a topic that it holds. Ticks go on meanwhile,
// as tokens come with them.
func (r *resumer) takenAt(e *edge, redis *redisServer, newest func() string) {
	r.t.Helper()
	redistest.Eventually(r.t, r.name+" has a token that is taken", func() bool {
		redis.price("C", "1")
		c := e.dial("?topics=B&resume=" + url.QueryEscape(newest()))
		defer c.ws.CloseNow()
		c.send(`{"op":"ping","id":1}`) // Its answer is behind the snapshot.
		rows := 0
		for {
			m, err := c.read()
			if err != nil {
				r.t.Fatal(err)
			}
			if rows += len(m.D); m.T == "pong" {
				return rows == 0
			}
		}
	})
}

// comeBack has clients come back to an edge, after A has changed, and looks at what they are sent.
func comeBack(t *testing.T, all []*resumer, e *edge, redis *redisServer, value string, want map[string]bool) {
	t.Helper()
	for _, r := range all {
		r.connect(e)
	}
	for _, r := range all {
		redistest.Eventually(t, r.name+" has what has changed", func() bool { return r.has("A", value) })
	}
	redis.price("C", value+"00")
	for _, r := range all {
		redistest.Eventually(t, r.name+" has what changes now", func() bool { return r.has("C", value+"00") })
		if want["D"] {
			redistest.Eventually(t, r.name+" has what was not held", func() bool { return r.has("D", "1") })
		}
		r.mu.Lock()
		if !slices.Equal(r.resumed, []bool{true}) {
			t.Errorf("%s: resumed is %v", r.name, r.resumed)
		}
		if rows := r.rows["A"]; !slices.Equal(rows, []string{value}) {
			t.Errorf("%s: rows %q of what has changed once", r.name, rows)
		}
		if rows := r.rows["B"]; len(rows) > 0 {
			t.Errorf("%s: rows %q of what has not changed", r.name, rows)
		}
		if got := len(r.rows["D"]) > 0; got != want["D"] {
			t.Errorf("%s: rows %q of what the edge may not hold", r.name, r.rows["D"])
		}
		if got := len(r.rows["E"]) > 0; got != r.fresh {
			t.Errorf("%s: rows %q of what it may have said that it has", r.name, r.rows["E"])
		}
		r.mu.Unlock()
	}
}

// Connections are cut, and then an edge is killed. Clients come back to the same edge and to the other one, and are sent what
// has changed meanwhile, and nothing else that the edge holds.
func TestResume(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	for topic := range strings.SplitSeq(resumeTopics, ",") {
		redis.price(topic, "1")
	}
	args := []string{"-redis", redis.URL(), "-resume-tolerance", "500ms"}
	one, two := start(t, args...), start(t, args...)
	for _, e := range []*edge{one, two} {
		redistest.Eventually(t, "the edge is ready", func() bool { code, _ := e.get("/readyz"); return code == http.StatusOK })
	}
	// Who stays has the other edge hold all topics but one.
	stays := &resumer{t: t, name: "who stays", request: func(string) (string, string, []string) { return "?topics=A,B,C,E", "", nil }}
	stays.connect(two)
	all := resumers(t)
	for _, r := range all {
		r.connect(one)
	}
	for _, r := range all {
		redistest.Eventually(t, r.name+" has all rows", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.rows) == len(strings.Split(resumeTopics, ","))
		})
		r.takenAt(one, redis, r.newest)
	}
	for _, r := range all {
		r.leave()
	}
	redis.price("A", "2")
	redistest.Eventually(t, "A has changed", func() bool { return stays.has("A", "2") })
	comeBack(t, all, one, redis, "2", nil)

	for _, r := range all {
		r.takenAt(two, redis, r.newest)
	}
	_ = one.cmd.Process.Kill()
	<-one.done
	for _, r := range all {
		<-r.done
	}
	redis.price("A", "3")
	redistest.Eventually(t, "A has changed", func() bool { return stays.has("A", "3") })
	comeBack(t, all, two, redis, "3", map[string]bool{"D": true})
	stays.leave()
	for _, r := range all {
		r.leave()
	}
}
