// SPDX-License-Identifier: Apache-2.0

// Package pgtest starts a real PostgreSQL for a test, on a port of its own and with its files in a folder
// of the test. It is for tests alone.
package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL that ends with the test that has started it, or with its process. It trusts who
// connects and syncs no files, so it is for data that nobody misses. A start takes a second or more: share
// one server among subtests, each with a [Server.Database] of its own. The goroutine of the test uses it.
type Server struct {
	dir, bin  string
	attr      *syscall.SysProcAttr
	port      int
	cmd       *exec.Cmd
	stdin     io.Closer
	ended     chan struct{}
	databases atomic.Int64
}

// New makes the files of a server and starts it. Without PostgreSQL on this machine the test fails: make
// deps installs it.
func New(tb testing.TB) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pgtest") // Another user can't reach what is in tb.TempDir.
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{bin: binaries(tb), dir: dir, attr: &syscall.SysProcAttr{Setpgid: true}}
	if os.Geteuid() == 0 { // It refuses to run as root.
		u, err := user.Lookup("postgres")
		if err != nil {
			tb.Fatalf("pgtest: %v", err)
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2, os.Chown(s.dir, uid, gid)); err != nil {
			tb.Fatalf("pgtest: %v", err)
		}
		s.attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	init := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.dir, "-U", "postgres", "-A", "trust", "-E", "UTF8",
		"--locale=C", "--no-sync")
	init.SysProcAttr, init.Dir = s.attr, "/"
	if out, err := init.CombinedOutput(); err != nil {
		tb.Fatalf("pgtest: initdb: %v\n%s", err, out)
	}
	tb.Cleanup(s.kill)
	s.Start(tb)
	return s
}

// binaries returns the folder of the newest PostgreSQL as Debian installs it.
func binaries(tb testing.TB) string {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(all) > 0 {
		return filepath.Dir(slices.Max(all))
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		tb.Fatal("pgtest: there is no PostgreSQL here: make deps installs it (Debian's postgresql)")
	}
	return filepath.Dir(path)
}

// The server gets SIGQUIT, an immediate shutdown, when the input of this script ends: with the test's process
// at the latest, however that ends.
const script = `exec 3<&0; "$@" & pid=$!; (read x <&3; kill -QUIT $pid) >/dev/null 2>&1 & wait $pid`

// Start starts a server that was stopped, at the port that it had.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	var err error
	for range 5 {
		port := s.port
		if port == 0 { // Another process may take it in between.
			port = freePort(tb)
		}
		if err = s.try(port); err == nil {
			s.port = port
			return
		}
	}
	tb.Fatalf("pgtest: %v", err)
}

func (s *Server) try(port int) error {
	cmd := exec.Command("/bin/sh", "-c", script, "sh", filepath.Join(s.bin, "postgres"), "-D", s.dir,
		"-c", "port="+strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=50", "-c", "shared_buffers=16MB")
	cmd.SysProcAttr, cmd.Dir = s.attr, "/"
	stdin, err1 := cmd.StdinPipe()
	stderr, err2 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return err
	}
	ready, ended := make(chan bool, 1), make(chan struct{})
	var said strings.Builder
	go func() {
		lines := bufio.NewScanner(stderr)
		for up := false; lines.Scan(); {
			if up {
				continue
			}
			fmt.Fprintln(&said, lines.Text())
			if up = strings.Contains(lines.Text(), "ready to accept connections"); up {
				ready <- true
			}
		}
		_ = cmd.Wait()
		close(ended)
		close(ready)
	}()
	if !<-ready {
		stdin.Close()
		return fmt.Errorf("PostgreSQL did not start:\n%s", &said)
	}
	s.cmd, s.stdin, s.ended = cmd, stdin, ended
	return nil
}

// Stop ends the server as a crash would: connections are cut, and transactions that are not committed are
// lost.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	if s.cmd == nil {
		tb.Fatal("pgtest: the server does not run")
	}
	s.kill()
}

func (s *Server) kill() {
	if s.cmd == nil {
		return
	}
	s.stdin.Close()
	<-s.ended
	s.cmd = nil
}

// Addr is its host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Database makes an empty database and returns its URL, for pgx and database/sql.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, "postgres://postgres@"+s.Addr()+"/postgres?sslmode=disable")
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	defer func() { _ = c.Close(ctx) }()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	return "postgres://postgres@" + s.Addr() + "/" + name + "?sslmode=disable"
}

func freePort(tb testing.TB) int {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
