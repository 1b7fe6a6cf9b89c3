// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tickedge/internal/alertapi"
	"tickedge/internal/guard"
)

// calls are one of each method of a store, with a body if it has one.
var calls = map[string]string{
	"POST /alerts": apple, "PATCH /alerts/1": `{"note":"x"}`, "DELETE /alerts/1": "", "GET /alerts/fired?user_id=1": "", "GET /alerts": "",
	"GET /alerts/1?user_id=1": "",
}

// A store that is away, slow or broken.
func TestStore(t *testing.T) {
	s := newSite(t, nil)
	s.put(apple)
	all := func(status int, what string) {
		t.Helper()
		for call, body := range calls {
			method, target, _ := strings.Cut(call, " ")
			res := s.ask(method, target, body)
			got := text(t, res)
			if res.StatusCode != status || strings.Contains(got, "on fire") || status == 503 && res.Header.Get("Retry-After") != "2" {
				t.Errorf("%s, %s: %d %s", what, call, res.StatusCode, got)
			}
		}
	}
	s.store.fail = func(context.Context, string) error { return errors.New("the disk is on fire") }
	all(503, "away")
	s.store.fail = func(_ context.Context, method string) error {
		if method == "get" || method == "list" {
			return nil
		}
		return errors.New("it takes no more, and is on fire")
	}
	s.want(503, "PATCH", "/alerts/1", `{"note":"x"}`)
	s.want(503, "DELETE", "/alerts/1", "")
	if n := s.log.Count("on fire"); n != len(calls)+2 {
		t.Errorf("%d lines", n)
	}
	s.store.fail = func(context.Context, string) error { panic("on demand") }
	all(500, "broken")
	if s.store.fail = nil; len(s.changed) != 1 || s.store.alerts[1].Arm != 1 || len(s.store.alerts) != 1 {
		t.Errorf("told %+v of %+v", s.changed, s.store.alerts)
	}
	s.want(200, "GET", "/alerts/1", "")
	before := s
	s = newSite(t, func(c *alertapi.Config) { c.Time = time.Millisecond; c.Requests = 1 })
	s.store.alerts, s.store.last = before.store.alerts, 1
	s.store.fail = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	all(503, "slow")
}

// More at a time than may be, and more of an address than may be.
func TestLimits(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(c *alertapi.Config) { c.Requests = 1 })
	s.store.fail = func(context.Context, string) error { entered <- struct{}{}; <-leave; return nil }
	first := make(chan *http.Response)
	go func() { first <- s.ask("GET", "/alerts", "") }()
	<-entered
	res := s.ask("POST", "/alerts", apple)
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" || !strings.Contains(text(t, res), "at a time") {
		t.Errorf("a second request: %d", res.StatusCode)
	}
	close(leave)
	if res := <-first; res.StatusCode != 200 {
		t.Errorf("the first request: %d", res.StatusCode)
	}
	s = newSite(t, func(c *alertapi.Config) {
		c.Rate = guard.Rate{PerSecond: 1, Burst: 3}
		c.Trusted, _ = guard.ParseTrusted("192.0.2.1")
	})
	codes := map[int]int{}
	for range 1000 {
		res := s.ask("GET", "/alerts", "", "X-Forwarded-For: 10.0.0.1")
		if codes[res.StatusCode]++; res.StatusCode == 429 {
			if res.Header.Get("Retry-After") != "1" {
				t.Errorf("%v", res.Header)
			}
			break
		}
	}
	if codes[200] < 3 || codes[429] == 0 {
		t.Errorf("%v", codes)
	}
	s.want(200, "GET", "/alerts", "", "X-Forwarded-For: 10.0.0.2")
}

// serve runs a site at a port until the test ends.
func (s *site) serve() (addr string, stop func()) {
	s.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	ended := false
	stop = func() {
		if cancel(); !ended {
			ended = true
			if err := <-done; err != nil {
				s.Error(err)
			}
		}
	}
	s.Cleanup(stop)
	return ln.Addr().String(), stop
}

// dial sends the beginning of a request.
func dial(t *testing.T, addr, begin string) (*bufio.Reader, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, begin); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(c), c
}

