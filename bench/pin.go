// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// splitCPUs divides the CPUs that bench may use: the last one for a server alone, the
// others for everything else. The first CPU is the one that most machines let handle
// the interrupts of their devices.
func splitCPUs() (server, others unix.CPUSet, err error) {
	if err := unix.SchedGetaffinity(0, &others); err != nil {
		return server, others, os.NewSyscallError("sched_getaffinity", err)
	}
	if others.Count() < 2 {
		return server, others, errors.New("there is one CPU only: the server needs one for itself, so run it where bench may use two or more")
	}
	last := len(others)*64 - 1 // An element of the set has at most 64 bits.
	for !others.IsSet(last) {
		last--
	}
	server.Set(last)
	others.Clear(last)
	return server, others, nil
}

// splitHost has this process and all that it starts from now on run beside the CPU that is the
// server's, until release is called.
func splitHost() (server unix.CPUSet, release func() error, err error) {
	server, others, err := splitCPUs()
	if err != nil {
		return server, nil, err
	}
	all := server
	for i := range all {
		all[i] |= others[i]
	}
	if err := confine(&others); err != nil {
		return server, nil, err
	}
	// The runtime would make do with as many Ps as there are CPUs now. A swarm keeps its
	// own while it rests; the reader of the plain conns and everybody else need theirs.
	runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0)))
	return server, func() error {
		runtime.SetDefaultGOMAXPROCS()
		return confine(&all)
	}, nil
}

// confine lets all threads of this process, and all that they start from now on, run
// on these CPUs only.
func confine(cpus *unix.CPUSet) error {
	// A new thread is confined as the one that made it. So when a look at all threads
	// finds none to confine, there will be none.
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("confine bench to CPUs: %w", err)
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return fmt.Errorf("confine bench to CPUs: %w", err)
			}
			var has unix.CPUSet
			if err := unix.SchedGetaffinity(tid, &has); err != nil || has == *cpus {
				continue // It has ended, or has been confined.
			}
			again = true
			if err := unix.SchedSetaffinity(tid, cpus); err != nil && err != unix.ESRCH {
				return os.NewSyscallError("sched_setaffinity", err)
			}
		}
	}
	return nil
}

// startOn calls start, and the processes that start starts, and all their threads, run
// on these CPUs only. A process begins with the CPUs of the thread that starts it, so
// it is that thread which is confined for the time: there is no moment in which the
// process runs elsewhere or counts more CPUs.
func startOn(cpus *unix.CPUSet, start func() error) error {
	runtime.LockOSThread()
	// Before this goroutine ends: with a locked thread would end all it has started.
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if err := unix.SchedSetaffinity(0, cpus); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(start(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}
