// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// What a connection costs, which package plan goes by too. docs/TUNING.md has the commands behind the measured ones.
const (
	// UserPerConn is the resident memory of the edge per connection with 10 topics:
	// 1.4 KB were measured with GOGC=100, and the edge's own GOGC needs less. It is
	// rounded up, for clients with more topics and for operators who set GOGC.
	UserPerConn = 2 << 10
	// IdlePerConn is the kernel's memory for a socket in epoll without data: 4,152
	// bytes were measured on Linux 6.18, x86-64. Half of it is the TCP socket.
	IdlePerConn = 4200
	// BusyPages is what tcp_mem counts for a socket with a frame on its way: its data
	// is accounted in whole pages. It is assumed for all connections at once, which is
	// right if clients acknowledge later than the next frame comes, and too much else.
	BusyPages = 1
	// ProcessBase is the edge without connections, and room for 100,000 topics.
	ProcessBase = 128 << 20
)

// What is in use where clients take what they are sent at once, which is less: what is said above is what it is safe to have.
const (
	usedBase    = 27 << 20 // The edge without connections, its program included.
	usedPerConn = 834      // With 10 topics.
	// A control group is charged for neither the program, whose pages are those of a file, nor all that the kernel has for a socket.
	groupBase    = 10 << 20
	groupPerConn = 1486
)

// usable is the share of memory that connections may take. The kernel needs a part for
// other things, and memory that is full to the last page is slow before it is full.
func usable(bytes Amount) int64 { return int64(bytes) / 10 * 9 }

// ToHave is the memory of which so many bytes are usable.
func ToHave(bytes int64) int64 { return bytes/9*10 + 10 }

// Memory is what connections cost, in bytes.
type Memory struct {
	User     int64 `json:"user_per_conn"`
	Idle     int64 `json:"kernel_per_idle_conn"`
	Busy     int64 `json:"kernel_per_busy_conn"` // More than Idle, while data is on its way.
	Base     int64 `json:"base"`
	PerConn  int64 `json:"per_conn"`
	Conns    int64 `json:"conns"` // The goal, or what is held.
	All      int64 `json:"all"`
	AllInTCP int64 `json:"all_in_tcp_mem"` // The part that tcp_mem limits.
	InUse    int64 `json:"in_use"`         // What is expected to be, as edge_load_ratio counts it.
}

// connsMost bounds the goal in the arithmetic, so that no product overflows.
const connsMost = 1 << 40

// Assess compares the host with the goal. It reads nothing and changes nothing.
func Assess(h Host, g Goal) Report {
	g.Conns = min(g.Conns, connsMost)
	page := max(int64(h.PageSize), 1)
	r := Report{Goal: g, Holds: -1, Host: h, Frames: Frames{Conns: -1, Cost: frameCost}}
	r.Memory = Memory{User: UserPerConn, Idle: IdlePerConn, Busy: BusyPages * page, Base: ProcessBase}
	r.Memory.PerConn = r.Memory.User + r.Memory.Idle + r.Memory.Busy

	r.limits(h, g)
	slices.SortStableFunc(r.Limits, func(a, b Limit) int { return cmp.Compare(a.Conns, b.Conns) })
	if len(r.Limits) > 0 {
		r.Holds = r.Limits[0].Conns
	}
	r.Enough = g.Conns == 0 || r.Holds >= g.Conns
	r.Memory.Conns = g.Conns
	if g.Conns == 0 {
		r.Memory.Conns = max(r.Holds, 0)
	}
	r.Memory.All = r.Memory.Base + r.Memory.Conns*r.Memory.PerConn
	r.Memory.AllInTCP = r.Memory.Conns * r.Memory.Busy
	r.Memory.InUse = usedBase + r.Memory.Conns*(usedPerConn+IdlePerConn)
	if h.Cgroup.Memory.known() {
		r.Memory.InUse = groupBase + r.Memory.Conns*(usedPerConn+groupPerConn)
	}
	r.advise(h, r.Memory.Conns)
	r.note(h)
	return r
}