const head = "POST /alerts HTTP/1.1\r\nHost: e\r\nContent-Type: application/json\r\n"

// Bodies that come slowly get an answer, and take no room from others meanwhile: there are more of them than there is room for.
func TestSlowBodies(t *testing.T) {
	begin := head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(apple), apple[:10])
	// On a busy machine the head itself may be late, and then gets no answer.
	for last := 100 * time.Millisecond; !slowBodies(t, last, begin); last *= 2 {
		if last > patience {
			t.Fatal("no answer")
		}
	}
}

// slowBodies is false if a head was late.
func slowBodies(t *testing.T, last time.Duration, begin string) bool {
	s := newSite(t, func(c *alertapi.Config) { c.Requests = 1 })
	s.SetReadTime(last)
	addr, stop := s.serve()
	defer stop()
	var conns []*bufio.Reader
	for range 5 {
		r, _ := dial(t, addr, begin)
		conns = append(conns, r)
	}
	for _, r := range conns {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return false
		}
		if got := text(t, res); res.StatusCode != 408 || !res.Close || !strings.Contains(got, "in time") {
			t.Errorf("slow: %d %s", res.StatusCode, got)
		}
	}
	// A head that does not come.
	r, _ := dial(t, addr, head)
	if _, err := http.ReadResponse(r, nil); err == nil {
		t.Error("half a head is answered")
	}
	return true
}

// Bodies that are not whole, in pieces or too long, over a socket.
func TestBodies(t *testing.T) {
	s := newSite(t, nil)
	addr, stop := s.serve()
	pieces := fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, apple[:10], len(apple)-10, apple[10:])
	for name, c := range map[string]struct {
		rest   string
		status int
		closes bool
	}{
		"chunks":                    {"Transfer-Encoding: chunked\r\n\r\n" + pieces, 201, false},
		"a length that is too much": {"Content-Length: 16385\r\n\r\n", 413, true},
		"chunks that are too much":  {"Transfer-Encoding: chunked\r\n\r\n4001\r\n" + strings.Repeat(" ", 0x4001) + "\r\n0\r\n\r\n", 413, true},
		"no chunks":                 {"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400, true},
		"as much as may be":         {"Content-Length: 16384\r\n\r\n" + apple + strings.Repeat(" ", 16384-len(apple)), 201, false},
	} {
		r, conn := dial(t, addr, head+c.rest)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := text(t, res); res.StatusCode != c.status || res.Close != c.closes {
			t.Errorf("%s: %d %v %s", name, res.StatusCode, res.Close, got)
		}
		_ = conn.Close() // The server would wait for the rest of a body as long as it may take.
	}
	if len(s.store.alerts) != 2 {
		t.Errorf("%d alerts", len(s.store.alerts))
	}
	stop()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("it answers after its end")
	}
}

// The calls of the public example over a socket, with HEAD and the end while one is being answered.
func TestServe(t *testing.T) {
	s := newSite(t, nil)
	addr, stop := s.serve()
	do := func(method, target, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := (&http.Client{Timeout: patience}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode, text(t, res)
	}
	if status, got := do("POST", "/alerts", apple); status != 201 {
		t.Errorf("%d %s", status, got)
	}
	status, list := do("GET", "/alerts?user_id=1&active_only=true", "")
	if status != 200 || !strings.Contains(list, `"target_price":150,`) {
		t.Errorf("%d %s", status, list)
	}
	if status, got := do("HEAD", "/alerts", ""); status != 200 || got != "" {
		t.Errorf("HEAD: %d %q", status, got)
	}
	if status, got := do("GET", "/price/A%2FB", ""); status != 404 || !strings.Contains(got, "no price of A/B") {
		t.Errorf("a name with a slash: %d %s", status, got)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	s.store.fail = func(context.Context, string) error { close(entered); <-leave; return nil }
	answered := make(chan int)
	go func() { status, _ := do("DELETE", "/alerts/1?user_id=1", ""); answered <- status }()
	<-entered
	s.store.fail = nil
	go close(leave)
	stop()
	if status := <-answered; status != 204 {
		t.Errorf("what was asked before the end: %d", status)
	}
}
