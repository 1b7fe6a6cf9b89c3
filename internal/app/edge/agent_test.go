// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

func TestAgentLine(t *testing.T) {
	began := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		left     float64
		stopping bool
		after    time.Duration
		want     string
	}{
		{1, false, 2 * time.Minute, "up 100%\n"},
		{0.575, false, 2 * time.Minute, "up 57%\n"},
		{0.006, false, 2 * time.Minute, "up 1%\n"},
		{0, false, 2 * time.Minute, "up 1%\n"}, // None gets no clients at all: where all are full each one has to take its part.
		{0.5, true, 2 * time.Minute, "drain\n"},
		{0.5, true, 0, "drain\n"},
		{0.5, false, 0, "ready up 50%\n"},
		{0.5, false, agentReady, "up 50%\n"},
	} {
		a := agent{began: began, ready: agentReady, left: func() float64 { return c.left }, stopping: func() bool { return c.stopping }}
		if got := a.line(began.Add(c.after)); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// askAgent returns all that a connection gets that says nothing.
func askAgent(addr string) (string, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(redistest.Patience)); err != nil {
		return "", err
	}
	line, err := io.ReadAll(conn)
	return string(line), err
}

// A connection gets one line and its end, whatever others do, until the edge has ended.
func TestAgentPort(t *testing.T) {
	log, _ := logtest.New(t)
	e := &edge{cfg: &Config{agent: "127.0.0.1:0"}, log: log}
	e.work, e.endWork = context.WithCancel(context.Background())
	if err := e.listenAgent(); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0") // By who does not share it.
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := &edge{cfg: &Config{agent: taken.Addr().String()}, log: log, work: e.work}
	if err := other.listenAgent(); err == nil || !strings.Contains(err.Error(), "set -agent to another port") {
		t.Errorf("a port that is taken: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	e.serveAgent(ctx)
	addr := e.agent.listener.Addr().String()
	for range 40 { // They come and stay, and say things.
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	if line, err := askAgent(addr); line != "ready up 100%\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	stop()
	if line, err := askAgent(addr); line != "drain\n" || err != nil {
		t.Errorf("%q, %v when it stops", line, err)
	}
	// The edge that comes in its place shares the port, and answers alone once this one has ended.
	next := &edge{cfg: &Config{agent: addr}, log: log}
	next.work, next.endWork = context.WithCancel(context.Background())
	if err := next.listenAgent(); runtime.GOOS == "linux" {
		if err != nil {
			t.Fatal(err)
		}
		next.serveAgent(t.Context())
		e.close()
		if line, err := askAgent(addr); line != "ready up 100%\n" || err != nil {
			t.Errorf("%q, %v of the next one", line, err)
		}
		next.close()
	}
	e.close()
	if line, err := askAgent(addr); err == nil {
		t.Errorf("%q after the end", line)
	}
}

// flaky is a listener whose accept fails again and again, as it does without descriptors.
type flaky struct {
	net.Listener
	failed atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failed.Add(1) <= 3 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestAgentGoesOnAfterAnAcceptThatFailed(t *testing.T) {
	log, said := logtest.New(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	a := &agent{listener: &flaky{Listener: ln}, log: log, left: func() float64 { return 0.25 }, stopping: func() bool { return false }}
	done := make(chan struct{})
	go func() { defer close(done); a.serve(ctx) }()
	if line, err := askAgent(ln.Addr().String()); line != "up 25%\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if n := said.Count("too many open files"); n != 3 {
		t.Errorf("%d lines in the log", n)
	}
	stop()
	ln.Close()
	<-done
}

func TestAgentIsAPortOfItsOwn(t *testing.T) {
	for args, want := range map[string]string{
		"-agent 8084": `-agent is "8084", want host:port such as 127.0.0.1:8084`,
		"-agent 127.0.0.1:8081 -admin 127.0.0.1:8081": "-agent is 127.0.0.1:8081 and -admin is 127.0.0.1:8081: want another port",
		"-agent :8080 -listen 127.0.0.1:8080":         "-agent is :8080 and -listen is 127.0.0.1:8080: want another port",
		"-agent :8083 -grpc :8083":                    "-agent is :8083 and -grpc is :8083: want another port",
	} {
		code, _, stderr := program(t, append(strings.Fields(args), "-demo")...)
		if code != app.Usage || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}
