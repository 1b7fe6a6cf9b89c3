// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"math"
	"strings"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// big is a host that is set up for a million connections. Tests take away from it.
func big() Host {
	return Host{
		CPUs: 64, PageSize: 4096,
		FilesSoft: 2_000_000, FilesHard: 2_000_000, NrOpen: 2_097_152, FileMax: Unlimited, FilesUsed: 3000,
		MemTotal: 64 * gib, MemAvailable: 60 * gib, SwapTotal: 0, Swappiness: 60, THP: "madvise",
		TCPMem:    [3]Amount{1_500_000, 2_000_000, 3_000_000},
		TCPRmem:   [3]Amount{4096, 131072, 6291456},
		TCPWmem:   [3]Amount{4096, 16384, 4194304},
		Somaxconn: 65535, SynBacklog: 65536, Syncookies: 1, PortRange: [2]Amount{32768, 60999},
		NetdevBacklog: 16384, NetdevBudget: 600, ConntrackMax: Unknown, ConntrackCount: Unknown,
		Cgroup: Cgroup{Memory: Unlimited, Pids: Unlimited, PidsUsed: Unknown, MilliCPUs: Unlimited},
	}
}

func goal(conns int64) Goal {
	return Goal{Conns: conns, Loops: 2, Reserve: 328, Interval: 500 * time.Millisecond}
}

func TestWhatLimitsFirst(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Host)
		conns  int64
		first  string
		holds  int64
		enough bool
	}{
		{"a million", func(*Host) {}, 1_000_000, "RLIMIT_NOFILE", 2_000_000 - 328, true},
		{"20,000 files", func(h *Host) { h.FilesHard = 20_000 }, 100_000, "RLIMIT_NOFILE", 19_672, false},
		{"just enough files", func(h *Host) { h.FilesHard = 100_328 }, 100_000, "RLIMIT_NOFILE", 100_000, true},
		{"one file too few", func(h *Host) { h.FilesHard = 100_327 }, 100_000, "RLIMIT_NOFILE", 99_999, false},
		{"fewer files than are kept", func(h *Host) { h.FilesHard = 256 }, 1, "RLIMIT_NOFILE", 0, false},
		{"unlimited files", func(h *Host) { h.FilesHard = Unlimited }, 1_000_000, "fs.nr_open", 2_097_152 - 328, true},
		{"full file table", func(h *Host) { h.FileMax, h.FilesUsed = 100_000, 60_000 }, 50_000, "fs.file-max", 39_672, false},
		{"laptop", func(h *Host) { h.MemTotal, h.MemAvailable = 4*gib, 1*gib }, 100_000, "MemAvailable",
			(1*gib/10*9 - ProcessBase) / 10_344, false},
		{"container of 512 MiB", func(h *Host) { h.Cgroup.Memory, h.Cgroup.Version = 512*mib, 2 }, 100_000, "memory.max",
			(512*mib/10*9 - ProcessBase) / 10_344, false},
		{"container of version 1", func(h *Host) { h.Cgroup.Memory, h.Cgroup.Version = 512*mib, 1 }, 10_000, "memory.limit_in_bytes",
			(512*mib/10*9 - ProcessBase) / 10_344, true},
		{"container smaller than the edge", func(h *Host) { h.Cgroup.Memory = 64 * mib }, 1, "memory.max", 0, false},
		{"conntrack", func(h *Host) { h.ConntrackMax, h.ConntrackCount = 65_536, 536 }, 100_000, "net.netfilter.nf_conntrack_max", 65_000, false},
		{"tcp_mem", func(h *Host) { h.TCPMem = [3]Amount{1000, 2000, 50_000} }, 100_000, "net.ipv4.tcp_mem", 50_000, false},
		{"a slow backlog limits nothing", func(h *Host) { h.Somaxconn = 128 }, 1_000_000, "RLIMIT_NOFILE", 2_000_000 - 328, true},
		{"no goal", func(h *Host) { h.FilesHard = 1024 }, 0, "RLIMIT_NOFILE", 696, true},
		{"absurd goal", func(*Host) {}, math.MaxInt64, "RLIMIT_NOFILE", 2_000_000 - 328, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := big()
			c.change(&h)
			r := Assess(h, goal(c.conns))
			if r.Holds != c.holds || r.Enough != c.enough || r.Limits[0].Key != c.first {
				t.Errorf("holds %d, enough %v, first %s; want %d, %v, %s", r.Holds, r.Enough, r.Limits[0].Key, c.holds, c.enough, c.first)
			}
			for i, l := range r.Limits {
				if i > 0 && l.Conns < r.Limits[i-1].Conns {
					t.Errorf("%s with %d comes after %d", l.Key, l.Conns, r.Limits[i-1].Conns)
				}
				if l.Enough != (l.Conns >= r.Goal.Conns) || l.Enough != (len(l.Fixes) == 0) || l.Need < 0 || l.Conns < 0 {
					t.Errorf("goal %d: %+v", r.Goal.Conns, l)
				}
			}
		})
	}
}

