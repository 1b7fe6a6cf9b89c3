// SPDX-License-Identifier: Apache-2.0

//go:build linux

package procfs

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestReadSelf(t *testing.T) {
	before, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.RSS < 1<<20 || before.Threads < 1 || before.FDs < 3 {
		t.Errorf("%+v", before)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// However long that takes on a busy machine.
	for begin := cpuOfSelf(t); cpuOfSelf(t) < begin+50*time.Millisecond; {
	}
	after, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.FDs != before.FDs+1 {
		t.Errorf("%d descriptors after one more than %d", after.FDs, before.FDs)
	}
	if used := after.CPU - before.CPU; used < 20*time.Millisecond || used > 2*time.Second {
		t.Errorf("CPU of a loop that took 50 ms of it: %v", used)
	}
}

// cpuOfSelf is what the kernel says in another way.
func cpuOfSelf(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestReadNobody(t *testing.T) {
	if _, err := Read(1 << 30); err == nil {
		t.Error("a process that does not exist was read")
	}
}

func TestHost(t *testing.T) {
	if _, err := TCPMem(); err != nil {
		t.Error(err)
	}
	if n, err := Slab(); err != nil || n < 1<<20 {
		t.Error(n, err)
	}
	if _, err := DelayedAcks(); err != nil {
		t.Error(err)
	}
}
