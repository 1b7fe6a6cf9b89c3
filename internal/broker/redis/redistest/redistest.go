// SPDX-License-Identifier: Apache-2.0

// Package redistest runs a real redis-server for tests, or a stand-in that sends anything.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server on a port of 127.0.0.1, which keeps nothing.
type Server struct {
	t        testing.TB
	addr     string
	tlsAddr  string // Empty without TLS.
	password string // Of the default user, for the test's own commands.
	args     []string
	cmd      *exec.Cmd
	frozen   bool
}

// New reserves an address and starts nothing. Extra arguments are those of
// redis-server.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, addr: address(t), args: args}
	for i, arg := range args {
		if arg == "--requirepass" {
			s.password = args[i+1]
		}
	}
	t.Cleanup(s.Kill)
	return s
}

// address is a free port of 127.0.0.1. It is none of those that the kernel gives to clients: one of them could have it
// while a server is down that is to come back to it.
func address(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(22_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// Start returns a running server, which ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	s.Start()
	return s
}

// Start starts the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.launch()
	s.wait()
}

// launch starts the process.
func (s *Server) launch() {
	s.t.Helper()
	s.exec(append([]string{"--port", portOf(s.addr), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.t.TempDir()}, s.args...)...)
}

func (s *Server) exec(args ...string) {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("install redis-server (make deps)")
	}
	s.cmd = exec.Command(path, args...)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) wait() {
	s.t.Helper()
	Eventually(s.t, "redis-server answers", s.answers)
}

// answers reports whether the server says anything to a PING, be it that a password
// is needed.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	io.WriteString(c, "PING\r\n")
	_, err = c.Read(make([]byte, 1))
	return err == nil
}

// Kill ends the server at once, if it runs. All that it held is gone.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Freeze stops the process: connections stay, and nothing is answered.
func (s *Server) Freeze() {
	s.frozen = true
	s.cmd.Process.Signal(syscall.SIGSTOP)
}

// Thaw lets the process go on.
func (s *Server) Thaw() {
	s.frozen = false
	s.cmd.Process.Signal(syscall.SIGCONT)
}

// answering reports whether the server neither was killed nor is frozen.
func (s *Server) answering() bool { return s.cmd != nil && !s.frozen }

// Addr is host:port.
func (s *Server) Addr() string { return s.addr }

// URL is the address as a Redis URL.
func (s *Server) URL() string { return "redis://" + s.addr }

// Client returns a client of the default user. The caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr, Password: s.password, Protocol: 2, DisableIdentity: true, DialerRetries: 1})
}

// Do runs one command and returns its reply as text. A failure ends the test.
func (s *Server) Do(args ...any) string {
	s.t.Helper()
	v, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("redis: %v: %v", args, err)
	}
	return v
}

// try is Do for commands that may fail.
func (s *Server) try(args ...any) (string, error) {
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	v, err := c.Do(ctx, args...).Result()
	if err != nil && err != redis.Nil {
		return "", err
	}
	return fmt.Sprint(v), nil
}

// Patience is how long a test waits for what must happen soon. It is only reached when that fails,
// or on a machine that has no time for it.
const Patience = time.Minute

// Eventually waits until ok returns true, and fails the test if that takes too long.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come about within %v: %s", Patience, what)
		}
	}
}
