// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"io/fs"
	gopath "path"
	"slices"
	"strings"
)

// The mounts of control groups. Version 1 has one per controller. On hosts that have
// both versions, version 2 is in a directory beside them.
const cgroupMount = "sys/fs/cgroup"

// cgroup reads the limits that bind this process. A limit of any group above binds it
// as well, so the tightest counts.
func (r *reader) cgroup() Cgroup {
	c := Cgroup{Memory: Unlimited, Pids: Unlimited, PidsUsed: Unknown, MilliCPUs: Unlimited}
	r.eachGroup(func(version int, dir string, controllers []string) {
		if version == 2 {
			r.version2(&c, dir)
		} else {
			r.version1(&c, dir, controllers)
		}
	})
	return c
}

// eachGroup calls f with the directory of each control group that this process is in, and of those
// above it. Version 1 has the controllers of that hierarchy.
func (r *reader) eachGroup(f func(version int, dir string, controllers []string)) {
	for line := range strings.Lines(r.optional("proc/self/cgroup")) {
		// hierarchy:controllers:path; version 2 has 0 and no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			r.bad("proc/self/cgroup", "has the line %.60q, want number:controllers:path", line)
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			for _, mount := range []string{cgroupMount, cgroupMount + "/unified"} {
				for _, dir := range r.upwards(mount, parts[2]) {
					f(2, dir, nil)
				}
			}
			continue
		}
		for _, dir := range r.upwards(cgroupMount+"/"+parts[1], parts[2]) {
			f(1, dir, strings.Split(parts[1], ","))
		}
	}
}

// upwards lists the directories from a group to the mount. In a container the path may
// be the host's while the mount shows the group itself; then only the mount is there.
func (r *reader) upwards(mount, group string) []string {
	var dirs []string
	for dir := mount + gopath.Clean("/"+group); ; dir = gopath.Dir(dir) {
		if dir = strings.TrimSuffix(dir, "/"); r.there(dir) {
			dirs = append(dirs, dir)
		}
		if len(dir) <= len(mount) {
			return dirs
		}
	}
}

func (r *reader) version2(c *Cgroup, dir string) {
	// Above memory.high the kernel slows the group down and shrinks its sockets'
	// buffers, so an edge does not work there either.
	for _, file := range []string{"memory.max", "memory.high"} {
		if n := r.limit(dir, file); n < c.Memory {
			c.Memory, c.Version = n, 2
		}
	}
	r.pids(c, dir)
	quota, period, _ := strings.Cut(strings.TrimSpace(r.optional(dir+"/cpu.max")), " ")
	c.cpu(quota, period)
}

func (r *reader) version1(c *Cgroup, dir string, controllers []string) {
	if slices.Contains(controllers, "memory") {
		if n := r.limit(dir, "memory.limit_in_bytes"); n < c.Memory {
			c.Memory, c.Version = n, 1
		}
	}
	if slices.Contains(controllers, "pids") {
		r.pids(c, dir)
	}
	if slices.Contains(controllers, "cpu") {
		c.cpu(r.optional(dir+"/cpu.cfs_quota_us"), r.optional(dir+"/cpu.cfs_period_us"))
	}
}

func (r *reader) pids(c *Cgroup, dir string) {
	if n := r.limit(dir, "pids.max"); n < c.Pids {
		c.Pids = n
		c.PidsUsed, _ = number(strings.TrimSpace(r.optional(dir + "/pids.current")))
	}
}

// cpu lowers the limit of processors to quota of a period, both in microseconds.
func (c *Cgroup) cpu(quota, period string) {
	q, ok1 := number(strings.TrimSpace(quota))
	p, ok2 := number(strings.TrimSpace(period))
	if ok1 && ok2 && q != Unlimited && p > 0 && q < 1<<50 {
		c.MilliCPUs = min(c.MilliCPUs, q*1000/p)
	}
}

// limit reads a limit of a group, Unlimited if it has none.
func (r *reader) limit(dir, file string) Amount {
	name := dir + "/" + file
	b, err := fs.ReadFile(r.root, name)
	if err != nil {
		return Unlimited
	}
	n, ok := number(strings.TrimSpace(string(b)))
	if !ok {
		r.bad(name, "is %.40q, want a number or max", b)
		return Unlimited
	}
	return n
}