// What the doctor asks for is enough, and one less is not, but for conntrack where it
// asks for twice as much.
func TestTheCureIsEnough(t *testing.T) {
	small := big()
	small.FilesHard, small.NrOpen, small.FileMax = 1024, 4096, 50_000
	small.MemAvailable, small.Cgroup.Memory = 700*mib, 512*mib
	small.TCPMem = [3]Amount{300, 400, 600}
	small.ConntrackMax, small.ConntrackCount = 65_536, 99
	for _, conns := range []int64{70_000, 100_000, 1_000_000, 9_999_999} {
		for _, l := range Assess(small, goal(conns)).Limits {
			if l.Enough || l.Need <= l.Have {
				t.Fatalf("%s is enough for %d: %+v", l.Key, conns, l)
			}
			for less := range Amount(2) {
				h := big()
				*map[string]*Amount{
					"RLIMIT_NOFILE": &h.FilesHard, "fs.nr_open": &h.NrOpen, "fs.file-max": &h.FileMax,
					"MemAvailable": &h.MemAvailable, "memory.max": &h.Cgroup.Memory,
					"net.ipv4.tcp_mem": &h.TCPMem[2], "net.netfilter.nf_conntrack_max": &h.ConntrackMax,
				}[l.Key] = l.Need - less*max(1, l.Need/100)
				h.FilesUsed, h.ConntrackCount = small.FilesUsed, small.ConntrackCount
				for _, again := range Assess(h, goal(conns)).Limits {
					if again.Key == l.Key && again.Enough != (less == 0) && l.Key != "net.netfilter.nf_conntrack_max" {
						t.Errorf("%s: %d is %v for %d", l.Key, l.Need-less, again.Enough, conns)
					}
				}
			}
		}
	}
}

func TestFixesAreTheLinesToWrite(t *testing.T) {
	h := big()
	h.FilesHard, h.NrOpen, h.FileMax, h.FilesUsed = 1024, 4096, 50_000, 672
	h.Cgroup.Memory = 512 * mib
	h.TCPMem = [3]Amount{300, 400, 600}
	h.ConntrackMax, h.ConntrackCount = 65_536, 100
	var lines []string
	for _, l := range Assess(h, goal(100_000)).Limits {
		if l.Key == "net.ipv4.tcp_mem" && l.Have != 600 {
			t.Errorf("of tcp_mem %d counts, want the third number", l.Have)
		}
		for _, f := range l.Fixes {
			lines = append(lines, f.Where+": "+f.Line)
		}
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{
		"systemd: LimitNOFILE=100328", "root shell: ulimit -n 100328", "docker: --ulimit nofile=100328:100328",
		"sysctl.d: fs.nr_open = 100328", "sysctl.d: fs.file-max = 101000",
		"sysctl.d: net.ipv4.tcp_mem = 75000 100000 150000", "sysctl.d: net.netfilter.nf_conntrack_max = 200100",
		"systemd: MemoryMax=1239M", "docker: --memory 1239m",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in:\n%s", want, all)
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Host, *Goal)
		want   string // "key want", nothing if empty
	}{
		{"none", func(*Host, *Goal) {}, ""},
		{"somaxconn 128", func(h *Host, _ *Goal) { h.Somaxconn = 128 }, "net.core.somaxconn at least 4096"},
		{"somaxconn of a million", func(h *Host, g *Goal) { h.Somaxconn, g.Conns, g.Interval = 4096, 1_000_000, time.Minute }, "net.core.somaxconn at least 32768"},
		{"no cookies", func(h *Host, _ *Goal) { h.Syncookies = 0 }, "net.ipv4.tcp_syncookies 1"},
		{"no cookies, short queue", func(h *Host, _ *Goal) { h.Syncookies, h.SynBacklog = 0, 128 }, "net.ipv4.tcp_max_syn_backlog at least 4096"},
		{"cookies, short queue", func(h *Host, _ *Goal) { h.SynBacklog = 128 }, ""},
		{"packets", func(h *Host, _ *Goal) { h.CPUs, h.NetdevBacklog = 8, 1000 }, "net.core.netdev_max_backlog at least 2048"},
		{"few processors", func(h *Host, g *Goal) { h.CPUs = 2 }, "processors 6, or a longer -interval"},
		{"a quota below the loops", func(h *Host, g *Goal) { h.Cgroup.MilliCPUs, g.Loops = 6500, 64 }, "-loops 7"},
		{"pids", func(h *Host, _ *Goal) { h.Cgroup.Pids, h.Cgroup.PidsUsed = 100, 50 }, "pids.max at least 118"},
		{"pressure", func(h *Host, _ *Goal) { h.TCPMem = [3]Amount{60_000, 80_000, 120_000} }, "net.ipv4.tcp_mem at 100000"},
		{"more than half for TCP", func(h *Host, _ *Goal) { h.MemTotal = 16 * gib }, "net.ipv4.tcp_mem at most 2097152"},
		{"large guarantees", func(h *Host, _ *Goal) { h.TCPWmem[0] = 65536 }, "net.ipv4.tcp_wmem 4096"},
		{"swap", func(h *Host, _ *Goal) { h.SwapTotal = gib }, "vm.swappiness at most 10"},
		{"swap, not swappy", func(h *Host, _ *Goal) { h.SwapTotal, h.Swappiness = gib, 1 }, ""},
		{"huge pages", func(h *Host, _ *Goal) { h.THP = "always" }, "transparent_hugepage madvise"},
		{"nothing known", func(h *Host, _ *Goal) { *h = unknownHost() }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, g := big(), goal(100_000)
			c.change(&h, &g)
			var have []string
			for _, a := range Assess(h, g).Advice {
				have = append(have, a.Key+" "+a.Want)
			}
			if all := strings.Join(have, "; "); c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("%s, want %s", all, c.want)
			}
		})
	}
}

