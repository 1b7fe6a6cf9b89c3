package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
)

// term sends SIGTERM and waits until the edge says something.
func (e *edge) term(says string) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Fatal(err)
	}
	redistest.Eventually(e.t, "the edge says "+says, func() bool { return strings.Contains(e.stderr.String(), says) })
}

// In the delay of a drain the edge is not ready, and everything else is as before.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-drain-delay", "1h")
	before := e.dial("?topics=AAPL")
	before.next("hello")
	before.next("ack")
	e.term("stopping: not ready any more")
	if code, body := e.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("/readyz in the delay: %d %s", code, body)
	}
	if code, out, errs := runEdge(t, []string{"EDGE_ADMIN=" + e.admin}, "healthcheck"); code != 1 || !strings.Contains(errs, "503 Service Unavailable: stopping") {
		t.Errorf("healthcheck in the delay: %d %s%s", code, out, errs)
	}
	if code, body := e.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz in the delay: %d %s", code, body)
	}
	during := e.dial("?topics=AAPL")
	during.next("hello")
	during.next("ack")
	during.next("snapshot")
	for _, c := range []*client{before, during} {
		c.send(`{"op":"ping","id":7}`)
		for m := (message{}); m.T != "pong"; {
			var err error
			if m, err = c.read(); err != nil || m.T == "bye" {
				t.Fatalf("in the delay: %+v (%v)", m, err)
			}
		}
	}
}

// After its delay the drain begins: the port is closed, and clients are told.
func TestDrainBeginsAfterItsDelay(t *testing.T) {
	t.Parallel()
	const delay = time.Second
	e := start(t, "-demo", "-drain-delay", delay.String(), "-drain", "0s")
	if code, out, errs := runEdge(t, []string{"EDGE_ADMIN=" + e.admin}, "healthcheck", "-live"); code != 0 || out != "ok\n" {
		t.Errorf("healthcheck -live: %d %s%s", code, out, errs)
	}
	c := e.dial("")
	c.next("hello")
	begin := time.Now()
	e.term("stopping")
	m := c.next("bye")
	if took := time.Since(begin); took < delay {
		t.Errorf("told to go after %v, want %v", took, delay)
	}
	if m.Code != 1012 || m.RetryMS < 1 || m.RetryMS > 1000 {
		t.Errorf("%+v", m)
	}
	if nc, err := net.Dial("tcp", e.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after the bye: %v", err)
		if err == nil {
			nc.Close()
		}
	}
	_, _ = c.read() // Which answers the close.
	select {
	case <-e.done:
	case <-time.After(patience):
		t.Fatal("the edge does not end")
	}
	if said := e.stderr.String(); e.code != 0 || !strings.Contains(said, `"msg":"stopped","sent_away":1`) {
		t.Errorf("code %d, it said:\n%s", e.code, said)
	}
}

// restarted is what a client sees of a rolling restart.
type restarted struct {
	told, back time.Time
	err        error
}

// follow reads until the edge sends the client away, and does as it is told: it comes back once,
// after retry_ms. It ends with the first row that is newer than those of before.
func follow(e *edge, connected *sync.WaitGroup) (r restarted) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	connect := sync.OnceFunc(connected.Done)
	defer connect()
	read := func(ws *websocket.Conn, until func(m message) bool) (m message, err error) {
		for err == nil && !until(m) {
			var b []byte
			m = message{}
			if _, b, err = ws.Read(ctx); err == nil {
				err = json.Unmarshal(b, &m)
			}
		}
		return m, err
	}
	newest := 0
	row := func(m message) bool {
		if len(m.D) == 0 {
			return false
		}
		newest, r.err = strconv.Atoi(string(m.D[0].V))
		return true
	}
	url := "ws://" + e.addr + "/ws?topics=T&interval=100"
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return restarted{err: err}
	}
	defer ws.CloseNow()
	bye, err := read(ws, func(m message) bool {
		if row(m) {
			connect()
		}
		return m.T == "bye"
	})
	if r.told = time.Now(); err != nil {
		return restarted{err: err}
	}
	if bye.RetryMS < 1 || bye.RetryMS > 1000 {
		return restarted{err: fmt.Errorf("%+v", bye)}
	}
	_, _, _ = ws.Read(ctx) // The close, which is answered.
	<-time.After(time.Until(r.told.Add(time.Duration(bye.RetryMS) * time.Millisecond)))
	again, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return restarted{err: fmt.Errorf("come back after %d ms: %w", bye.RetryMS, err)}
	}
	defer again.CloseNow()
	last := newest
	r.back = time.Now()
	if _, err := read(again, func(m message) bool { return row(m) && newest > last }); err != nil {
		r.err = err
	}
	return r
}

// A restart beside another edge on the same port is no blackout: whoever is sent away and comes
// back when told gets in at once, by the other edge, and gets newer ticks.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const clients, drain = 40, 3 * time.Second
	redis := startRedis(t)
	over, published := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(published)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			redis.Do("SET", "price:T", n)
			redis.Do("PUBLISH", "channel:prices:T", n)
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
	defer func() { close(over); <-published }()
	first := start(t, "-redis", redis.URL(), "-drain", drain.String())
	seen := make([]restarted, clients)
	var connected, following sync.WaitGroup
	connected.Add(clients)
	for i := range seen {
		following.Go(func() { seen[i] = follow(first, &connected) })
	}
	connected.Wait()
	second := start(t, "-redis", redis.URL(), "-listen", first.addr)
	redistest.Eventually(t, "the second is ready", func() bool { code, _ := second.get("/readyz"); return code == http.StatusOK })
	if !strings.Contains(second.stderr.String(), "another process listens on this port too") {
		t.Error("the second does not say that it shares its port")
	}
	begin := time.Now()
	first.term("stopping")
	following.Wait()
	var told, back []time.Duration
	for _, r := range seen {
		if r.err != nil {
			t.Fatal(r.err)
		}
		told, back = append(told, r.told.Sub(begin)), append(back, r.back.Sub(begin))
	}
	// Spread evenly, a quarter is told, and is back, in each quarter. A busy machine makes it later.
	for what, at := range map[string][]time.Duration{"told": told, "back": back} {
		slices.Sort(at)
		if q1, q3 := at[clients/4], at[3*clients/4]; q1 < drain/10 || q3 < drain/2 || q3-q1 < drain/8 {
			t.Errorf("%s from %v to %v, a quarter by %v, three by %v", what, at[0], at[clients-1], q1, q3)
		}
	}
	select {
	case <-first.done:
	case <-time.After(patience):
		t.Fatal("the first does not end")
	}
	said := first.stderr.String()
	if first.code != 0 || !strings.Contains(said, fmt.Sprintf(`"msg":"stopped","sent_away":%d`, clients)) || !strings.Contains(said, `"msg":"draining"`) {
		t.Errorf("code %d, the first said:\n%s", first.code, said)
	}
	if n := second.metric("edge_connections_opened_total"); n != strconv.Itoa(clients) {
		t.Errorf("the second has opened %s connections, want %d", n, clients)
	}
}

// A port that something else has is an error that says which flag to change.
func TestPortsThatAreTaken(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := other.Addr().String()
	for flag, hint := range map[string]string{"-listen": "not with another program", "-admin": "perhaps another edge"} {
		args := []string{"-demo", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", flag, taken}
		out, err := exec.Command(binary, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: %v", flag, err)
		}
		for _, want := range []string{"address already in use", "ss -ltnp", "set " + flag + " to another port", hint} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: %q is not in:\n%s", flag, want, out)
			}
		}
	}
}
