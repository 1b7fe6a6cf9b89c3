// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"fmt"
	"syscall"
)

// A disk that is full ends the library: a log that can't be written is fatal to it, and what it can't bring into files when it
// opens a folder it tries for ever. So the disk is asked before, while it has what the library writes on its own.
const (
	openRoom = 40 << 20 // The log becomes files when a folder is opened: two tables of memTable, and some.
	putRoom  = 64 << 20 // A compaction comes to that.
)

// diskFree is how many bytes the disk of a folder has left. One that can't say has enough.
func diskFree(dir string) (bytes uint64, known bool) {
	var fs syscall.Statfs_t
	err := syscall.Statfs(dir, &fs)
	return fs.Bavail * uint64(fs.Bsize), err == nil
}

// room returns an error unless the disk has so many bytes left.
func (c *Config) room(want uint64) error {
	free := c.free
	if free == nil {
		free = diskFree
	}
	if have, known := free(c.Dir); known && have < want {
		return fmt.Errorf("history: the disk of %s has %d MiB left, want %d: make room there, or keep bars for fewer days (-retention)",
			c.Dir, have>>20, want>>20)
	}
	return nil
}
