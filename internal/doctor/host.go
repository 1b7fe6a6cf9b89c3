// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
)

// Sysctls are the kernel settings that the doctor knows.
var Sysctls = []string{
	"fs.nr_open", "fs.file-max", "net.core.somaxconn", "net.core.netdev_max_backlog", "net.core.netdev_budget",
	"net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_mem", "net.ipv4.tcp_rmem",
	"net.ipv4.tcp_wmem", "net.ipv4.ip_local_port_range", "net.netfilter.nf_conntrack_max", "vm.swappiness",
}

// ReadHost reads the host whose root directory is given. What can't be read is Unknown
// and, unless many hosts lack it, a line in Host.Unread.
func ReadHost(root fs.FS) Host {
	r := reader{root: root}
	h := Host{PageSize: Amount(os.Getpagesize())}
	h.CPUs = r.cpus()
	h.FilesSoft, h.FilesHard = r.openFiles()
	h.NrOpen = r.sysctl("fs.nr_open")
	h.FileMax = r.sysctl("fs.file-max")
	h.FilesUsed = r.fields("proc/sys/fs/file-nr", 3)[0]
	mem := r.meminfo("MemTotal", "MemAvailable", "SwapTotal")
	h.MemTotal, h.MemAvailable, h.SwapTotal = mem[0], mem[1], mem[2]
	h.Swappiness = r.sysctl("vm.swappiness")
	h.THP = r.thp()
	h.TCPMem = [3]Amount(r.fields(path("net.ipv4.tcp_mem"), 3))
	h.TCPRmem = [3]Amount(r.fields(path("net.ipv4.tcp_rmem"), 3))
	h.TCPWmem = [3]Amount(r.fields(path("net.ipv4.tcp_wmem"), 3))
	h.Somaxconn = r.sysctl("net.core.somaxconn")
	h.SynBacklog = r.sysctl("net.ipv4.tcp_max_syn_backlog")
	h.Syncookies = r.sysctl("net.ipv4.tcp_syncookies")
	h.PortRange = [2]Amount(r.fields(path("net.ipv4.ip_local_port_range"), 2))
	h.NetdevBacklog = r.sysctl("net.core.netdev_max_backlog")
	h.NetdevBudget = r.sysctl("net.core.netdev_budget")
	h.ConntrackMax, h.ConntrackCount = Unknown, Unknown
	if r.there(path("net.netfilter.nf_conntrack_max")) {
		h.ConntrackMax = r.sysctl("net.netfilter.nf_conntrack_max")
		h.ConntrackCount = r.sysctl("net.netfilter.nf_conntrack_count")
	}
	h.Cgroup = r.cgroup()
	h.Unread = r.unread
	return h
}

// ReadMemory returns the memory that this process may have, of the host whose root
// directory is given: the host's own, or the limit of a control group. Unknown if neither
// can be read.
func ReadMemory(root fs.FS) Amount {
	r := reader{root: root}
	most := Unknown
	for _, have := range []Amount{r.meminfo("MemTotal")[0], r.cgroup().Memory} {
		if have.known() && (most == Unknown || have < most) {
			most = have
		}
	}
	return most
}

// path is the file of a kernel setting.
func path(sysctl string) string { return "proc/sys/" + strings.ReplaceAll(sysctl, ".", "/") }

// reader reads files and notes what is wrong with them.
type reader struct {
	root   fs.FS
	unread []string
}

func (r *reader) bad(name, format string, args ...any) {
	r.unread = append(r.unread, "/"+name+": "+fmt.Sprintf(format, args...))
}

func (r *reader) there(name string) bool {
	_, err := fs.Stat(r.root, name)
	return err == nil
}

// text returns a file, empty and noted if it can't be read.
func (r *reader) text(name string) string {
	b, err := fs.ReadFile(r.root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.bad(name, "not there; inside a container some files show only on the host")
	case err != nil:
		r.bad(name, "can't be read: %v", err)
	}
	return string(b)
}

// optional returns a file that many hosts lack.
func (r *reader) optional(name string) string {
	if !r.there(name) {
		return ""
	}
	return r.text(name)
}

// number reads a number as the kernel writes it. What is beyond 2^62 means unlimited:
// control groups of version 1 write 2^63 less a page, fs.file-max has 2^63-1.
func number(s string) (Amount, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case s == "max", s == "unlimited", s == "-1",
		errors.Is(err, strconv.ErrRange), err == nil && n >= math.MaxInt64/2:
		return Unlimited, true
	case err != nil:
		return Unknown, false
	}
	return Amount(n), true
}

func (r *reader) sysctl(name string) Amount { return r.fields(path(name), 1)[0] }

// fields reads a file of n numbers. All are Unknown if it is anything else.
func (r *reader) fields(name string, n int) []Amount {
	out := make([]Amount, n)
	before := len(r.unread)
	text := r.text(name)
	words := strings.Fields(text)
	good := len(words) == n
	for i := range out {
		out[i] = Unknown
		if good {
			out[i], good = number(words[i])
		}
	}
	if good {
		return out
	}
	for i := range out {
		out[i] = Unknown
	}
	if len(r.unread) == before {
		r.bad(name, "is %.40q, want %d numbers", text, n)
	}
	return out
}

// openFiles returns the soft and the hard limit of this process.
func (r *reader) openFiles() (soft, hard Amount) {
	const name = "proc/self/limits"
	before := len(r.unread)
	for line := range strings.Lines(r.text(name)) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		words := strings.Fields(rest)
		if !ok || len(words) < 2 {
			continue
		}
		soft, ok1 := number(words[0])
		hard, ok2 := number(words[1])
		if ok1 && ok2 {
			return soft, hard
		}
	}
	if len(r.unread) == before {
		r.bad(name, "has no line of open files")
	}
	return Unknown, Unknown
}

// meminfo returns the values of these keys, in bytes.
func (r *reader) meminfo(keys ...string) []Amount {
	const name = "proc/meminfo"
	before := len(r.unread)
	have := map[string]Amount{}
	for line := range strings.Lines(r.text(name)) {
		key, value, _ := strings.Cut(line, ":")
		words := strings.Fields(value)
		if len(words) != 2 || words[1] != "kB" {
			continue
		}
		if n, ok := number(words[0]); ok && n < Unlimited>>10 {
			have[key] = n << 10
		}
	}
	var out []Amount
	for _, key := range keys {
		n, ok := have[key]
		if !ok {
			n = Unknown
			if len(r.unread) == before {
				r.bad(name, "has no %s", key)
			}
		}
		out = append(out, n)
	}
	return out
}

// cpus counts the processors.
func (r *reader) cpus() Amount {
	const name = "proc/cpuinfo"
	before := len(r.unread)
	n := Amount(0)
	for line := range strings.Lines(r.text(name)) {
		if key, _, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "processor" {
			n++
		}
	}
	if n == 0 {
		if len(r.unread) == before {
			r.bad(name, "has no processors")
		}
		return Unknown
	}
	return n
}

// thp returns which of the modes of transparent huge pages is chosen, the one in
// brackets. Empty if the kernel has none.
func (r *reader) thp() string {
	_, after, _ := strings.Cut(r.optional("sys/kernel/mm/transparent_hugepage/enabled"), "[")
	mode, _, _ := strings.Cut(after, "]")
	return mode
}
