// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"math"
	"os"
	"strconv"
	"testing"
	"testing/fstest"
)

func TestReadUsage(t *testing.T) {
	page := os.Getpagesize()
	host := func(ownBytes, availableKB int) fstest.MapFS {
		return files("proc/self/statm", "1000000 "+strconv.Itoa(ownBytes/page)+" 5 1 0 1 0\n",
			"proc/meminfo", "MemTotal: 100000000 kB\nMemAvailable: "+strconv.Itoa(availableKB)+" kB\n")
	}
	with := func(root fstest.MapFS, pairs ...string) fstest.MapFS {
		for name, file := range files(pairs...) {
			root[name] = file
		}
		return root
	}
	group := func(current, max string) fstest.MapFS {
		return with(host(64<<20, 64<<20), "proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", max, "sys/fs/cgroup/a/b/memory.current", current,
			"sys/fs/cgroup/a/b/memory.stat", "anon 700\ninactive_file 100\n", "sys/fs/cgroup/a/memory.max", "max\n", "sys/fs/cgroup/a/memory.current", "9999999\n")
	}
	for name, c := range map[string]struct {
		root  fstest.MapFS
		conns int64
		want  float64
	}{
		"a quarter of the host":             {host(256<<20, 768<<10), 0, 0.25},
		"sockets are the kernel's":          {host(256<<20, 768<<10), 1 << 20, (256<<20 + IdlePerConn*(1<<20)) / (1024<<20 + IdlePerConn*float64(1<<20))},
		"nothing is left":                   {host(64<<20, 0), 0, 1},
		"a group, less files":               {group("900", "1000"), 0, 0.8},
		"a group that is full":              {group("1200", "1000"), 0, 1},
		"a group without a limit":           {group("900", "max"), 0, 1.0 / 1025},
		"what others read counts as free":   {group("50", "1000"), 0, 1.0 / 1025},
		"the group above has less left":     {with(group("400", "1000"), "sys/fs/cgroup/a/memory.max", "10000000"), 0, 0.9999999},
		"memory.high is lower":              {with(group("400", "1000"), "sys/fs/cgroup/a/b/memory.high", "400"), 0, 0.75},
		"version 1":                         {with(host(64<<20, 64<<20), "proc/self/cgroup", "4:memory:/m\n3:cpu:/c\n", "sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1000", "sys/fs/cgroup/memory/m/memory.usage_in_bytes", "700", "sys/fs/cgroup/memory/m/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"), 0, 0.5},
		"a group whose usage can't be read": {with(group("400", "1000"), "sys/fs/cgroup/a/b/memory.current", "much"), 0, 1.0 / 1025},
		"nothing can be read":               {fstest.MapFS{}, 1000, 0},
		"no number":                         {files("proc/self/statm", "many pages", "proc/meminfo", "MemAvailable: 1 kB\n"), 1000, 0},
		"too many pages":                    {files("proc/self/statm", "1 9000000000000000000", "proc/meminfo", "MemAvailable: 1 kB\n"), 1000, 0},
	} {
		if got := ReadUsage(c.root, c.conns); math.Abs(got.Memory-c.want) > 1e-9 || got.Files != Unknown {
			t.Errorf("%s: %+v, want %v of memory", name, got, c.want)
		}
	}
}

// The files of this process are counted by what the kernel says of its directory.
func TestOpenFilesOfThisProcess(t *testing.T) {
	before := ReadUsage(os.DirFS("/"), 0)
	if before.Files == Unknown {
		t.Skip("the kernel does not say how many files are open")
	}
	const more = 20
	for range more {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	after := ReadUsage(os.DirFS("/"), 0)
	if n := after.Files - before.Files; n != more || after.Memory <= 0 || after.Memory >= 1 {
		t.Errorf("%d files more, want %d; %+v", n, more, after)
	}
}
