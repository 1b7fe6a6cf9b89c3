// SPDX-License-Identifier: Apache-2.0

package main

import (
	"syscall"
	"testing"

	"tickedge/internal/nettest"
)

// Whoever supervises marketdata hears when a trade has come, signs of life, and that it stops.
func TestSupervisorHearsOfMarketdata(t *testing.T) {
	hears := nettest.Supervisor(t)
	p := start(t, "-in=sim", "-symbols=AAPL", "-sim-rate=100", "-broker=memory", "-history="+t.TempDir())
	hears("READY=1")
	hears("WATCHDOG=1")
	p.end(syscall.SIGTERM)
	hears("STOPPING=1")
}
