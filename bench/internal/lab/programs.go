// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// given are the addresses that freeAddr has returned: the kernel may name one twice that nobody has
// taken yet.
var given sync.Map

// FreeAddr is an address of 127.0.0.1 that nothing listens on now, for a port that an edge is told by a
// flag.
func (l *Lab) FreeAddr() (string, error) { return freeAddr() }

// freeAddr is an address of 127.0.0.1 that nothing listens on now. Conns of bench come
// from other addresses of the loopback, so none of them takes it meanwhile.
func freeAddr() (string, error) {
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("lab: %w", err)
		}
		addr := ln.Addr().String()
		ln.Close()
		if _, again := given.LoadOrStore(addr, true); !again {
			return addr, nil
		}
	}
}

// Redis starts a redis-server from PATH, which keeps nothing on disk, and returns its
// URL.
func (l *Lab) Redis() (*Proc, string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, "", errors.New("lab: there is no redis-server in PATH: install one (make deps)")
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(addr)
	p, err := l.Start(Spec{
		Name: "redis", Path: path,
		Args:  []string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", l.Dir},
		Ready: func() error { return pong(addr) },
	})
	return p, "redis://" + addr, err
}

// pong returns nil if a Redis answers.
func pong(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second)) // Or the read fails.
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return err
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "+PONG" {
		return fmt.Errorf("redis answers %q: %w", answer, err)
	}
	return nil
}

// TopicPattern gives the names of the topics of Ticks, with the numbers from 0.
const TopicPattern = "GEN-%06d"

// Ticks starts a tickgen for n topics at rate ticks per second in all. source is the URL of a broker.
func (l *Lab) Ticks(source string, n int, rate float64) (*Proc, error) {
	path, err := l.Build("cmd/tickgen")
	if err != nil {
		return nil, err
	}
	// Its own generated symbols begin with 1, and the numbers of the topics with 0.
	args := []string{sourceFlag(source), source, "-rate", strconv.FormatFloat(rate, 'f', -1, 64), "-symbols", fmt.Sprintf(TopicPattern, 0)}
	if n > 1 {
		args = append(args, "-n", strconv.Itoa(n-1))
	}
	return l.Start(Spec{Name: "tickgen", Path: path, Args: args})
}

// sourceFlag is the flag for the URL of a broker: older programs know that of Redis alone.
func sourceFlag(url string) string {
	if strings.HasPrefix(url, "nats://") || url == Memory {
		return "-source"
	}
	return "-redis"
}

// publisherDir is the program that publishes faster than a tickgen.
const publisherDir = "bench/publisher"

// BuildPublisher builds what Publisher starts, so that it starts at once.
func (l *Lab) BuildPublisher() error {
	_, err := l.Build(publisherDir)
	return err
}

// Publisher starts a publisher of messages of n topics, with the names of Ticks, at rate
// messages per second in all. args are more flags of it.
func (l *Lab) Publisher(source string, n int, rate float64, args ...string) (*Proc, error) {
	path, err := l.Build(publisherDir)
	if err != nil {
		return nil, err
	}
	return l.Start(Spec{Name: "publisher", Path: path, Args: append([]string{
		"-source", source, "-topics", strconv.Itoa(n), "-topic-name", TopicPattern, "-rate", strconv.FormatFloat(rate, 'f', -1, 64),
	}, args...)})
}

// Published is how many PUBLISH commands a Redis has carried out since its start.
func Published(url string) (uint64, error) {
	fail := func(err error) (uint64, error) { return 0, fmt.Errorf("lab: INFO of redis: %w", err) }
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(url, "redis://"), time.Second)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // Or the read fails.
	if _, err := io.WriteString(c, "INFO commandstats\r\nQUIT\r\n"); err != nil {
		return fail(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return fail(err)
	}
	for line := range strings.Lines(string(text)) {
		if calls, ok := strings.CutPrefix(line, "cmdstat_publish:calls="); ok {
			calls, _, _ = strings.Cut(calls, ",")
			return strconv.ParseUint(calls, 10, 64)
		}
	}
	if !strings.Contains(string(text), "# Commandstats") {
		return fail(fmt.Errorf("it answers %.100q", text))
	}
	return 0, nil // None yet.
}

// Server is a running server: one process, or several on one port.
type Server struct {
	Addr   string // host:port of clients.
	Procs  []*Proc
	Admins []string // host:port of each edge's operators; none for others.
	Events bool     // Its conns are to be streams of server-sent events.
}

// PIDs are those of all its processes.
func (s *Server) PIDs() []int {
	var pids []int
	for _, p := range s.Procs {
		pids = append(pids, p.PID)
	}
	return pids
}

// EdgeConns is how many conns an edge with these flags holds on this host, as it says
// itself.
func (l *Lab) EdgeConns(args ...string) (int, error) {
	path, err := l.Build("cmd/edge")
	if err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(l.ctx, path, append([]string{"-check"}, args...)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("lab: edge -check: %w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-max-conns="); ok {
			return strconv.Atoi(n)
		}
	}
	return 0, fmt.Errorf("lab: edge -check does not say -max-conns:\n%s", out)
}

// Edge starts n edges on one port. A client then finds one of them by the kernel's
// choice.
func (l *Lab) Edge(source string, n int, args ...string) (*Server, error) {
	path, err := l.Build("cmd/edge")
	if err != nil {
		return nil, err
	}
	if _, other := l.given["cmd/edge"]; !other { // An older one may not know the flag.
		// Thousands of conns share an address here, and their topics exist.
		args = append([]string{"-topics", strings.ReplaceAll(TopicPattern, "%06d", "*")}, args...)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr}
	for range n {
		admin, err := freeAddr()
		if err != nil {
			return nil, errors.Join(err, l.StopServer(s))
		}
		p, err := l.Start(Spec{
			Name: "edge", Path: path,
			Args: append([]string{"-listen", addr, "-admin", admin, sourceFlag(source), source, "-drain", "0s"}, args...),
			Ready: func() error {
				_, err := page(admin, "/readyz")
				return err
			},
		})
		if err != nil {
			return nil, errors.Join(err, l.StopServer(s))
		}
		s.Procs, s.Admins = append(s.Procs, p), append(s.Admins, admin)
	}
	return s, nil
}

// Yardstick starts a server of another make, from a directory of the source tree. It
// has to take -listen.
func (l *Lab) Yardstick(name, dir string, args ...string) (*Server, error) {
	path, err := l.Build(dir)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := l.Start(Spec{Name: name, Path: path, Args: append([]string{"-listen", addr}, args...), Ready: dials(addr)})
	if err != nil {
		return nil, err
	}
	return &Server{Addr: addr, Procs: []*Proc{p}}, nil
}

// dials returns the look at a program that is ready when it takes connections.
func dials(addr string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// StopServer ends all processes of a server.
func (l *Lab) StopServer(s *Server) error {
	var all []error
	for _, p := range s.Procs {
		all = append(all, l.Stop(p))
	}
	return errors.Join(all...)
}
