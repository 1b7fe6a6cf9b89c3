// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"testing"
	"time"
)

func TestCPU(t *testing.T) {
	l := open(t)
	p, err := l.Start(shell("busy", "while :; do :; done", nil))
	if err != nil {
		t.Fatal(err)
	}
	const tick = 10 * time.Millisecond // Of what a Sample reads, user and system time each.
	for deadline := time.Now().Add(patience); ; {
		before, err := p.Sample()
		if err != nil {
			t.Fatal(err)
		}
		cpu, err := p.CPU()
		if err != nil {
			t.Fatal(err)
		}
		after, err := p.Sample()
		if err != nil {
			t.Fatal(err)
		}
		if cpu < before.CPU || cpu > after.CPU+2*tick {
			t.Fatalf("%v, between %v and %v", cpu, before.CPU, after.CPU)
		}
		if before.CPU > 5*tick {
			break // Zero would not have passed.
		}
		if time.Now().After(deadline) {
			t.Fatal("a busy process uses no CPU")
		}
	}
	if err := l.Stop(p); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CPU(); err == nil {
		t.Error("CPU time of a process that has ended")
	}
}
