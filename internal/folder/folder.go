// SPDX-License-Identifier: Apache-2.0

// Package folder is what stores have alike that are a folder of the library pebble (an LSM tree: sorted files, a log of what is not in
// them yet): how one is opened, by one process at a time, how it becomes one of the present version, and a disk that is nearly full.
package folder

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	lsm "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// Config says what a folder is.
type Config struct {
	Name      string // Of the store, for errors and the log.
	Dir       string // Made if it is not there.
	BlockSize int    // Of files; 0 is the library's.
	Newer     error  // Is in the error of a folder of a newer version.
	Hint      string // What frees room on its disk, beside making room there; may be empty.
	Log       *slog.Logger

	Free func(dir string) (bytes uint64, known bool) // [DiskFree], unless a test sets something else.
}

const (
	cacheBytes = 64 << 20 // For blocks of files. What is not stored in files yet takes up to two tables more.
	files      = 500      // Descriptors, at most.
	memTable   = 16 << 20
	// format is that of the library's files. A newer version of this program may raise it; the library brings older folders up to it.
	format = lsm.FormatValueSeparation
)

// A disk that is full ends the library: a log that can't be written is fatal to it, and what it can't bring into files when it
// opens a folder it tries for ever. So the disk is asked before, while it has what the library writes on its own.
const (
	OpenRoom = 40 << 20 // The log becomes files when a folder is opened: two tables, and some.
	PutRoom  = 64 << 20 // A compaction comes to that.
)

// Migration brings a folder from the version that is its place in a list to the next one. It must be right to run it again if it
// ended early.
type Migration func(*lsm.DB) error

// Folder is one that is open.
type Folder struct {
	*lsm.DB
	config Config
}

// Open opens a folder, and brings it to the version to which the steps lead. One that another process has open is an error, as is
// one of a newer version, or on a disk that is nearly full.
func Open(c Config, steps []Migration) (*Folder, error) {
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	f := &Folder{config: c}
	if err := f.Room(OpenRoom); err != nil {
		return nil, err
	}
	cache := lsm.NewCache(cacheBytes)
	defer cache.Unref() // The database has it.
	o := &lsm.Options{Cache: cache, FormatMajorVersion: format, MaxOpenFiles: files, MemTableSize: memTable, Logger: quiet{c.Name, c.Log}}
	o.ApplyCompressionSettings(func() lsm.DBCompressionSettings { return lsm.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].BlockSize = c.BlockSize
	}
	db, err := lsm.Open(c.Dir, o)
	switch {
	case errors.Is(err, syscall.EAGAIN) || err != nil && strings.Contains(err.Error(), "lock held by current process"):
		return nil, fmt.Errorf("%s: the folder %s is open already, by another process or this one: want a folder for each: %w", c.Name, c.Dir, err)
	case err != nil && isNewer(err):
		return nil, fmt.Errorf("%s: the folder %s: %w", c.Name, c.Dir, c.Newer)
	case err != nil:
		return nil, fmt.Errorf("%s: the folder %s: %w", c.Name, c.Dir, err)
	}
	f.DB = db
	if err := f.migrate(steps); err != nil {
		_ = db.Close() // The first error is the cause.
		return nil, fmt.Errorf("%s: the folder %s: %w", c.Name, c.Dir, err)
	}
	return f, nil
}

// schemaKey has the version of what a store writes. It stands before all else.
var schemaKey = []byte("\x00schema")

func (f *Folder) migrate(steps []Migration) error {
	has, err := f.version()
	if err != nil {
		return err
	}
	if has > len(steps) {
		return fmt.Errorf("its version is %d, and this program knows %d: %w", has, len(steps), f.config.Newer)
	}
	for n := has; n < len(steps); n++ {
		if err := steps[n](f.DB); err != nil {
			return fmt.Errorf("to version %d: %w", n+1, err)
		}
		if err := f.Set(schemaKey, strconv.AppendInt(nil, int64(n+1), 10), lsm.Sync); err != nil {
			return err
		}
	}
	return nil
}

func (f *Folder) version() (int, error) {
	v, closer, err := f.Get(schemaKey)
	if errors.Is(err, lsm.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("its version is damaged: %q", v)
	}
	return n, nil
}

// isNewer reports whether the library does not know the form of the files. It has no error of its own for that.
func isNewer(err error) bool {
	return strings.Contains(err.Error(), "format major version") || strings.Contains(err.Error(), "format version")
}

// DiskFree is how many bytes the disk of a folder has left. One that can't say has enough.
func DiskFree(dir string) (bytes uint64, known bool) {
	var fs syscall.Statfs_t
	err := syscall.Statfs(dir, &fs)
	return fs.Bavail * uint64(fs.Bsize), err == nil
}

// Room returns an error unless the disk has so many bytes left.
func (f *Folder) Room(want uint64) error {
	c := &f.config
	free := c.Free
	if free == nil {
		free = DiskFree
	}
	if have, known := free(c.Dir); known && have < want {
		return fmt.Errorf("%s: the disk of %s has %d MiB left, want %d: make room there%s", c.Name, c.Dir, have>>20, want>>20, c.Hint)
	}
	return nil
}

// quiet is a log of the library of which only errors are of use.
type quiet struct {
	name string
	log  *slog.Logger
}

func (quiet) Infof(string, ...any) {}
func (q quiet) Errorf(format string, args ...any) {
	q.log.Error(q.name, "error", fmt.Sprintf(format, args...))
}

// Fatalf is called when the store can't go on: what it has said is on the disk might not be.
func (q quiet) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	q.log.Error(q.name+": the store can't go on", "error", text)
	panic(q.name + ": " + text)
}
