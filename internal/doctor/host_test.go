// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

var emptyFS = fstest.MapFS{}

const limitsFile = `Limit                     Soft Limit           Hard Limit           Units
Max processes             96365                96365                processes
Max open files            1024                 20000                files
Max locked memory         8388608              unlimited            bytes
`

// files makes a file system out of names and contents.
func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

// whole is a host with every file.
func whole() fstest.MapFS {
	return files(
		"proc/self/limits", limitsFile,
		"proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n",
		"proc/meminfo", "MemTotal:       24684084 kB\nMemFree: 1 kB\nMemAvailable:   24268868 kB\nSwapTotal:  0 kB\n",
		"proc/sys/fs/nr_open", "1048576\n", "proc/sys/fs/file-max", "9223372036854775807\n",
		"proc/sys/fs/file-nr", "379\t0\t9223372036854775807\n", "proc/sys/vm/swappiness", "60\n",
		"proc/sys/net/core/somaxconn", "4096\n", "proc/sys/net/core/netdev_max_backlog", "1000\n",
		"proc/sys/net/core/netdev_budget", "300\n", "proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n",
		"proc/sys/net/ipv4/tcp_syncookies", "1\n", "proc/sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n",
		"proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n", "proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n",
		"proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n",
		"proc/sys/net/netfilter/nf_conntrack_max", "262144\n", "proc/sys/net/netfilter/nf_conntrack_count", "7\n",
		"sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n",
		"proc/self/cgroup", "0::/a/b\n",
		"sys/fs/cgroup/a/b/memory.max", "536870912\n", "sys/fs/cgroup/a/b/memory.high", "max\n",
		"sys/fs/cgroup/a/b/pids.max", "512\n", "sys/fs/cgroup/a/b/pids.current", "3\n",
		"sys/fs/cgroup/a/b/cpu.max", "150000 100000\n",
	)
}

