// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"tickedge/internal/nettest"
)

// Whoever supervises a demo hears when all its parts are there, from the demo and not from each of them.
func TestSupervisorHearsOfTheDemo(t *testing.T) {
	hears := nettest.Supervisor(t)
	t.Run("runs", func(t *testing.T) {
		start(t)
		hears("READY=1")
		hears("WATCHDOG=1")
	})
	hears("STOPPING=1")
}
