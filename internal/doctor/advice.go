// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

const (
	// comeback is the time over which the clients of an edge that drains come back: as fast as
	// they are sent away, over its -drain.
	comeback = 10 * time.Second
	// lateness is how long a loop may be busy while connections wait in its queue.
	lateness = 250 * time.Millisecond
	// FlushCost is one processor's time for a frame of 10 rows. 20 µs were measured on
	// two busy processors, feed included; half of that is the kernel's.
	FlushCost = 20 * time.Microsecond
	// frameCost is the same of a processor that has nothing else to do, and is full: one that is not
	// takes more for each frame, which is no limit.
	frameCost = 6 * time.Microsecond
	// furtherRow is what a row more than ten adds to it.
	furtherRow = 60 * time.Nanosecond
	// MostBusy is the part of the processors that may be used, so that loops are in time.
	MostBusy = 0.7
	// backlogDefault is net.core.somaxconn of Linux since 5.4.
	backlogDefault = 4096
	// backlogMost is what gnet asks for at most.
	backlogMost = 65535
	// packetLateness is how long a processor may be away from its queue of packets.
	packetLateness = 50 * time.Millisecond
	// threads is what the Go runtime has beside the loops.
	threads = 64
)

// powerOfTwo rounds up.
func powerOfTwo(n int64) int64 { return 1 << bits.Len64(uint64(max(n, 1)-1)) }

// advise finds what hurts, but turns no connection away for good.
func (r *Report) advise(h Host, conns int64) {
	tell := func(key string, have any, want, why string, fixes ...Fix) {
		r.Advice = append(r.Advice, Advice{Key: key, Have: fmt.Sprint(have), Want: want, Why: why, Fixes: fixes})
	}
	atLeast := func(key string, have Amount, want int64, why string) {
		if have.known() && int64(have) < want {
			tell(key, int64(have), "at least "+strconv.FormatInt(want, 10), why, sysctl(fmt.Sprintf("%s = %d", key, want)))
		}
	}

	storm := conns * int64(lateness) / int64(comeback)
	backlog := min(max(powerOfTwo(storm), backlogDefault), backlogMost)
	atLeast("net.core.somaxconn", h.Somaxconn, backlog,
		"gnet takes it as the backlog of each loop's listener: the connections that may wait while the loop is busy; restart the edge after a change")
	if h.Syncookies == 0 {
		tell("net.ipv4.tcp_syncookies", 0, "1", "without cookies a full SYN queue turns clients away", sysctl("net.ipv4.tcp_syncookies = 1"))
		atLeast("net.ipv4.tcp_max_syn_backlog", h.SynBacklog, backlog, "without cookies it bounds handshakes under way")
	}
	flushes := int64(0)
	if r.Goal.Interval > 0 {
		flushes = conns * int64(time.Second) / int64(r.Goal.Interval)
	}
	if h.CPUs.known() && h.CPUs > 0 {
		if packets := flushes / int64(h.CPUs) * int64(packetLateness) / int64(time.Second); packets > int64(h.NetdevBacklog) {
			atLeast("net.core.netdev_max_backlog", h.NetdevBacklog, min(powerOfTwo(packets), 65536),
				"packets, an acknowledgement for each frame, that wait for a processor behind loopback, veth, or RPS")
		}
		if flushes >= 200_000 {
			atLeast("net.core.netdev_budget", h.NetdevBudget, 600, "packets that one round of the network softirq may take")
		}
	}
	r.adviseCPU(h, flushes, tell)
	r.adviseMemory(h, conns, tell)
}

type tell func(key string, have any, want, why string, fixes ...Fix)