func TestReadHost(t *testing.T) {
	have := ReadHost(whole())
	have.PageSize = 4096
	want := Host{
		CPUs: 2, PageSize: 4096, FilesSoft: 1024, FilesHard: 20_000, NrOpen: 1_048_576, FileMax: Unlimited, FilesUsed: 379,
		MemTotal: 24684084 * kib, MemAvailable: 24268868 * kib, SwapTotal: 0, Swappiness: 60, THP: "madvise",
		TCPMem: [3]Amount{287898, 383867, 575796}, TCPRmem: [3]Amount{4096, 131072, 33554432},
		TCPWmem: [3]Amount{4096, 16384, 4194304}, Somaxconn: 4096, SynBacklog: 2048, Syncookies: 1,
		PortRange: [2]Amount{32768, 60999}, NetdevBacklog: 1000, NetdevBudget: 300, ConntrackMax: 262144, ConntrackCount: 7,
		Cgroup: Cgroup{Version: 2, Memory: 512 * mib, Pids: 512, PidsUsed: 3, MilliCPUs: 1500},
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
}

func TestMissingFilesAreNamed(t *testing.T) {
	for name := range whole() {
		root := whole()
		delete(root, name)
		unread := ReadHost(root).Unread
		switch {
		case strings.Contains(name, "cgroup"), strings.Contains(name, "hugepage"), strings.HasSuffix(name, "nf_conntrack_max"):
			// Many hosts do without.
			if len(unread) != 0 {
				t.Errorf("without %s: %q", name, unread)
			}
		case len(unread) != 1 || !strings.HasPrefix(unread[0], "/"+name+": not there"):
			t.Errorf("without %s: %q", name, unread)
		}
	}
}

func TestGarbageIsNamedAndUnknown(t *testing.T) {
	for name := range whole() {
		for _, garbage := range []string{"", "\x00\xff", "seven", "-7", "1 2 3 4 5", "1.5 2.5 3.5"} {
			root := whole()
			root[name] = &fstest.MapFile{Data: []byte(garbage)}
			h := ReadHost(root) // It must not panic, and neither must what follows.
			Assess(h, goal(100_000))
			if strings.Contains(name, "proc/sys") && (len(h.Unread) != 1 || !strings.HasPrefix(h.Unread[0], "/"+name+": ")) {
				t.Errorf("%s is %q: %q", name, garbage, h.Unread)
			}
		}
	}
	root := whole()
	root["proc/sys/net/ipv4/tcp_mem"].Data = []byte("1 2 x")
	if h := ReadHost(root); h.TCPMem != [3]Amount{Unknown, Unknown, Unknown} {
		t.Errorf("tcp_mem is %v", h.TCPMem)
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]Amount{
		"0": 0, "4096": 4096, "max": Unlimited, "unlimited": Unlimited, "-1": Unlimited,
		"9223372036854771712": Unlimited, "18446744073709551615": Unlimited, "99999999999999999999999": Unlimited,
		"": Unknown, "-2": Unknown, "1.5": Unknown, "7 kB": Unknown,
	} {
		if have, ok := number(text); have != want || ok != (want != Unknown) {
			t.Errorf("%q is %d, %v, want %d", text, have, ok, want)
		}
	}
}

func TestCgroup(t *testing.T) {
	none := Cgroup{Memory: Unlimited, Pids: Unlimited, PidsUsed: Unknown, MilliCPUs: Unlimited}
	memory := func(version int, n Amount) Cgroup { c := none; c.Version, c.Memory = version, n; return c }
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want Cgroup
	}{
		{"none", emptyFS, none},
		{"unlimited", files("proc/self/cgroup", "0::/x\n", "sys/fs/cgroup/x/memory.max", "max\n",
			"sys/fs/cgroup/x/pids.max", "max\n", "sys/fs/cgroup/x/cpu.max", "max 100000\n"), none},
		{"inside a container", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1000\n"), memory(2, 1000)},
		{"the group above is tighter", files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n",
			"sys/fs/cgroup/a/memory.max", "2000\n"), memory(2, 2000)},
		{"memory.high is lower", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "3000\n",
			"sys/fs/cgroup/memory.high", "2500\n"), memory(2, 2500)},
		{"version 1", files("proc/self/cgroup", "4:memory:/m\n3:cpu,cpuacct:/c\n8:pids:/p\n0::/\n",
			"sys/fs/cgroup/memory/m/memory.limit_in_bytes", "4000\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n",
			"sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "50000\n", "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n",
			"sys/fs/cgroup/pids/p/pids.max", "99\n", "sys/fs/cgroup/pids/p/pids.current", "9\n"),
			Cgroup{Version: 1, Memory: 4000, Pids: 99, PidsUsed: 9, MilliCPUs: 500}},
		{"version 1 in a container, whose path is the host's", files("proc/self/cgroup", "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"), memory(1, 5000)},
		{"version 1 without a limit", files("proc/self/cgroup", "4:memory:/\n3:cpu:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"), none},
		{"both versions", files("proc/self/cgroup", "0::/x\n", "sys/fs/cgroup/unified/x/memory.max", "6000\n"), memory(2, 6000)},
		{"a path that climbs out", files("proc/self/cgroup", "0::/../../../x\n", "sys/fs/cgroup/memory.max", "7000\n"), memory(2, 7000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if have := ReadHost(c.root).Cgroup; have != c.want {
				t.Errorf("have %+v\nwant %+v", have, c.want)
			}
		})
	}
}

// The memory of a process is the host's, or less if a control group says so.
func TestReadMemory(t *testing.T) {
	const host = "MemTotal: 24684084 kB\n"
	group := func(max string) fstest.MapFS {
		return files("proc/meminfo", host, "proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", max+"\n")
	}
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want Amount
	}{
		{"a group", whole(), 512 * mib},
		{"no group", files("proc/meminfo", host), 24684084 * kib},
		{"a group without a limit", group("max"), 24684084 * kib},
		{"a group with more than there is", group("68719476736"), 24684084 * kib},
		{"only a group", files("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "1048576\n"), mib},
		{"nothing", emptyFS, Unknown},
	} {
		if got := ReadMemory(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