// limits fills in all limits that are known.
func (r *Report) limits(h Host, g Goal) {
	reserve := g.Reserve
	files := g.Conns + reserve
	r.add(Limit{Name: "open files of the process", Key: "RLIMIT_NOFILE", Have: h.FilesHard,
		Conns: int64(h.FilesHard) - reserve, Need: Amount(files),
		Sum: fmt.Sprintf("%s - %s kept for everything else", Count(int64(h.FilesHard)), Count(reserve)),
		Fixes: []Fix{
			{"systemd", fmt.Sprintf("LimitNOFILE=%d", files)},
			{"root shell", fmt.Sprintf("ulimit -n %d", files)},
			{"limits.conf", fmt.Sprintf("* - nofile %d", files)},
			{"docker", fmt.Sprintf("--ulimit nofile=%d:%d", files, files)},
		}})
	r.add(Limit{Name: "open files, what a process may ask for", Key: "fs.nr_open", Have: h.NrOpen,
		Conns: int64(h.NrOpen) - reserve, Need: Amount(files),
		Sum:   fmt.Sprintf("%s - %s", Count(int64(h.NrOpen)), Count(reserve)),
		Fixes: []Fix{sysctl(fmt.Sprintf("fs.nr_open = %d", files))}})
	used := max(h.FilesUsed, 0)
	r.add(Limit{Name: "open files of the host", Key: "fs.file-max", Have: h.FileMax,
		Conns: int64(h.FileMax-used) - reserve, Need: Amount(files) + used,
		Sum:   fmt.Sprintf("%s - %s open now - %s", Count(int64(h.FileMax)), Count(int64(used)), Count(reserve)),
		Fixes: []Fix{sysctl(fmt.Sprintf("fs.file-max = %d", files+int64(used)))}})

	need := Amount(ToHave(ProcessBase + g.Conns*r.Memory.PerConn))
	mib := (int64(need) + 1<<20 - 1) >> 20
	memory := func(have Amount) (int64, string) {
		return (usable(have) - ProcessBase) / r.Memory.PerConn,
			fmt.Sprintf("(9/10 of %s - %s) / %s", Bytes(int64(have)), Bytes(ProcessBase), Count(r.Memory.PerConn))
	}
	conns, sum := memory(h.MemAvailable)
	r.add(Limit{Name: "memory available on the host", Key: "MemAvailable", Have: h.MemAvailable,
		Conns: conns, Sum: sum, Need: need,
		Fixes: []Fix{{"hardware", fmt.Sprintf("%d MiB of memory available", mib)}}})
	conns, sum = memory(h.Cgroup.Memory)
	file := "memory.max"
	if h.Cgroup.Version == 1 {
		file = "memory.limit_in_bytes"
	}
	r.add(Limit{Name: "memory of the control group", Key: file, Have: h.Cgroup.Memory,
		Conns: conns, Sum: sum, Need: need,
		Fixes: []Fix{
			{"systemd", fmt.Sprintf("MemoryMax=%dM", mib)},
			{"docker", fmt.Sprintf("--memory %dm", mib)},
			{"kubernetes", fmt.Sprintf("resources.limits.memory: %dMi", mib)},
		}})

	pages := g.Conns * BusyPages
	r.add(Limit{Name: "TCP buffers of the host, in pages", Key: "net.ipv4.tcp_mem", Have: h.TCPMem[2],
		Conns: int64(h.TCPMem[2]) / BusyPages, Need: Amount(pages),
		Sum:   fmt.Sprintf("%s pages, %d for each connection", Count(int64(h.TCPMem[2])), BusyPages),
		Fixes: []Fix{sysctl(tcpMem(pages))}})
	tracked := max(h.ConntrackCount, 0)
	r.add(Limit{Name: "connection tracking, if a firewall or NAT rule needs it", Key: "net.netfilter.nf_conntrack_max", Have: h.ConntrackMax,
		Conns: int64(h.ConntrackMax - tracked), Need: Amount(2*g.Conns) + tracked,
		Sum:   fmt.Sprintf("%s - %s tracked now", Count(int64(h.ConntrackMax)), Count(int64(tracked))),
		Fixes: []Fix{sysctl(fmt.Sprintf("net.netfilter.nf_conntrack_max = %d", 2*g.Conns+int64(tracked)))}})
}

// add takes a limit in if it is known. Need and Fixes stay only if it is not enough.
func (r *Report) add(l Limit) {
	if !l.Have.known() {
		return
	}
	l.Conns = max(l.Conns, 0)
	if l.Enough = l.Conns >= r.Goal.Conns; l.Enough {
		l.Need, l.Fixes = 0, nil
	}
	r.Limits = append(r.Limits, l)
}

// tcpMem is a line whose mark of pressure, the second number, is at these pages.
func tcpMem(pages int64) string {
	return fmt.Sprintf("net.ipv4.tcp_mem = %d %d %d", pages*3/4, pages, pages*3/2)
}
