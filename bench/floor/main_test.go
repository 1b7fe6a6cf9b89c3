// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"tickedge/bench/yard/yardtest"
)

func TestMain(m *testing.M) { yardtest.Main(m, main) }

func TestHold(t *testing.T) { yardtest.Check(t) }

// More conns than descriptors have to wait and do no harm.
func TestFileLimit(t *testing.T) {
	addr, pid := yardtest.Start(t)
	limit := unix.Rlimit{Cur: 40, Max: 40}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	var many []net.Conn
	for range 60 {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, c)
	}
	for _, c := range many[:len(many)-5] {
		c.Close()
	}
	yardtest.Hold(t, addr, 20)
	for _, c := range many {
		c.Close()
	}
}
