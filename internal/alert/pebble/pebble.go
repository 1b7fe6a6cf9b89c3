// SPDX-License-Identifier: Apache-2.0

// Package pebble keeps alerts in a folder, by the library of that name (an LSM tree: sorted files, a log of what is not in
// them yet). One process has the folder at a time.
//
//	pebble.go  Store: opening, views, an end, backups
//	keys.go    which keys there are
//	codec.go   values
//	tx.go      tx: what one write reads and changes, and the indexes that follow from it
//	alerts.go  creating, changing, deleting, arming and expiring
//	fire.go    firings, and the news of users
//	lists.go   reading alerts, and what changed
//	lease.go   who has which buckets
//	trim.go    deleting what is old
//	schema.go  which version a folder has, and how an older one becomes the present one
package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"

	lsm "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"tickedge/internal/alert"
)

// Config says where a store is.
type Config struct {
	Dir string // Made if it is not there.
	// CacheBytes is memory for blocks of files; 0 is DefaultCacheBytes. What is not stored in files yet takes up to
	// 2 × 16 MiB more.
	CacheBytes int64
	// Files is how many descriptors the store uses at most, 0 is DefaultFiles.
	Files int
	Log   *slog.Logger
}

// What holds where a [Config] says nothing.
const (
	DefaultCacheBytes = 64 << 20
	DefaultFiles      = 500
)

const memTable = 16 << 20

// Store is an [alert.Store].
type Store struct {
	db  *lsm.DB
	dir string

	write sync.Mutex // One write at a time: it changes what it has read.
	// Held for writing while a batch is committed. The library shows a batch before it is on the disk, and nobody may be told
	// of a firing whose number another one could get behind a crash.
	commit sync.RWMutex

	leases leases

	trim sync.Mutex
	next []byte // The user behind whom the next Trim looks for firings.

	use    sync.RWMutex // Held for reading by all but Close.
	closed bool
}

var (
	errClosed  = errors.New("the store of alerts is closed")
	errDamaged = errors.New("it is damaged: restore a backup")
)

// Open opens a store. A folder that another process has open is an error, as is one of a newer version ([alert.ErrNewer]).
func Open(c Config) (*Store, error) { return open(c, migrations) }

func open(c Config, steps []migration) (*Store, error) {
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("alerts: %w", err)
	}
	cache := lsm.NewCache(orDefault(c.CacheBytes, DefaultCacheBytes))
	defer cache.Unref() // The database has it.
	o := &lsm.Options{
		Cache:              cache,
		FormatMajorVersion: format,
		MaxOpenFiles:       int(orDefault(int64(c.Files), DefaultFiles)),
		MemTableSize:       memTable,
		Logger:             quiet{c.Log},
	}
	o.ApplyCompressionSettings(func() lsm.DBCompressionSettings { return lsm.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := lsm.Open(c.Dir, o)
	switch {
	case errors.Is(err, syscall.EAGAIN) || err != nil && strings.Contains(err.Error(), "lock held by current process"):
		return nil, fmt.Errorf("alerts: the folder %s is open already, by another process or this one: want a folder for each: %w", c.Dir, err)
	case err != nil && isNewer(err):
		return nil, fmt.Errorf("alerts: the folder %s: %w", c.Dir, alert.ErrNewer)
	case err != nil:
		return nil, fmt.Errorf("alerts: the folder %s: %w", c.Dir, err)
	}
	s := &Store{db: db, dir: c.Dir}
	if err := s.migrate(steps); err != nil {
		_ = db.Close() // The first error is the cause.
		return nil, fmt.Errorf("alerts: the folder %s: %w", c.Dir, err)
	}
	return s, nil
}

func orDefault(v, otherwise int64) int64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// begin keeps the database open until end.
func (s *Store) begin(ctx context.Context) (end func(), err error) {
	s.use.RLock()
	switch {
	case s.closed:
		err = errClosed
	default:
		err = ctx.Err()
	}
	if err != nil {
		s.use.RUnlock()
		return nil, err
	}
	return s.use.RUnlock, nil
}

// view calls f with what is on the disk, all of one moment.
func (s *Store) view(ctx context.Context, f func(*view) error) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.commit.RLock()
	snapshot := s.db.NewSnapshot()
	s.commit.RUnlock()
	err = f(&view{s: s, from: snapshot, ctx: ctx})
	if end := snapshot.Close(); err == nil {
		err = end
	}
	return err
}

// view reads what is stored.
type view struct {
	s    *Store
	from lsm.Reader
	ctx  context.Context // Of the one call that it is made for.
}

// damaged is the error about a value, or a key, that can't be what was written.
func (v *view) damaged(format string, args ...any) error {
	return fmt.Errorf("alerts: the folder %s: %s: %w", v.s.dir, fmt.Sprintf(format, args...), errDamaged)
}

// get calls f with the value of a key, if it is there. The value is f's until it returns.
func (v *view) get(key []byte, f func(value []byte) error) error {
	value, closer, err := v.from.Get(key)
	if errors.Is(err, lsm.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("alerts: the folder %s: %w", v.s.dir, err)
	}
	return errors.Join(f(value), closer.Close())
}

// lookEvery is how many keys a scan reads before it looks whether it is still wanted.
const lookEvery = 1000

// scan calls f with the keys from one on to below another, and their values, until it returns false.
func (v *view) scan(from, to []byte, f func(key, value []byte) (bool, error)) (err error) {
	it, err := v.from.NewIter(&lsm.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("alerts: the folder %s: %w", v.s.dir, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n%lookEvery == 0 && v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		if more, err := f(it.Key(), it.Value()); !more || err != nil {
			return err
		}
	}
	return it.Error()
}

// Checkpoint writes a copy of all that is stored to a folder, from which Open opens it. The folder must not exist. Where
// both are on one file system it takes hardly any room at first: files are linked.
func (s *Store) Checkpoint(dir string) error {
	end, err := s.begin(context.Background())
	if err != nil {
		return err
	}
	defer end()
	switch err := s.db.Checkpoint(dir, lsm.WithFlushedWAL()); {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("alerts: the folder %s is there already: want a new one for a copy: %w", dir, err)
	case err != nil:
		return fmt.Errorf("alerts: a copy to the folder %s: %w", dir, err)
	}
	return nil
}

// Close implements [alert.Store]. It waits for what is going on.
func (s *Store) Close() error {
	s.use.Lock()
	defer s.use.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.db.Close()
}

// quiet is a log of the library of which only errors are of use.
type quiet struct{ log *slog.Logger }

func (quiet) Infof(string, ...any) {}
func (q quiet) Errorf(format string, args ...any) {
	q.log.Error("alerts", "error", fmt.Sprintf(format, args...))
}

// Fatalf is called when the store can't go on: what it has said is on the disk might not be.
func (q quiet) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	q.log.Error("alerts: the store can't go on", "error", text)
	panic("alerts: " + text)
}
