// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

const apiKey = "0123456789abcdef0123456789abcdef"

// withAPI returns the flags of a back office.
func withAPI(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("desk:"+apiKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-api", "127.0.0.1:0", "-api-key-file", file}
}

// apiAddr is where the back office of an edge is.
func (e *edge) apiAddr() (addr string) {
	for line := range strings.Lines(e.stderr.String()) {
		var said struct{ Msg, Addr string }
		if _ = json.Unmarshal([]byte(line), &said); said.Msg == "back office open" {
			addr = said.Addr
		}
	}
	return addr
}

// call asks the back office of an edge.
func (e *edge) call(method, path, kind, body string) (code int, answer string) {
	e.t.Helper()
	req, err := http.NewRequest(method, "http://"+e.apiAddr()+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", kind)
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// What is published to the back office comes to clients, and a null takes it away.
func TestBackOfficePublishes(t *testing.T) {
	t.Parallel()
	e := start(t, append(withAPI(t), "-source", "memory")...)
	c := e.dial("?topics=A,B")
	c.next("hello")
	redistest.Eventually(t, "both topics are held", func() bool { return e.metric("edge_feed_channels") == "3" })
	code, answer := e.call("POST", "/publish", "application/json", `{"topic":"A","value":{"p":1},"ver":5}`)
	if code != 200 || answer != `{"topic":"A","ver":5,"result":"taken"}`+"\n" {
		t.Fatalf("%d %s", code, answer)
	}
	want := func(topic, value string) {
		t.Helper()
		for {
			m, err := c.read()
			if err != nil {
				t.Fatalf("no %s of %s: %v", value, topic, err)
			}
			for _, d := range m.D {
				if d.S == topic && string(d.V) == value {
					return
				}
			}
		}
	}
	want("A", `{"p":1,"ver":5}`)
	_, answer = e.call("POST", "/publish", "application/x-ndjson",
		`{"topic":"A","value":{"p":2},"ver":4}`+"\n"+`{"topic":"B","value":{"p":3},"ver":9}`+"\n"+`{"topic":"B","value":null,"ver":8}`+"\n"+`{"topic":"A","value":null}`+"\n")
	lines := strings.Split(answer, "\n")
	for i, may := range []string{"outdated superseded", "taken", "outdated superseded", "taken"} {
		var line struct{ Result string }
		if len(lines) != 5 || json.Unmarshal([]byte(lines[i]), &line) != nil || !strings.Contains(may, line.Result) {
			t.Fatalf("line %d of %s, want %s", i, answer, may)
		}
	}
	want("A", "null")
	if code := e.stop(); code != 0 {
		t.Errorf("code %d", code)
	}
}

// An operator sees who is there, and sends them away with a code, a reason and an advice.
func TestBackOfficeEndsConnections(t *testing.T) {
	t.Setenv("EDGE_JWT_SECRET", tokenSecret)
	e := start(t, append(withAPI(t), "-source", "memory", "-loops", "2", "-origin", "*")...)
	token := func(user string) string {
		return signed("HS256", fmt.Sprintf(`{"sub":%q,"exp":%d}`, user, time.Now().Add(time.Hour).Unix()), withSecret)
	}
	clients := map[string]*client{}
	for _, user := range []string{"ann", "bob", "bob/2"} {
		c, _, err := e.try(arrival{token: token(user), query: "?topics=A,T:" + strings.ReplaceAll(user, "/", "")})
		if err != nil {
			t.Fatal(err)
		}
		c.next("hello")
		clients[user] = c
	}
	var page struct {
		Conns []struct {
			ID, User, Address, Transport, State string
			Topics                              int
			Since                               int64
		}
	}
	list := func(query string) int {
		t.Helper()
		code, answer := e.call("GET", "/conns"+query, "", "")
		page.Conns = nil
		if err := json.Unmarshal([]byte(answer), &page); err != nil || code != 200 {
			t.Fatalf("%d %s", code, answer)
		}
		return len(page.Conns)
	}
	for query, n := range map[string]int{"": 3, "?user=bob": 1, "?topic=A": 3, "?topic=T:ann": 1, "?topic=Z": 0, "?address=127.0.0.1": 3, "?address=127.0.0.9": 0} {
		if got := list(query); got != n {
			t.Errorf("%s: %d, want %d", query, got, n)
		}
	}
	if list("?user=ann"); page.Conns[0].User != "ann" || page.Conns[0].Transport != "websocket" || page.Conns[0].Topics != 2 || page.Conns[0].Since < time.Now().Unix()-600 {
		t.Errorf("%+v", page.Conns)
	}
	id := page.Conns[0].ID
	if code, answer := e.call("GET", "/conns/"+id, "", ""); code != 200 || !strings.Contains(answer, `"user":"ann"`) {
		t.Errorf("%d %s", code, answer)
	}
	if _, answer := e.call("GET", "/topics?limit=1", "", ""); !strings.Contains(answer, `"topics":[{"topic":"A","subscribers":3}]`) {
		t.Errorf("%s", answer)
	}
	ended := func(user string, code int, reason string, retry int) {
		t.Helper()
		m, err := clients[user].read()
		for err == nil && m.T != "bye" {
			m, err = clients[user].read()
		}
		if err != nil || m.Code != code || m.Reason != reason || m.RetryMS != retry {
			t.Errorf("%+v", m)
		}
		if _, err := clients[user].read(); int(websocket.CloseStatus(err)) != code {
			t.Errorf("%v, want %d", err, code)
		}
	}
	if code, answer := e.call("DELETE", "/conns/"+id+"?code=4100&reason=moving&retry_ms=700", "", ""); code != 200 || !strings.Contains(answer, `"disconnected":1`) {
		t.Errorf("%d %s", code, answer)
	}
	ended("ann", 4100, "moving", 700)
	if code, answer := e.call("DELETE", "/users/bob%2F2", "", ""); code != 200 || !strings.Contains(answer, `"disconnected":1`) {
		t.Errorf("%d %s", code, answer)
	}
	ended("bob/2", 4505, "ended by an operator", 0)
	redistest.Eventually(t, "bob alone is left", func() bool { return list("") == 1 && page.Conns[0].User == "bob" })
	redistest.Eventually(t, "both are counted", func() bool { return e.metric(`edge_connections_closed_total{code="4505",reason="operator"}`) == "2" })
	if n := e.metric(`edge_api_requests_total{code="200",route="/users/{user}"}`); n != "1" {
		t.Errorf("%s requests were counted", n)
	}
}

// A back office that nobody may call, or everybody could listen to, keeps the edge from starting.
func TestBackOfficeNeedsACaller(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-api", "127.0.0.1:0"}, append(withAPI(t), "-api", "0.0.0.0:0")} {
		cmd := exec.Command(binary, append([]string{"-demo", "-listen", "127.0.0.1:0", "-admin="}, args...)...)
		out, _ := cmd.CombinedOutput()
		code, said := cmd.ProcessState.ExitCode(), string(out)
		if code != 2 || !strings.Contains(said, "-api") || strings.Contains(said, apiKey) {
			t.Errorf("%v: %d %s", args, code, said)
		}
	}
}

// announced reads up to the announcement of these texts, in any order, and no other.
func (c *client) announced(want ...string) {
	c.t.Helper()
	texts := map[string]bool{}
	for len(texts) < len(want) {
		m, err := c.read()
		if err != nil {
			c.t.Fatalf("%v; has %v", err, texts)
		}
		if m.T == "announcement" {
			texts[m.Text] = true
		}
	}
	for _, text := range want {
		if !texts[text] {
			c.t.Errorf("has %v, want %s", texts, text)
		}
	}
}

// A user who is told something or sent away at one edge is at all that share its broker, and once.
func TestBackOfficeReachesAUserEverywhere(t *testing.T) {
	t.Setenv("EDGE_JWT_SECRET", tokenSecret)
	redis := startRedis(t)
	var edges [2]*edge
	var clients [2]*client
	dial := func(i int) {
		t.Helper()
		token := signed("HS256", fmt.Sprintf(`{"sub":"ann","exp":%d}`, time.Now().Add(time.Hour).Unix()), withSecret)
		c, _, err := edges[i].try(arrival{token: token, query: "?topics=A,tickedge:control"})
		if err != nil {
			t.Fatal(err)
		}
		c.next("hello")
		if ack := c.next("ack"); len(ack.Rejected) != 1 || ack.Rejected[0].Code != 403 {
			t.Errorf("%+v", ack)
		}
		clients[i] = c
	}
	for i := range edges {
		edges[i] = start(t, append(withAPI(t), "-source", redis.URL(), "-origin", "*")...)
		dial(i)
		redistest.Eventually(t, "both topics are held", func() bool { return edges[i].metric("edge_feed_channels") == "2" })
	}
	code, answer := edges[0].call("POST", "/announce", "application/json", `{"text":"To \"ann\"","to":{"user":"ann"}}`)
	if code != 200 || answer != `{"scope":"all edges","sent":1,"skipped":0}`+"\n" {
		t.Errorf("%d %s", code, answer)
	}
	if _, answer = edges[1].call("POST", "/announce", "application/json", `{"text":"To all"}`); !strings.Contains(answer, `"sent":1`) {
		t.Errorf("%s", answer)
	}
	if code, answer = edges[1].call("POST", "/announce", "application/json", `{"text":"To nobody","to":{"user":"bob"}}`); code != 200 || !strings.Contains(answer, `"sent":0`) {
		t.Errorf("%d %s", code, answer)
	}
	for _, c := range clients {
		c.announced(`To "ann"`, "To all")
	}
	code, answer = edges[0].call("DELETE", "/users/ann?code=4600&reason=closed", "", "")
	if code != 200 || answer != `{"disconnected":1,"scope":"all edges"}`+"\n" {
		t.Errorf("%d %s", code, answer)
	}
	for i, c := range clients {
		m, err := c.read()
		for err == nil && m.T != "bye" {
			m, err = c.read()
		}
		if err != nil || m.Code != 4600 || m.Reason != "closed" {
			t.Errorf("edge %d: %+v %v", i, m, err)
		}
		if _, err := c.read(); int(websocket.CloseStatus(err)) != 4600 {
			t.Errorf("edge %d: %v", i, err)
		}
	}
	redistest.Eventually(t, "the other edge says so", func() bool { return edges[1].metric(`edge_api_commands_total{result="done"}`) == "2" })
	// The same value again, and an old command: who has come back stays.
	dial(1)
	value := redis.cli("GET", "price:tickedge:control")
	redis.cli("PUBLISH", "channel:prices:tickedge:control", value)
	redis.cli("PUBLISH", "channel:prices:tickedge:control",
		fmt.Sprintf(`{"commands":[{"id":"0123456789abcdef","at":%d,"do":"disconnect","user":"ann","code":4600}],"ver":%d}`, time.Now().Add(-time.Minute).UnixMilli(), time.Now().UnixMicro()))
	redistest.Eventually(t, "an old command is counted", func() bool { return edges[1].metric(`edge_api_commands_total{result="old"}`) == "1" })
	if n := edges[1].metric(`edge_api_commands_total{result="done"}`); n != "2" {
		t.Errorf("%s commands were done", n)
	}
	if code, answer := edges[1].call("GET", "/conns?user=ann", "", ""); code != 200 || !strings.Contains(answer, `"state":"open"`) {
		t.Errorf("%d %s", code, answer)
	}
	if _, answer := edges[1].call("GET", "/topics", "", ""); strings.Contains(answer, "tickedge:") {
		t.Errorf("%s", answer)
	}
}

// A broker that does not let the edge write what edges tell each other takes values all the same.
func TestBackOfficeMayNotTellEdges(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.cli("ACL", "SETUSER", "some", "on", ">word", "%RW~price:A", "&*", "+@all")
	e := start(t, append(withAPI(t), "-source", strings.Replace(redis.URL(), "redis://", "redis://some:word@", 1))...)
	redistest.Eventually(t, "the feed is up", func() bool { return e.stderr.Count("feed up") > 0 })
	if code, answer := e.call("DELETE", "/users/ann", "", ""); code != 202 || answer != `{"disconnected":0,"scope":"this edge"}`+"\n" {
		t.Errorf("%d %s", code, answer)
	}
	if code, answer := e.call("POST", "/publish", "application/json", `{"topic":"A","value":{"p":1},"ver":5}`); code != 200 || !strings.Contains(answer, "taken") {
		t.Errorf("%d %s", code, answer)
	}
}