// A loop has one processor at most, and a quota may leave it less.
func TestFramesOfTheProcessors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Host, *Goal)
		want   Frames
	}{
		"two loops":                  {func(*Host, *Goal) {}, Frames{int64(2 * 500 * time.Millisecond / frameCost), 2, frameCost}},
		"more loops than processors": {func(h *Host, g *Goal) { h.CPUs, g.Loops = 4, 8 }, Frames{int64(4 * 500 * time.Millisecond / frameCost), 4, frameCost}},
		"a quota":                    {func(h *Host, _ *Goal) { h.Cgroup.MilliCPUs = 1500 }, Frames{int64(750 * time.Millisecond / frameCost), 1.5, frameCost}},
		"a longer window":            {func(_ *Host, g *Goal) { g.Interval = time.Second }, Frames{int64(2 * time.Second / frameCost), 2, frameCost}},
		"nothing is known":           {func(h *Host, _ *Goal) { *h = unknownHost() }, Frames{-1, 0, frameCost}},
	} {
		h, g := big(), goal(0)
		c.change(&h, &g)
		if got := Assess(h, g).Frames; got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// unknownHost is what a host without /proc gives.
func unknownHost() Host {
	h := ReadHost(emptyFS)
	h.Unread = nil
	return h
}

func TestNothingKnown(t *testing.T) {
	if r := Assess(unknownHost(), goal(1)); r.Holds != -1 || r.Enough || len(r.Limits) != 0 {
		t.Errorf("holds %d, enough %v, %d limits", r.Holds, r.Enough, len(r.Limits))
	}
	if r := Assess(unknownHost(), goal(0)); r.Holds != -1 || !r.Enough {
		t.Errorf("without a goal: holds %d, enough %v", r.Holds, r.Enough)
	}
	// The limits that are known count without the others.
	h := unknownHost()
	h.FilesHard = 20_000
	if r := Assess(h, goal(1)); r.Holds != 19_672 || len(r.Limits) != 1 {
		t.Errorf("holds %d of %d limits", r.Holds, len(r.Limits))
	}
}

// What is expected to be in use is what was measured, within a fifth: docs/TUNING.md, M5.
func TestMemoryInUse(t *testing.T) {
	for _, m := range []struct {
		limit Amount
		conns int64
		used  float64 // MB
	}{{192 << 20, 4541, 20.3}, {192 << 20, 14_000, 42}, {64 << 20, 5000, 21.6}, {64 << 20, 14_400, 42.3}, {64 << 20, 15_500, 45.5}} {
		h := big()
		h.Cgroup.Memory = m.limit
		got := float64(Assess(h, goal(m.conns)).Memory.InUse) / 1e6
		if got < 0.8*m.used || got > 1.2*m.used {
			t.Errorf("%d connections: %.1f MB are expected, %.1f were in use", m.conns, got, m.used)
		}
	}
	if without := Assess(big(), goal(1000)).Memory.InUse; without <= usedBase {
		t.Errorf("%d bytes on a host without groups", without)
	}
}
