// SPDX-License-Identifier: Apache-2.0

// Package doctor says how many connections a Linux host can hold, what limits them
// first, and which lines raise that.
//
//	host.go      Host: what /proc and /sys say
//	cgroup.go    the limits of the control group that the process is in
//	assess.go    Assess: the limits, as arithmetic over a Host and a Goal
//	advice.go    what does not limit how many, but how well
//	usage.go     how much of that is in use
//	text.go      the report for people
package doctor

import (
	"math"
	"strconv"
	"time"
)

// Amount is a number as the host has it, never below -1.
type Amount int64

const (
	Unknown   Amount = -1 // Not there, or not a number.
	Unlimited Amount = math.MaxInt64
)

// known says that there is a number, and that it is a limit.
func (a Amount) known() bool { return a >= 0 && a != Unlimited }

// MarshalJSON writes null for Unknown, and "unlimited", because 2^63-1 is no number
// that every reader of JSON can hold.
func (a Amount) MarshalJSON() ([]byte, error) {
	switch a {
	case Unknown:
		return []byte("null"), nil
	case Unlimited:
		return []byte(`"unlimited"`), nil
	}
	return strconv.AppendInt(nil, int64(a), 10), nil
}

// Host is what limits connections on this host. Memory is in bytes.
type Host struct {
	CPUs     Amount `json:"cpus"`
	PageSize Amount `json:"page_size"`

	FilesSoft Amount `json:"files_soft"`
	FilesHard Amount `json:"files_hard"`
	NrOpen    Amount `json:"nr_open"`
	FileMax   Amount `json:"file_max"`
	FilesUsed Amount `json:"files_used"` // Of the whole host.

	MemTotal     Amount `json:"mem_total"`
	MemAvailable Amount `json:"mem_available"`
	SwapTotal    Amount `json:"swap_total"`
	Swappiness   Amount `json:"swappiness"`
	THP          string `json:"transparent_hugepages"`

	TCPMem         [3]Amount `json:"tcp_mem"` // In pages.
	TCPRmem        [3]Amount `json:"tcp_rmem"`
	TCPWmem        [3]Amount `json:"tcp_wmem"`
	Somaxconn      Amount    `json:"somaxconn"`
	SynBacklog     Amount    `json:"tcp_max_syn_backlog"`
	Syncookies     Amount    `json:"tcp_syncookies"`
	PortRange      [2]Amount `json:"ip_local_port_range"`
	NetdevBacklog  Amount    `json:"netdev_max_backlog"`
	NetdevBudget   Amount    `json:"netdev_budget"`
	ConntrackMax   Amount    `json:"nf_conntrack_max"` // Unknown if it is not loaded.
	ConntrackCount Amount    `json:"nf_conntrack_count"`

	Cgroup Cgroup `json:"cgroup"`

	// Unread is what is not there or makes no sense, a line each.
	Unread []string `json:"unread,omitempty"`
}

// Cgroup is the tightest limits from the process's control group up to the root.
// Unlimited is also where there is no control group.
type Cgroup struct {
	Version   int    `json:"version"` // 2 or 1, of the memory limit; 0 if there is none.
	Memory    Amount `json:"memory_bytes"`
	Pids      Amount `json:"pids"`
	PidsUsed  Amount `json:"pids_used"` // Of the group that Pids is the limit of.
	MilliCPUs Amount `json:"milli_cpus"`
}

// Goal is what the edge is asked to do.
type Goal struct {
	Conns    int64         `json:"conns"` // 0: as many as possible.
	Loops    int           `json:"loops"`
	Reserve  int64         `json:"file_reserve"` // Files for everything that is no connection.
	Interval time.Duration `json:"interval_ns"`
}

// Report is what [Assess] finds.
type Report struct {
	Goal   Goal     `json:"goal"`
	Holds  int64    `json:"holds"`  // Connections; -1 if no limit could be read.
	Enough bool     `json:"enough"` // Holds >= Goal.Conns.
	Limits []Limit  `json:"limits"` // The lowest first.
	Memory Memory   `json:"memory"`
	Frames Frames   `json:"frames"`
	Advice []Advice `json:"advice,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	Host   Host     `json:"host"`
}

// Frames is how many connections can have a frame in each of their windows.
type Frames struct {
	Conns      int64         `json:"conns"`        // -1 if the processors are not known.
	Processors float64       `json:"processors"`   // That have a loop.
	Cost       time.Duration `json:"ns_per_frame"` // Of a processor.
}

// Limit is something of which there is only so much for connections.
type Limit struct {
	Name   string `json:"name"`
	Key    string `json:"key"` // Where it is set.
	Have   Amount `json:"have"`
	Conns  int64  `json:"conns"` // What Have is enough for.
	Sum    string `json:"sum"`   // How Conns follows from Have.
	Enough bool   `json:"enough"`
	Need   Amount `json:"need,omitempty"` // What Have must be for the goal, if it is not enough.
	Fixes  []Fix  `json:"fixes,omitempty"`
}

// Advice is something that holds no connection off but makes them slow, or lose the
// edge to the kernel's memory killer.
type Advice struct {
	Key   string `json:"key"`
	Have  string `json:"have"`
	Want  string `json:"want"`
	Why   string `json:"why"`
	Fixes []Fix  `json:"fixes,omitempty"`
}

// Fix is a line to change, and where it stands.
type Fix struct {
	Where string `json:"where"`
	Line  string `json:"line"`
}

func sysctl(line string) Fix { return Fix{"sysctl.d", line} }
