// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Usage is what this process, or its control group, has in use of what it may have. It is read each
// second, so nothing in it takes longer the more connections there are.
type Usage struct {
	Memory float64 // 0 to 1: of the host or of a control group, whichever has less left.
	Files  Amount  // Open files of the process. Unknown before Linux 6.2.
}

// ReadUsage reads how much is in use on the host whose root directory is given, by a process with so
// many connections. Their sockets are memory of the kernel, which no figure of a process has.
// What can't be read counts as free.
func ReadUsage(root fs.FS, conns int64) Usage {
	r := reader{root: root}
	u := Usage{Memory: r.groupUsage(), Files: Unknown}
	own, free := r.resident(), r.meminfo("MemAvailable")[0]
	if own.known() && free.known() {
		// What others on the host have is not this edge's load, until it leaves no room to grow.
		own += Amount(conns) * IdlePerConn
		u.Memory = max(u.Memory, share(own, own+free))
	}
	// The size of this directory is the number of files in it. Listing it takes as long as there are files.
	if dir, err := fs.Stat(root, "proc/self/fd"); err == nil && dir.Size() > 0 {
		u.Files = Amount(dir.Size())
	}
	return u
}

// share is used of limit, as a number from 0 to 1.
func share(used, limit Amount) float64 {
	if used < 0 || !limit.known() {
		return 0
	}
	if used >= limit {
		return 1
	}
	return float64(used) / float64(limit)
}

// resident is the memory of the process that is in use.
func (r *reader) resident() Amount {
	words := strings.Fields(r.text("proc/self/statm"))
	if len(words) < 2 {
		return Unknown
	}
	pages, ok := number(words[1])
	if !ok || pages > 1<<40 {
		return Unknown
	}
	return pages * Amount(os.Getpagesize())
}

// groupUsage is the greatest share in use of the limits of memory that bind this process.
func (r *reader) groupUsage() (most float64) {
	r.eachGroup(func(version int, dir string, controllers []string) {
		if version == 1 && !slices.Contains(controllers, "memory") {
			return
		}
		used, inactive, limits := "memory.current", "inactive_file", []string{"memory.max", "memory.high"}
		if version == 1 {
			used, inactive, limits = "memory.usage_in_bytes", "total_inactive_file", []string{"memory.limit_in_bytes"}
		}
		limit := Unlimited
		for _, file := range limits {
			limit = min(limit, r.limit(dir, file))
		}
		have, ok := number(strings.TrimSpace(r.optional(dir + "/" + used)))
		if limit == Unlimited || !ok {
			return
		}
		// Files that were read once are dropped before anybody is refused memory.
		for line := range strings.Lines(r.optional(dir + "/memory.stat")) {
			if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == inactive {
				if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
					have = max(0, have-Amount(n))
				}
			}
		}
		most = max(most, share(have, limit))
	})
	return most
}
