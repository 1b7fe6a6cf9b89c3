// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"testing"

	"tickedge/bench/yard/yardtest"
)

func TestMain(m *testing.M) { yardtest.Main(m, main) }

func TestHold(t *testing.T) {
	t.Run("made-up ticks", func(t *testing.T) { yardtest.Check(t) })
	t.Run("no queue", func(t *testing.T) { yardtest.Check(t, "-queue", "0") })
	t.Run("redis", yardtest.CheckRedis)
}
