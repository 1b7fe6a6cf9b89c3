// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// jsonLines decodes a page of JSON objects, one a line.
func jsonLines[T any](t *testing.T, body string) (all []T) {
	t.Helper()
	for line := range strings.Lines(body) {
		var of T
		if err := json.Unmarshal([]byte(line), &of); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, of)
	}
	return all
}

// debugConn is what the test looks at of a line of /debug/conns, or of /debug/evictions.
type debugConn struct {
	Conn, Remote, State, Reason string
	At                          time.Time
	Code, Topics                int
	Window                      int `json:"interval_ms"`
}

// Who is cut off for its commands is found at /debug/evictions, and the others at
// /debug/conns in the order asked for.
func TestDebugPages(t *testing.T) {
	e := start(t, "-demo", "-loops", "2", "-command-rate", "1", "-command-burst", "3")
	if status, body := e.get("/debug/conns"); status != http.StatusOK || body != "" {
		t.Errorf("without connections: %d %q", status, body)
	}
	e.dial("?topics=AAPL").next("hello")
	e.dial("?topics=AAPL,MSFT,TSLA").next("hello")
	e.dial("?topics=AAPL,MSFT").next("hello")

	flooder := e.dial("")
	name := struct{ Conn string }{}
	hello, refused := true, 0
	for {
		_, b, err := flooder.ws.Read(t.Context())
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(b, &m) != nil {
			t.Fatalf("%q", b)
		}
		if hello {
			_ = json.Unmarshal(b, &name)
			for range 30 {
				if flooder.ws.Write(t.Context(), websocket.MessageText, []byte(`{"op":"ping","id":7}`)) != nil {
					break // It has been cut off, as it is meant to be.
				}
			}
			hello = false
			continue
		}
		if m.T == "error" && m.Code == 429 && string(m.ID) == "7" {
			refused++
		}
		if m.T == "bye" && m.Code != 4503 {
			t.Errorf("bye %d, want 4503", m.Code)
		}
	}
	if refused == 0 {
		t.Error("nothing was answered with 429")
	}
	redistest.Eventually(t, "the flooder is closed", func() bool {
		return e.metric(`edge_connections_closed_total{code="4503",reason="command_rate"}`) == "1"
	})
	if got := e.metric(`edge_too_fast_total{what="command"}`); got == "0" {
		t.Error("no refused command was counted")
	}

	_, body := e.get("/debug/evictions")
	gone := jsonLines[debugConn](t, body)
	if len(gone) != 1 || gone[0].Conn != name.Conn || gone[0].Reason != "command_rate" || gone[0].Code != 4503 ||
		!strings.HasPrefix(gone[0].Remote, "127.0.0.1:") || gone[0].State != "open" || gone[0].At.IsZero() {
		t.Errorf("evictions %+v, want that of %s", gone, name.Conn)
	}
	_, body = e.get("/debug/conns?sort=topics&n=2")
	if conns := jsonLines[debugConn](t, body); len(conns) != 2 || conns[0].Topics != 3 || conns[1].Topics != 2 || conns[0].Window != 500 {
		t.Errorf("the two with the most topics: %+v", conns)
	}
	_, body = e.get("/debug/conns")
	if conns := jsonLines[debugConn](t, body); len(conns) != 3 {
		t.Errorf("%d connections, want 3", len(conns))
	}
	for _, query := range []string{"sort=name", "n=0", "n=many", "n=10001"} {
		if status, body := e.get("/debug/conns?" + query); status != http.StatusBadRequest || !strings.Contains(body, "sort=S&n=N") {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
}

// A connection that is as old as it may be is sent away, and may come back at once.
func TestMaxAge(t *testing.T) {
	e := start(t, "-demo", "-max-age", "1s")
	c := e.dial("?topics=AAPL")
	for {
		m, err := c.read()
		if err != nil {
			t.Fatal("no bye:", err)
		}
		if m.T == "bye" {
			if m.Code != 4004 {
				t.Errorf("bye %d, want 4004", m.Code)
			}
			return
		}
	}
}
