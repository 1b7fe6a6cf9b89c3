package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A loop that has ended would leave an edge that looks alive and serves nobody: the
// process ends, says why, and with code 1. Here accept fails because the limit of open
// files is lowered behind the edge's back.
func TestEndsWithItsLoop(t *testing.T) {
	t.Parallel()
	e := start(t, "-demo", "-drain", "0s")
	c := e.dial("")
	c.next("hello")
	lowered := unix.Rlimit{Cur: 3, Max: 3}
	if err := unix.Prlimit(e.cmd.Process.Pid, unix.RLIMIT_NOFILE, &lowered, nil); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", e.addr); err == nil {
		defer conn.Close()
	}
	select {
	case <-e.done:
	case <-time.After(patience):
		t.Fatal("the edge goes on")
	}
	if said := e.stderr.String(); e.code != 1 || !strings.Contains(said, "an event loop has ended") || !strings.Contains(said, "open files") {
		t.Errorf("exit code %d:\n%s", e.code, said)
	}
}
