// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// A value that is there, one that is published, and a burst take the whole way from
// redis-cli to a client.
func TestRedisToClient(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL())
	redistest.Eventually(t, "the edge is ready", func() bool { code, _ := e.get("/readyz"); return code == http.StatusOK })

	redis.cli("SET", "price:AAPL", `{"p":189.9}`)
	c := e.dial("")
	c.next("hello")
	c.send(`{"op":"subscribe","topics":["AAPL"],"id":1}`)
	if m := c.next("ack"); string(m.ID) != "1" || m.Op != "subscribe" || string(m.Topics) != "1" {
		t.Errorf("ack %+v", m)
	}
	m := c.next("snapshot")
	if len(m.D) != 1 || m.D[0].S != "AAPL" || string(m.D[0].V) != `{"p":189.9}` {
		t.Fatalf("snapshot %+v", m)
	}
	first := m.D[0].N

	redis.cli("PUBLISH", "channel:prices:AAPL", `{"p":190.1}`)
	m = c.next("update")
	if len(m.D) != 1 || m.D[0].S != "AAPL" || m.D[0].N != first+1 || string(m.D[0].V) != `{"p":190.1}` {
		t.Fatalf("update %+v", m)
	}

	// One script, so that the burst is a burst.
	begin := time.Now()
	redis.cli("EVAL", `for i=1,1000 do redis.call('PUBLISH','channel:prices:AAPL','{"p":'..i..'}') end`, "0")
	frames, last := 0, m.D[0].N
	for last < first+1001 {
		m = c.next("update")
		frames++
		if len(m.D) != 1 {
			t.Fatalf("an update has %d rows of one topic", len(m.D))
		}
		if m.D[0].N <= last {
			t.Fatalf("n went from %d to %d", last, m.D[0].N)
		}
		last = m.D[0].N
	}
	if string(m.D[0].V) != `{"p":1000}` || last != first+1001 {
		t.Errorf("the last row is %+v", m.D[0])
	}
	// At most a row per window, and one for the window that was under way.
	if windows := int(time.Since(begin)/(500*time.Millisecond)) + 1; frames > windows {
		t.Errorf("%d rows in %d windows", frames, windows)
	}
}

// A client leaves nothing behind: not its subscriptions, and after the linger not its
// Redis channels either.
func TestSubscriptionsEnd(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL())
	c := e.dial("?topics=A,B,C")
	c.next("hello")
	c.next("ack")
	redistest.Eventually(t, "Redis has three channels", func() bool {
		return len(strings.Fields(redis.cli("PUBSUB", "CHANNELS"))) == 3
	})
	if got := e.metric("edge_subscriptions"); got != "3" {
		t.Errorf("edge_subscriptions %s", got)
	}
	c.ws.Close(websocket.StatusNormalClosure, "")
	redistest.Eventually(t, "the subscriptions end", func() bool { return e.metric("edge_subscriptions") == "0" })
	if got := e.metric("edge_topics"); got != "3" {
		t.Errorf("edge_topics %s during the linger", got)
	}
	const linger = 30 * time.Second
	for deadline := time.Now().Add(linger + patience); ; time.Sleep(200 * time.Millisecond) {
		if redis.cli("PUBSUB", "CHANNELS") == "" && e.metric("edge_topics") == "0" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("channels %q, topics %s", redis.cli("PUBSUB", "CHANNELS"), e.metric("edge_topics"))
		}
	}
}

// SIGTERM: the port is closed, each client is told when to come back, the code is 0.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-drain", "2s")
	clients := make([]*client, 20)
	for i := range clients {
		clients[i] = e.dial("?topics=AAPL")
		clients[i].next("hello")
	}
	result := make(chan error, len(clients))
	for _, c := range clients {
		go func() {
			var bye message
			for {
				m, err := c.read()
				if err == nil {
					if m.T == "bye" {
						bye = m
					}
					continue
				}
				if websocket.CloseStatus(err) != websocket.StatusServiceRestart {
					result <- err
				} else if bye.Code != 1012 || bye.RetryMS <= 0 {
					result <- errors.New("no bye with retry_ms before the close")
				} else {
					result <- nil
				}
				return
			}
		}()
	}
	begin := time.Now()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	refused := false
	for range clients {
		if err := <-result; err != nil {
			t.Error(err)
		}
		if !refused {
			// With most clients still there, the port is closed already.
			_, err := net.Dial("tcp", e.addr)
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial during the drain: %v", err)
			}
			refused = true
			if code, body := e.get("/readyz"); code != http.StatusServiceUnavailable {
				t.Errorf("/readyz during the drain: %d %s", code, body)
			}
		}
	}
	select {
	case <-e.done:
	case <-time.After(patience):
		t.Fatal("the edge does not end")
	}
	if e.code != 0 {
		t.Errorf("exit code %d", e.code)
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("20 clients were sent away within %v, not spread over 2s", took)
	}
}

