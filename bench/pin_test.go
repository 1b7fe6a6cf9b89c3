// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// twoCPUs are the sets of splitCPUs, and both together.
func twoCPUs(t *testing.T) (server, others, all unix.CPUSet) {
	t.Helper()
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	server, others, err := splitCPUs()
	if all.Count() == 1 {
		if err == nil || !strings.Contains(err.Error(), "two or more") {
			t.Errorf("one CPU: %v", err)
		}
		t.Skip("there is one CPU only, as splitCPUs says too")
	}
	if err != nil {
		t.Fatal(err)
	}
	return server, others, all
}

func TestSplitCPUs(t *testing.T) {
	server, others, all := twoCPUs(t)
	for cpu := range 64 * len(all) {
		if server.IsSet(cpu) && others.IsSet(cpu) || all.IsSet(cpu) != (server.IsSet(cpu) || others.IsSet(cpu)) {
			t.Errorf("CPU %d: server %v, others %v, all %v", cpu, server.IsSet(cpu), others.IsSet(cpu), all.IsSet(cpu))
		}
	}
	if server.Count() != 1 {
		t.Errorf("the server has %d CPUs", server.Count())
	}
}

// allowed is the list of CPUs as a new process sees its own.
func allowed() (string, error) {
	out, err := exec.Command("grep", "Cpus_allowed:", "/proc/self/status").Output()
	return strings.TrimSpace(strings.TrimPrefix(string(out), "Cpus_allowed:")), err
}

func TestStartOn(t *testing.T) {
	server, _, _ := twoCPUs(t)
	before, err := allowed()
	if err != nil {
		t.Fatal(err)
	}
	var within string
	want := errors.New("from start")
	if err := startOn(&server, func() (err error) {
		if within, err = allowed(); err != nil {
			t.Error(err)
		}
		return want
	}); !errors.Is(err, want) {
		t.Error(err)
	}
	var mask uint64
	for _, word := range strings.Split(within, ",") { // 32 bits each, the highest first.
		bits, err := strconv.ParseUint(word, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		mask = mask<<32 | bits
	}
	for cpu := range 64 {
		if (mask>>cpu&1 == 1) != server.IsSet(cpu) {
			t.Errorf("a process started on CPU set %v has %s", server[0], within)
			break
		}
	}
	if after, err := allowed(); err != nil || after != before {
		t.Errorf("afterwards a process has %s, before it had %s, %v", after, before, err)
	}
}

func TestConfine(t *testing.T) {
	_, others, all := twoCPUs(t)
	if err := confine(&others); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := confine(&all); err != nil {
			t.Error(err)
		}
		ofThreads(t, &all)
	}()
	ofThreads(t, &others)
	// A goroutine that ends with a locked thread takes that with it, so the next one
	// needs a new thread.
	for range 3 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			ofThreads(t, &others)
		}()
		<-done
	}
}

// ofThreads checks that all threads of this process have these CPUs.
func ofThreads(t *testing.T, want *unix.CPUSet) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Errorf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		var has unix.CPUSet
		if err := unix.SchedGetaffinity(tid, &has); err == nil && has != *want {
			t.Errorf("thread %d has %v, want %v", tid, has[0], want[0])
		}
	}
}
