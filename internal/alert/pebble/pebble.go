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
	"sync"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/alert"
	"tickedge/internal/folder"
)

// Config says where a store is.
type Config struct {
	Dir string // Made if it is not there.
	Log *slog.Logger

	free func(dir string) (bytes uint64, known bool) // That of the disk, unless a test sets something else.
}

// Store is an [alert.Store].
type Store struct {
	db  *folder.Folder
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

func open(c Config, steps []folder.Migration) (*Store, error) {
	db, err := folder.Open(folder.Config{Name: "alerts", Dir: c.Dir, Newer: alert.ErrNewer, Log: c.Log, Free: c.free}, steps)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, dir: c.Dir}, nil
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
