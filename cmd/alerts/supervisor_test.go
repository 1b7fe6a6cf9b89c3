// SPDX-License-Identifier: Apache-2.0

package main

import (
	"syscall"
	"testing"

	"tickedge/internal/nettest"
)

// Whoever supervises alerts hears when the store was read, signs of life, and that it stops.
func TestSupervisorHearsOfAlerts(t *testing.T) {
	hears := nettest.Supervisor(t)
	p := newProcess(t, "-source=memory", "-open", "-store="+t.TempDir())
	p.start()
	hears("READY=1")
	hears("WATCHDOG=1")
	p.signal(syscall.SIGTERM)
	hears("STOPPING=1")
}
