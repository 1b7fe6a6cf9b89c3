//go:build linux

// Package procfs reads what the kernel tells about a process and about its TCP
// memory.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
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
func Read(pid int) (Sample, error) {
	cpu, err := CPU(pid)
	if err != nil {
		return Sample{}, err
	}
	s := Sample{CPU: cpu}
	status, err := file(pid, "status")
	if err != nil {
		return s, err
	}
	if s.RSS, err = kilobytes(status, "VmRSS:"); err != nil {
		return s, fmt.Errorf("procfs: status of process %d: %w", pid, err)
	}
	threads, err := field(status, "Threads:")
	if err != nil {
		return s, fmt.Errorf("procfs: status of process %d: %w", pid, err)
	}
	s.Threads = int(threads)
	// Not every kernel has it and not every process may be looked into.
	if rollup, err := file(pid, "smaps_rollup"); err == nil {
		s.PSS, _ = kilobytes(rollup, "Pss:")
	}
	s.FDs, err = countFDs(pid)
	return s, err
}

// CPU is the CPU time of a process so far.
func CPU(pid int) (time.Duration, error) {
	stat, err := file(pid, "stat")
	if err != nil {
		return 0, err
	}
	// The name stands in parentheses and may contain anything, so fields are counted
	// from its end: state is the first, utime the 12th, stime the 13th.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("procfs: stat of process %d has %d fields after the name", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("procfs: stat of process %d: times %q and %q", pid, fields[11], fields[12])
	}
	return time.Duration(user+system) * clockTick, nil
}

// countFDs asks for the size of the directory, which is the number of descriptors since
// Linux 6.2. To list a million of them takes a second, and the kernel's memory for a
// million names.
func countFDs(pid int) (int, error) {
	d, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	defer d.Close()
	if info, err := d.Stat(); err == nil && info.Size() > 0 {
		return int(info.Size()), nil
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	return len(names), nil
}

// TCPMem is the memory in the buffers of all TCP sockets of this host, in bytes. On
// the loopback that includes the clients' ends.
func TCPMem() (int64, error) {
	b, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, fmt.Errorf("procfs: %w", err)
	}
	return tcpMem(string(b))
}

func tcpMem(sockstat string) (int64, error) {
	for line := range strings.Lines(sockstat) {
		rest, ok := strings.CutPrefix(line, "TCP:")
		if !ok {
			continue
		}
		pages, err := field(rest, " mem ")
		if err != nil {
			return 0, fmt.Errorf("procfs: sockstat: %w", err)
		}
		return pages * int64(os.Getpagesize()), nil
	}
	return 0, fmt.Errorf("procfs: sockstat has no line for TCP")
}

func file(pid int, name string) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return "", fmt.Errorf("procfs: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

func kilobytes(text, name string) (int64, error) {
	n, err := field(text, name)
	return n << 10, err
}

// field is the number behind a name.
func field(text, name string) (int64, error) {
	_, rest, _ := strings.Cut(text, name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("no %s", strings.TrimSpace(name))
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", strings.TrimSpace(name), err)
	}
	return n, nil
}
