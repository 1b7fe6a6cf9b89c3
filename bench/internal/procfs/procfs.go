// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package procfs reads what the kernel tells about a process, and about the memory and the
// network of the host.
package procfs

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// clockTick is the unit of the times in /proc/<pid>/stat: USER_HZ, 100 everywhere.
const clockTick = 10 * time.Millisecond

// Sample is a process at one moment.
type Sample struct {
	CPU     time.Duration `json:"cpu_ns"` // User and system, of all threads, since its start.
	RSS     int64         `json:"rss_bytes"`
	PSS     int64         `json:"pss_bytes"` // Pages shared with other processes count in part. 0 if unreadable.
	Threads int           `json:"threads"`
	FDs     int           `json:"fds"`
}

// Read samples a process. The CPU time comes first, as counting descriptors may take
// a while.
func Read(pid int) (s Sample, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return s, fmt.Errorf("procfs: process %d: %w", pid, err)
	}
	stat, err := p.Stat()
	status, statusErr := p.NewStatus()
	fds, fdsErr := p.FileDescriptorsLen()
	if err = errors.Join(err, statusErr, fdsErr); err == nil && status.VmRSS == 0 {
		err = errors.New("it has ended")
	}
	if err != nil {
		return s, fmt.Errorf("procfs: process %d: %w", pid, err)
	}
	// Not every kernel has it and not every process may be looked into.
	rollup, _ := p.ProcSMapsRollup()
	return Sample{CPU: cpuOf(stat), RSS: int64(status.VmRSS), PSS: int64(rollup.Pss), Threads: stat.NumThreads, FDs: fds}, nil
}

// CPU is the CPU time of a process so far.
func CPU(pid int) (time.Duration, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, fmt.Errorf("procfs: process %d: %w", pid, err)
	}
	stat, err := p.Stat()
	return cpuOf(stat), err
}

func cpuOf(s procfs.ProcStat) time.Duration { return time.Duration(s.UTime+s.STime) * clockTick }

// TCPMem is the memory in the buffers of all TCP sockets of this host, in bytes. On
// the loopback that includes the clients' ends.
func TCPMem() (int64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	stat, err := fs.NetSockstat()
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	for _, p := range stat.Protocols {
		if p.Protocol == "TCP" && p.Mem != nil {
			return int64(*p.Mem) * int64(os.Getpagesize()), nil
		}
	}
	return 0, errors.New("procfs: sockstat has no line for TCP")
}

// Slab is the memory that the kernel has for sockets, files, inodes and what else it keeps,
// in bytes.
func Slab() (int64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	mem, err := fs.Meminfo()
	if err == nil && mem.SlabBytes == nil {
		err = errors.New("meminfo has no Slab")
	}
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	return int64(*mem.SlabBytes), nil
}

// DelayedAcks is how many acknowledgements of this host a timer has sent.
func DelayedAcks() (float64, error) {
	p, err := procfs.Self()
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	stat, err := p.Netstat()
	if err == nil && stat.DelayedACKs == nil {
		err = errors.New("netstat has no DelayedACKs")
	}
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	return *stat.DelayedACKs, nil
}

// Busy is the time that the processors of this host have worked since its start, of all the time
// that they have had. What the host of a virtual machine took is time that they worked.
func Busy() (busy, all time.Duration, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, fmt.Errorf("procfs: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("procfs: %w", err)
	}
	c := stat.CPUTotal
	worked, idle := c.User+c.Nice+c.System+c.IRQ+c.SoftIRQ+c.Steal, c.Idle+c.Iowait
	return time.Duration(worked * float64(time.Second)), time.Duration((worked + idle) * float64(time.Second)), nil
}
