// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker/redis/redistest"
)

// natsEnv holds the configuration file of a NATS server, in the process that a test has started for it.
const natsEnv = "EDGE_TEST_NATS_SERVER"

func init() { roles[natsEnv] = runNATS }

// runNATS is a NATS server of the version that go.mod names.
func runNATS(conf string) (code int) {
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return 0
}

// Debian's NATS server.
const debianNATS = "/usr/sbin/nats-server"

// The users of NATS servers: publishers may do everything, edges what a test leaves them.
const (
	natsPublisher = "publisher"
	natsSecret    = "sesame"
)

// natsConfig is what is in a NATS server's configuration.
type natsConfig struct {
	debian    bool // Debian's server, not that of go.mod.
	jetStream bool
	password  string   // Of the edges' user.
	denied    []string // Subjects that the edges' user may not have.
	pending   string   // What a reader may be behind, such as 1MB.
	routes    []string // Of a cluster, where its members are to be reached by each other.
}

// natsServer is a NATS server in a process of its own.
type natsServer struct {
	natsConfig
	t    *testing.T
	name string
	addr string
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
	said *bytes.Buffer // After done.
}

// newNATS reserves an address. Of a cluster, index is the server's own among the routes.
func newNATS(t *testing.T, c natsConfig, index int) *natsServer {
	t.Helper()
	if c.debian {
		if _, err := os.Stat(debianNATS); err != nil {
			t.Fatal("install nats-server (make deps)")
		}
	}
	s := &natsServer{natsConfig: c, t: t, name: fmt.Sprint("n", index), addr: steadyAddr(t), dir: t.TempDir()}
	s.password = edgePassword
	t.Cleanup(func() {
		s.kill()
		if log, err := os.ReadFile(s.file("log")); err == nil && t.Failed() {
			t.Logf("nats-server %s:\n%s", s.addr, log[max(0, len(log)-20_000):])
		}
	})
	s.configure(index)
	return s
}

// startNATS returns a server that runs, and ends with the test.
func startNATS(t *testing.T, c natsConfig) *natsServer {
	t.Helper()
	s := newNATS(t, c, 0)
	s.start()
	return s
}

// steadyAddr is an address with a port that the kernel does not give to clients: a server that is down has to come back to it.
func steadyAddr(t *testing.T) string {
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

func (s *natsServer) file(name string) string { return filepath.Join(s.dir, name) }

// configure writes the configuration, which a server that runs reads with reload.
func (s *natsServer) configure(index int) {
	s.t.Helper()
	quoted := func(all []string) string {
		var list []string
		for _, one := range all {
			list = append(list, fmt.Sprintf("%q", one))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nlisten: %q\nlog_file: %q\n", s.name, s.addr, s.file("log"))
	if s.jetStream {
		fmt.Fprintf(&b, "jetstream { store_dir: %q }\n", s.file("data"))
	}
	if s.pending != "" {
		fmt.Fprintf(&b, "max_pending: %s\n", s.pending)
	}
	if len(s.routes) > 0 {
		others := slices.Delete(slices.Clone(s.routes), index, index+1)
		for i := range others {
			others[i] = "nats-route://" + others[i]
		}
		fmt.Fprintf(&b, "cluster { name: faults, listen: %q, routes: %s }\n", s.routes[index], quoted(others))
	}
	permissions := ""
	if len(s.denied) > 0 {
		permissions = fmt.Sprintf(", permissions: { subscribe: { deny: %s }, publish: { deny: %s } }", quoted(s.denied), quoted(s.denied))
	}
	fmt.Fprintf(&b, "authorization { users: [ { user: %s, password: %q }, { user: %s, password: %q%s } ] }\n",
		natsPublisher, natsSecret, edgeUser, s.password, permissions)
	if err := os.WriteFile(s.file("conf"), []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// launch starts the process.
func (s *natsServer) launch() {
	s.t.Helper()
	if s.debian {
		s.cmd = exec.Command(debianNATS, "-c", s.file("conf"))
	} else {
		s.cmd = exec.Command(os.Args[0])
		s.cmd.Env = append(os.Environ(), natsEnv+"="+s.file("conf"))
	}
	s.said, s.done = new(bytes.Buffer), make(chan struct{})
	s.cmd.Stderr, s.cmd.Stdout = s.said, s.said
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
}

// start starts the server and waits until publishers can use it.
func (s *natsServer) start() {
	s.t.Helper()
	s.launch()
	s.wait()
}

func (s *natsServer) wait() {
	s.t.Helper()
	redistest.Eventually(s.t, "nats-server answers", func() bool {
		select {
		case <-s.done:
			s.t.Fatalf("nats-server has ended: %s", s.said)
		default:
		}
		nc, err := natsgo.Connect(s.url(natsPublisher, natsSecret), natsgo.Timeout(time.Second))
		if err != nil {
			return false
		}
		defer nc.Close()
		if !s.jetStream {
			return true
		}
		js, _ := nc.JetStream(natsgo.MaxWait(time.Second))
		_, err = js.AccountInfo()
		return err == nil
	})
}

func (s *natsServer) url(user, password string) string {
	return fmt.Sprintf("nats://%s:%s@%s", user, password, s.addr)
}

// kill ends the server at once, if it runs. What it has stored is still there.
func (s *natsServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.done
		s.cmd = nil
	}
}

// forget has a server that does not run begin without data.
func (s *natsServer) forget() {
	s.t.Helper()
	if err := os.RemoveAll(s.file("data")); err != nil {
		s.t.Fatal(err)
	}
}

// Freeze stops the process: connections stay, and nothing is answered. Thaw lets it go on.
func (s *natsServer) Freeze() { s.signal(syscall.SIGSTOP) }
func (s *natsServer) Thaw()   { s.signal(syscall.SIGCONT) }

func (s *natsServer) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}

// reload has the server read its configuration, with what change has made of it.
func (s *natsServer) reload(change func(*natsConfig)) {
	s.t.Helper()
	before := s.reloads()
	change(&s.natsConfig)
	s.configure(0)
	s.signal(syscall.SIGHUP)
	redistest.Eventually(s.t, "nats-server has read its configuration", func() bool { return s.reloads() > before })
}

func (s *natsServer) reloads() int {
	log, _ := os.ReadFile(s.file("log"))
	return strings.Count(string(log), "Reloaded server configuration")
}
