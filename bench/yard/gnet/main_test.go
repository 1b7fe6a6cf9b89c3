// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"testing"

	"tickedge/bench/yard/yardtest"
)

func TestMain(m *testing.M) { yardtest.Main(m, main) }

func TestHold(t *testing.T) {
	t.Run("one loop", func(t *testing.T) { yardtest.Check(t) })
	t.Run("two loops", func(t *testing.T) { yardtest.Check(t, "-loops", "2") })
}
