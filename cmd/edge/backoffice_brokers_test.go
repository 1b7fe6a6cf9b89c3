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
