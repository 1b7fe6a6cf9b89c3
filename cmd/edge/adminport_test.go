// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

const (
	// answerTime is how long an answer of the admin port may take.
	answerTime = 15 * time.Second
	// adminConns is how many connections the admin port has at a time.
	adminConns = 32
	// logBurst is how many lines with the same message the log takes at once.
	logBurst = 10
)

// ask sends a request to the admin port as it stands and returns the status.
func (e *edge) ask(head string) (status int, body string) {
	e.t.Helper()
	c := e.stuck(head)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(c)
	if err != nil {
		e.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(answer), "\r\n")
	fields := strings.Fields(first)
	if len(fields) < 2 {
		e.t.Fatalf("%q is answered with %q", head, answer)
	}
	status, _ = strconv.Atoi(fields[1])
	_, body, _ = strings.Cut(string(answer), "\r\n\r\n")
	return status, body
}

// stuck opens a connection to the admin port that takes next to nothing, and sends text.
func (e *edge) stuck(text string) net.Conn {
	e.t.Helper()
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) (err error) {
		ctlErr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		if ctlErr != nil {
			err = ctlErr
		}
		return err
	}}
	c, err := dialer.Dial("tcp", e.admin)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	go io.WriteString(c, text) // The other side may stop reading.
	return c
}

// slowReader asks for more than the sockets take, and reads nothing.
var slowReader = strings.Repeat("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200)

// sockets is how many the edge has.
func (e *edge) sockets() (n int) {
	e.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", e.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		e.t.Skipf("no /proc: %v", err)
	}
	for _, entry := range entries {
		if to, err := os.Readlink(dir + entry.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// Only operators and their programs reach the admin port, and no web page that an operator
// has open: not under a name that somebody has made stand for this address.
func TestAdminRefusesWebPages(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-admin-host", "edge.example.com, *.svc.cluster.local")
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(e.admin)
	for _, c := range []struct {
		head string
		want int
	}{
		{"Host: 127.0.0.1:" + port, 200},
		{"Host: 10.1.2.3", 200},
		{"Host: [::1]:" + port, 200},
		{"Host: [::1]", 200},
		{"Host: localhost:" + port, 200},
		{"Host: LocalHost.", 200},
		{"Host: " + own + ":" + port, 200},
		{"Host: Edge.example.com:" + port, 200},
		{"Host: edge-0.edge.prod.svc.cluster.local:" + port, 200},
		{"Host: evil.example:" + port, 403},
		{"Host: example.com", 403},
		{"Host: www.edge.example.com", 403},
		{"Host: svc.cluster.local", 403},
		{"Host: localhost.evil.example", 403},
		{"Host: 127.0.0.1.nip.io", 403},
		{"Host: localhost\r\nOrigin: http://localhost:" + port, 403},
		{"Host: localhost\r\nOrigin: null", 403},
		{"Host: localhost\r\nOrigin:", 403},
		{"Host: localhost\r\nSec-Fetch-Site: cross-site", 403},
		{"Host: localhost\r\nSec-Fetch-Site: same-site", 403},
		{"Host: localhost\r\nSec-Fetch-Site: same-origin", 200},
		{"Host: localhost\r\nSec-Fetch-Site: none", 200},
	} {
		for _, path := range []string{"/healthz", "/debug/pprof/cmdline"} {
			status, body := e.ask("GET " + path + " HTTP/1.1\r\n" + c.head + "\r\nConnection: close\r\n\r\n")
			if status != c.want {
				t.Errorf("%s with %q: %d %q, want %d", path, c.head, status, body, c.want)
			}
			if byHost := !strings.Contains(c.head, "\r\n"); status == 403 && byHost != strings.Contains(body, "-admin-host") {
				t.Errorf("%s with %q: %q", path, c.head, body)
			}
		}
	}
	// A health check of HAProxy sends no Host.
	if status, body := e.ask("GET /readyz HTTP/1.0\r\n\r\n"); status != 200 {
		t.Errorf("without Host: %d %q", status, body)
	}
	if status, _ := e.ask("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); status != 403 {
		t.Errorf("with another host in the target: %d", status)
	}
	if n := e.metric(`edge_admin_refused_total{reason="host"}`); n != "13" {
		t.Errorf("%s were refused for their host, want 13", n)
	}
	if n := e.metric(`edge_admin_refused_total{reason="origin"}`); n != "10" {
		t.Errorf("%s were refused for their origin, want 10", n)
	}
	said := e.stderr.String()
	if n := strings.Count(said, "a request to the admin port was refused"); n < 1 || n > logBurst || !strings.Contains(said, "-admin-host") {
		t.Errorf("%d lines:\n%s", n, said)
	}
}

// Whoever is stuck at the admin port, health checks and metrics are answered, at once: long
// before those that are stuck would have to go.
func TestAdminAnswersAmongStuckClients(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	before := e.sockets()
	for range 40 {
		e.stuck(slowReader)
	}
	for range 8 {
		e.stuck("")
		e.stuck("GET /healthz HTTP/1.1\r\nHo")
		e.stuck("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
		e.stuck("GET /debug/pprof/profile?seconds=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		e.stuck("GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		e.stuck("GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for range 5 {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			client := http.Client{Timeout: answerTime - time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			res, err := client.Get("http://" + e.admin + path)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 200 {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
	}
	if n := e.sockets() - before; n > adminConns+2 {
		t.Errorf("%d connections, want at most %d", n, adminConns)
	}
}

// Who does not read its answer, or does not finish its request, is closed.
func TestAdminClosesStuckClients(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	before, same := -1, 0
	redistest.Eventually(t, "the edge has its connections to Redis", func() bool {
		n := e.sockets()
		if n != before {
			before, same = n, 0
		}
		same++
		return same >= 100 && strings.Contains(e.stderr.String(), `"msg":"feed up"`)
	})
	for range 5 {
		e.stuck(slowReader)
		e.stuck("GET /healthz HTTP/1.1\r\nHo")
		e.stuck("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
	}
	redistest.Eventually(t, "they are connected", func() bool { return e.sockets() > before })
	for deadline := time.Now().Add(answerTime + patience); e.sockets() > before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets, %d before", e.sockets(), before)
		}
	}
}

// Profiles have limits of their number and their time.
func TestAdminBoundsProfiles(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo")
	for _, seconds := range []string{"3600", "60.5", "0", "-1", "NaN", "Inf", "1e9", "x"} {
		for _, path := range []string{"profile", "trace", "heap"} {
			if status, body := e.get("/debug/pprof/" + path + "?seconds=" + seconds); status != 400 || !strings.Contains(body, "up to 60") {
				t.Errorf("%s of %s seconds: %d %q", path, seconds, status, body)
			}
		}
	}
	running := e.stuck("GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	redistest.Eventually(t, "the profile is taken", func() bool {
		_, body := e.get("/debug/pprof/goroutine?debug=1")
		return strings.Contains(body, "net/http/pprof.Profile+")
	})
	if status, body := e.get("/debug/pprof/trace?seconds=0.01"); status != 503 || !strings.Contains(body, "at most 1 at a time") {
		t.Errorf("another profile is answered with %d %q", status, body)
	}
	if e.metric(`edge_admin_refused_total{reason="busy"}`) == "0" {
		t.Error("it was not counted")
	}
	if status, _ := e.get("/debug/pprof/heap"); status != 200 {
		t.Errorf("another page is answered with %d meanwhile", status)
	}
	running.Close()
	redistest.Eventually(t, "a profile is taken when the other was given up", func() bool {
		status, body := e.get("/debug/pprof/profile?seconds=1")
		return status == 200 && len(body) > 0
	})
}
