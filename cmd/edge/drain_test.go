// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

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
