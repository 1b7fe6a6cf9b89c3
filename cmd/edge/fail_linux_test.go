package main

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tickedge/internal/feed/redistest"
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
	if code := e.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
