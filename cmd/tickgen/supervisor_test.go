// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/nettest"
)

// Whoever supervises a tickgen hears when a broker takes its ticks, and that it stops.
func TestSupervisorHearsOfTickgen(t *testing.T) {
	hears := nettest.Supervisor(t)
	s := redistest.Start(t)
	p := start(t, "-redis", s.URL(), "-symbols", "AAPL", "-rate", "1000")
	hears("STATUS=not ready: nothing was published yet")
	hears("READY=1")
	hears("WATCHDOG=1")
	p.stop()
	p.exits(t, 0)
	hears("STOPPING=1")
}
