// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// What an operator tells one edge comes to a user at all edges of the broker, whatever broker that is, and the broker
// being two is no exception.
func TestBackOfficeReachesAUserByAnyBroker(t *testing.T) {
	t.Setenv("EDGE_JWT_SECRET", tokenSecret)
	nats := startNATS(t, natsConfig{jetStream: true})
	jetStream(t, natsConn(t, nats.url(natsPublisher, natsSecret)), 1)
	at := "nats://" + edgeUser + ":" + edgePassword + "@" + nats.addr
	redis := startRedis(t)
	for name, source := range map[string]string{
		"nats core":             at + "?mode=core&subject=other.{topic}",
		"nats core, all topics": at + "?mode=core&wildcard=true&subject=all.{topic}",
		"nats jetstream":        at + natsJetStream.query(),
		"redis and nats":        redis.URL() + "|" + at + "?mode=core&subject=pair.{topic}",
		"jetstream and redis":   at + natsJetStream.query() + "|" + redis.URL(),
	} {
		t.Run(name, func(t *testing.T) { reachesAll(t, source, 2) })
	}
	t.Run("memory", func(t *testing.T) { reachesAll(t, "memory", 1) })
}

// reachesAll demands that what one edge of a broker is told reaches a user at each, once.
func reachesAll(t *testing.T, source string, n int) {
	edges, clients := make([]*edge, n), make([]*client, n)
	for i := range edges {
		edges[i] = start(t, append(withAPI(t), "-source", source, "-origin", "*")...)
		redistest.Eventually(t, "values are current", func() bool { return edges[i].metric(`edge_feed_current{source="*"}`) == "1" })
		token := signed("HS256", fmt.Sprintf(`{"sub":"ann","exp":%d}`, time.Now().Add(time.Hour).Unix()), withSecret)
		c, _, err := edges[i].try(arrival{token: token, query: "?topics=A"})
		if err != nil {
			t.Fatal(err)
		}
		c.next("hello")
		clients[i] = c
	}
	code, answer := edges[0].call("POST", "/announce", "application/json", `{"text":"To ann","to":{"user":"ann"}}`)
	if code != 200 || !strings.Contains(answer, `"scope":"all edges"`) {
		t.Errorf("%d %s", code, answer)
	}
	for _, c := range clients {
		c.announced("To ann")
	}
	if code, answer = edges[n-1].call("DELETE", "/users/ann?code=4600&reason=closed", "", ""); code != 200 || !strings.Contains(answer, `"scope":"all edges"`) {
		t.Errorf("%d %s", code, answer)
	}
	for i, c := range clients {
		m, err := c.read()
		for err == nil && m.T != "bye" && m.T != "announcement" {
			m, err = c.read()
		}
		if err != nil || m.T != "bye" || m.Code != 4600 {
			t.Errorf("edge %d: %+v %v", i, m, err)
		}
		if _, err := c.read(); int(websocket.CloseStatus(err)) != 4600 {
			t.Errorf("edge %d: %v", i, err)
		}
	}
	for i, e := range edges[:n-1] {
		redistest.Eventually(t, "the command of the other is counted", func() bool { return e.metric(`edge_api_commands_total{result="done"}`) == "1" })
		if old := edges[i+1].metric(`edge_api_commands_total{result="done"}`); old != "1" {
			t.Errorf("edge %d: %s commands were done", i+1, old)
		}
	}
	for _, e := range edges {
		if code := e.stop(); code != 0 {
			t.Errorf("code %d", code)
		}
	}
}

// A topic that the broker does not let the edge publish is answered at once, and others are taken.
func TestBackOfficeIsDenied(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	redis.cli("ACL", "SETUSER", edgeUser, "on", ">"+edgePassword, "%RW~price:A", "%RW~price:C", "&*", "+@all")
	core := startNATS(t, natsConfig{denied: []string{"B", natsPrefix + "B"}})
	stream := startNATS(t, natsConfig{jetStream: true, denied: []string{natsPrefix + "B"}})
	jetStream(t, natsConn(t, stream.url(natsPublisher, natsSecret)), 1)
	for name, source := range map[string]string{
		"redis":          strings.Replace(redis.URL(), "redis://", "redis://"+edgeUser+":"+edgePassword+"@", 1),
		"nats core":      core.url(edgeUser, edgePassword) + "?mode=core",
		"nats jetstream": stream.url(edgeUser, edgePassword) + natsJetStream.query(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, append(withAPI(t), "-source", source)...)
			for round := 1; round <= 2; round++ {
				_, answer := e.call("POST", "/publish", "application/x-ndjson", fmt.Sprintf(
					`{"topic":"A","value":{"p":1},"ver":%d}`+"\n"+`{"topic":"B","value":{"p":1},"ver":%[1]d}`+"\n"+`{"topic":"C","value":{"p":1},"ver":%[1]d}`, round))
				want := fmt.Sprintf(`{"topic":"A","ver":%d,"result":"taken"}`+"\n"+
					`{"topic":"B","ver":%[1]d,"result":"denied","error":"the broker does not take this topic: its user may not publish it"}`+"\n"+
					`{"topic":"C","ver":%[1]d,"result":"taken"}`+"\n", round)
				if answer != want {
					t.Errorf("%s", answer)
				}
			}
			if code, _ := e.call("POST", "/publish", "application/json", `{"topic":"B","value":{"p":1}}`); code != 422 {
				t.Errorf("%d", code)
			}
			if n := e.metric(`edge_api_values_total{result="denied"}`); n != "3" || e.stderr.Count(edgePassword) != 0 {
				t.Errorf("%s are denied, or the log has the password", n)
			}
		})
	}
}
