// SPDX-License-Identifier: Apache-2.0

package main

import (
	"syscall"
	"testing"

	"tickedge/internal/nettest"
)

// Whoever supervises an edge hears that it is ready, that its loops turn, and that it drains.
func TestSupervisorHearsOfTheEdge(t *testing.T) {
	hears := nettest.Supervisor(t)
	e := start(t, "-demo", "-loops", "2", "-drain-delay", "1h")
	hears("READY=1")
	e.dial("?topics=AAPL").next("hello") // Of a loop that has no connection there is nothing to hear.
	hears("WATCHDOG=1")
	hears("WATCHDOG=1")
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hears("STOPPING=1")
	hears("WATCHDOG=1") // Until its end.
}

// An edge that listens and has no feed is not ready, and says why; it is when there is one.
func TestSupervisorWaitsForTheFeed(t *testing.T) {
	hears := nettest.Supervisor(t)
	e := start(t, "-source", "redis://"+nettest.FreeAddr(t))
	hears("STATUS=not ready: the feed has not been connected yet")
	if code := e.stop(); code != 0 {
		t.Errorf("code %d", code)
	}
	hears("STOPPING=1")
}
