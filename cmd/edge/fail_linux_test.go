// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/loop"
	"tickedge/internal/topics"
)

// A process that runs out of descriptors behind its own back, here because its limit is
// lowered, keeps its clients, says so once, and accepts again when it can.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-drain", "0s", "-loops", "2")
	c := e.dial("?topics=AAPL")
	c.next("hello")
	var limit unix.Rlimit
	setLimit := func(to uint64) {
		if err := unix.Prlimit(e.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: to, Max: limit.Max}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Prlimit(e.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	setLimit(3)
	waiting, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	redistest.Eventually(t, "accept fails", func() bool { return strings.Contains(e.stderr.String(), "accepting connections fails") })
	c.send(`{"op":"ping","id":7}`)
	for {
		if m, err := c.read(); err != nil {
			t.Fatal(err)
		} else if m.T == "pong" && string(m.ID) == "7" {
			break
		}
	}
	setLimit(limit.Cur)
	e.dial("").next("hello")
	redistest.Eventually(t, "it says that it accepts again", func() bool { return strings.Contains(e.stderr.String(), "connections are accepted again") })
	if e.metric("edge_accept_failures_total") == "0" {
		t.Error("no failure was counted")
	}
	if said := e.stderr.String(); strings.Count(said, "accepting connections fails") != 1 || !strings.Contains(said, "LimitNOFILE=") {
		t.Errorf("it said:\n%s", said)
	}
	if code := e.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// sentinel is a server that says of every name that it is a master at addr.
type sentinel struct {
	net.Listener
	addr string
	open atomic.Int64 // Connections.
}

func startSentinel(t *testing.T, addr string) *sentinel {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sentinel{Listener: ln, addr: addr}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			go s.serve(c)
		}
	}()
	t.Cleanup(func() { ln.Close() })
	return s
}

// serve answers commands, which are arrays of strings.
func (s *sentinel) serve(c net.Conn) {
	defer s.open.Add(-1)
	defer c.Close()
	host, port, _ := net.SplitHostPort(s.addr)
	in := bufio.NewReader(c)
	for {
		var words, size int
		if _, err := fmt.Fscanf(in, "*%d\r\n", &words); err != nil {
			return
		}
		var command []string
		for range words {
			if _, err := fmt.Fscanf(in, "$%d\r\n", &size); err != nil {
				return
			}
			word := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(in, word); err != nil {
				return
			}
			command = append(command, string(word[:size]))
		}
		switch strings.ToLower(strings.Join(command[:min(2, words)], " ")) {
		case "sentinel master":
			fmt.Fprint(c, "*2\r\n$12\r\nconfig-epoch\r\n$1\r\n1\r\n")
		case "sentinel get-master-addr-by-name":
			fmt.Fprintf(c, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port)
		default:
			fmt.Fprint(c, "-ERR unknown command\r\n")
		}
	}
}

// As many sources as there may be, each watched by several sentinels, do not take the descriptors of clients: what is kept free follows the configuration.
func TestManySentinelsFit(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	parsed, err := url.Parse(redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	sentinels := startSentinel(t, parsed.Host)
	const each, clients = 5, 10
	source := "redis-sentinel://" + strings.TrimSuffix(strings.Repeat(sentinels.Addr().String()+",", each), ",") + "/m"
	args := []string{"-loops", "2", "-drain", "0s", "-max-conns", strconv.Itoa(clients)}
	for i := range topics.SourcesMax - 1 {
		args = append(args, "-redis", fmt.Sprintf("s%d:*=%s", i, source))
	}
	args = append(args, "-redis", source)
	e := start(t, args...)
	files := uint64(clients + reserved(t, args...))
	var limit unix.Rlimit
	if err := unix.Prlimit(e.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(e.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: limit.Max}, nil); err != nil {
		t.Fatal(err)
	}
	for range clients {
		e.dial("").next("hello")
	}
	for range loop.RefuseRoom {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range adminConns {
		e.stuck("")
	}
	redistest.Eventually(t, "all sources are up, and watched by all sentinels", func() bool {
		_, metrics := e.get("/metrics")
		up := regexp.MustCompile(`(?m)^edge_feed_connected\{.*\} 1$`).FindAllString(metrics, -1)
		return len(up) == topics.SourcesMax && sentinels.open.Load() == topics.SourcesMax*each
	})
	if n := e.metric("edge_accept_failures_total"); n != "0" {
		t.Errorf("accept failed %s times", n)
	}
	redistest.Eventually(t, "all clients are counted, as loops do once a second", func() bool {
		return e.metric(`edge_connections{state="open"}`) == strconv.Itoa(clients)
	})
	if said := e.stderr.String(); strings.Contains(said, "too many open files") {
		t.Errorf("it said:\n%s", said)
	}
}