// Who does not want to wait for the drain sends a second signal.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for stage, says := range map[string]string{"-drain-delay": "stopping", "-drain": "the client port is closed"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			e := start(t, "-demo", stage, "1h")
			for range 5 {
				e.dial("").next("hello")
			}
			e.term(says)
			time.Sleep(200 * time.Millisecond) // Sooner, it would be the same signal from another side.
			if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case <-e.done:
			case <-time.After(patience):
				t.Fatal("the edge goes on")
			}
			if !strings.Contains(e.stderr.String(), "told to a second time") {
				t.Error("it does not say why")
			}
			if status := e.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
				t.Errorf("ended with %v", e.cmd.ProcessState)
			}
		})
	}
}

// A terminal that was closed or is somebody else's, a log whose reader has gone, and signals that mean
// something to other programs, are no reason to send clients away.
func TestSignalsThatDoNotEndIt(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	c := e.dial("")
	c.next("hello")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGTTOU, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGXFSZ} {
		if err := e.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	// A signal that is ignored leaves no trace: one that is not has ended the process
	// before this, which was sent after it, or has stopped it.
	c.send(`{"op":"ping","id":7}`)
	for {
		if m, err := c.read(); err != nil {
			t.Fatal(err)
		} else if m.T == "pong" {
			break
		}
	}
	if code := e.stop(); code != 0 {
		t.Errorf("ended with %v, want 0 by SIGTERM", e.cmd.ProcessState)
	}
}

// SIGQUIT ends it at once and shows what all its goroutines do: for an edge that hangs.
func TestQuitShowsStacks(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	if err := e.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.done:
	case <-time.After(patience):
		t.Fatal("the edge does not end")
	}
	if e.code != 2 || !strings.Contains(e.stderr.String(), "loop.(*engine).drive") {
		t.Errorf("code %d, and it said:\n%s", e.code, e.stderr.String())
	}
}

// The admin port says how the edge is, and the feed.
func TestAdmin(t *testing.T) {
	t.Parallel()
	e := start(t, "-redis", "redis://user:hunter2@127.0.0.1:1/0")
	if code, body := e.get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz %d %q", code, body)
	}
	redistest.Eventually(t, "the feed has failed once", func() bool {
		_, body := e.get("/readyz")
		return strings.Contains(body, "connect")
	})
	if code, body := e.get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz without Redis: %d %q", code, body)
	}
	if got := e.metric(`edge_feed_connected{source="*"}`); got != "0" {
		t.Errorf("edge_feed_connected %s", got)
	}
	if code, _ := e.get("/debug/pprof/goroutine?debug=1"); code != 200 {
		t.Errorf("/debug/pprof %d", code)
	}
	if strings.Contains(e.stderr.String(), "hunter2") {
		t.Error("the log has the password of Redis")
	}
	// Clients are served all the same: they get their rows when Redis is back.
	c := e.dial("?topics=AAPL")
	c.next("hello")
	c.next("ack")
}

// Two edges with the same flags would share the clients of one port. The second finds
// the admin port taken.
func TestSecondAdminPort(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	out, err := exec.Command(binary, "-demo", "-listen", "127.0.0.1:0", "-admin", e.admin).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "-admin") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The metrics agree with what a client has seen.
func TestMetrics(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	e := start(t, "-redis", redis.URL())
	c := e.dial("?topics=T&interval=100")
	c.next("hello")
	c.next("ack")
	redistest.Eventually(t, "the channel is subscribed", func() bool { return e.metric("edge_feed_channels") == "1" })
	redis.cli("EVAL", `for i=1,50 do redis.call('PUBLISH','channel:prices:T',i) end`, "0")
	redis.cli("PUBLISH", "channel:prices:T", "{not json")
	rows := 0
	for last := uint64(0); last < 50; rows++ {
		last = c.next("update").D[0].N
	}
	for name, want := range map[string]string{
		`edge_connections{state="open"}`:                                 "1",
		`edge_connections_opened_total{transport="websocket"}`:           "1",
		`edge_feed_ticks_total`:                                          "50",
		`edge_feed_invalid_total{reason="not_json"}`:                     "1",
		`edge_rows_sent_total{kind="update"}`:                            strconv.Itoa(rows),
		`edge_frames_sent_total{kind="update"}`:                          strconv.Itoa(rows),
		`edge_rows_offered_total`:                                        "50",
		`edge_connections_closed_total{code="1001",reason="peer_close"}`: "0",
	} {
		redistest.Eventually(t, name+" is "+want, func() bool { return e.metric(name) == want })
	}
	if n, err := strconv.Atoi(e.metric("edge_rows_conflated_total")); err != nil || n < 50-rows || n > 50 {
		t.Errorf("edge_rows_conflated_total %d after %d rows of 50 ticks", n, rows)
	}
	c.ws.Close(websocket.StatusGoingAway, "")
	redistest.Eventually(t, "the close is counted", func() bool {
		return e.metric(`edge_connections_closed_total{code="1001",reason="peer_close"}`) == "1"
	})
}