func (r *Report) adviseCPU(h Host, flushes int64, tell tell) {
	milli := Unlimited
	if h.CPUs.known() {
		milli = h.CPUs * 1000
	}
	milli = min(milli, h.Cgroup.MilliCPUs)
	if milli == Unlimited {
		return
	}
	if r.Goal.Loops > 0 && r.Goal.Interval > 0 {
		loops := min(int64(milli), int64(r.Goal.Loops)*1000)
		r.Frames.Processors = float64(loops) / 1000
		r.Frames.Conns = int64(r.Frames.Processors * float64(r.Goal.Interval) / float64(frameCost))
	}
	have := fmt.Sprintf("%.3g", float64(milli)/1000)
	if most := max(1, (int(milli)+999)/1000); r.Goal.Loops > most {
		tell("-loops", r.Goal.Loops, strconv.Itoa(most), "this many processors ("+have+") are there for this process; more loops take turns on them",
			Fix{"environment", "EDGE_LOOPS=" + strconv.Itoa(most)})
	}
	if need := float64(flushes) * FlushCost.Seconds(); need > MostBusy*float64(milli)/1000 {
		tell("processors", have, fmt.Sprintf("%.0f, or a longer -interval", need/MostBusy+0.5),
			fmt.Sprintf("%s frames/s at %v each are %.1f processors if all topics tick", Count(flushes), FlushCost, need))
	}
	threads := Amount(threads + 2*max(r.Goal.Loops, 0))
	if c := h.Cgroup; c.Pids.known() && c.Pids-max(c.PidsUsed, 0) < threads {
		n := int64(threads + max(c.PidsUsed, 0))
		tell("pids.max", int64(c.Pids), "at least "+strconv.FormatInt(n, 10), "the Go runtime ends the process if it can't have a thread",
			Fix{"systemd", fmt.Sprintf("TasksMax=%d", n)}, Fix{"docker", fmt.Sprintf("--pids-limit %d", n)})
	}
}

func (r *Report) adviseMemory(h Host, conns int64, tell tell) {
	page := max(int64(h.PageSize), 1)
	if pages := conns * BusyPages; h.TCPMem[1].known() && h.TCPMem[2].known() {
		switch {
		case pages > int64(h.TCPMem[1]) && pages <= int64(h.TCPMem[2]):
			tell("net.ipv4.tcp_mem", fmt.Sprintf("pressure at %d pages", h.TCPMem[1]), fmt.Sprintf("at %d", pages),
				"under pressure the kernel shrinks the buffers of all sockets", sysctl(tcpMem(pages)))
		case h.MemTotal.known() && int64(h.TCPMem[2]) > int64(h.MemTotal)/2/page:
			tell("net.ipv4.tcp_mem", fmt.Sprintf("%d pages at most", h.TCPMem[2]), fmt.Sprintf("at most %d", int64(h.MemTotal)/2/page),
				"TCP may take more than half of the memory, which can't be swapped or given back")
		}
	}
	for _, b := range []struct {
		key  string
		have [3]Amount
		line string
	}{
		{"net.ipv4.tcp_rmem", h.TCPRmem, "net.ipv4.tcp_rmem = 4096 131072 6291456"},
		{"net.ipv4.tcp_wmem", h.TCPWmem, "net.ipv4.tcp_wmem = 4096 16384 4194304"},
	} {
		if b.have[0].known() && int64(b.have[0]) > page {
			tell(b.key, fmt.Sprintf("%d guaranteed", b.have[0]), strconv.FormatInt(page, 10),
				"every socket may hold this much even when TCP is short of memory", sysctl(b.line))
		}
	}
	if h.SwapTotal.known() && h.SwapTotal > 0 && h.Swappiness > 10 {
		tell("vm.swappiness", int64(h.Swappiness), "at most 10", "a loop that waits for a page from swap is late for all of its connections",
			sysctl("vm.swappiness = 10"))
	}
	if h.THP == "always" {
		tell("transparent_hugepage", h.THP, "madvise", "a huge page for a few live objects makes the heap larger than it is",
			Fix{"root shell", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"})
	}
}

// note says what is often taken for a limit and is none.
func (r *Report) note(h Host) {
	if low, high := h.PortRange[0], h.PortRange[1]; low.known() && high >= low && high.known() {
		r.Notes = append(r.Notes, fmt.Sprintf("net.ipv4.ip_local_port_range %d to %d, %s ports: no limit for clients, who all come to one port; "+
			"it matters for load generators, for a proxy before the edge, and for the few connections to Redis", low, high, Count(int64(high-low+1))))
	}
	if h.Syncookies > 0 && h.SynBacklog.known() {
		r.Notes = append(r.Notes, fmt.Sprintf("net.ipv4.tcp_max_syn_backlog %d: without effect while net.ipv4.tcp_syncookies is %d", h.SynBacklog, h.Syncookies))
	}
	if h.Cgroup.Memory.known() {
		r.Notes = append(r.Notes, fmt.Sprintf("the memory limit of the control group is %s of %s; GOMEMLIMIT=%dMiB leaves the rest to the sockets, which count there as well",
			Bytes(int64(h.Cgroup.Memory)), Bytes(int64(h.MemTotal)), (r.Memory.Base+r.Memory.Conns*r.Memory.User)>>20))
	}
}
