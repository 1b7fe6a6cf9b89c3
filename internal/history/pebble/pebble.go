// SPDX-License-Identifier: Apache-2.0

// Package pebble keeps bars in a folder, by the library of that name (an LSM tree: sorted files, a log of what is not in
// them yet). One process has the folder at a time.
//
//	pebble.go  Store
//	codec.go   bars as keys and values
//	schema.go  migrations
package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/bars"
	"tickedge/internal/folder"
	"tickedge/internal/history"
)

// Config says where a store is.
type Config struct {
	Dir string // Made if it is not there.
	Log *slog.Logger

	free func(dir string) (bytes uint64, known bool) // That of the disk, unless a test sets something else.
}

// Store is a [history.Store].
type Store struct {
	db  *folder.Folder
	log *slog.Logger

	write  sync.Mutex // Puts compare with what is there.
	key    []byte
	newest map[string]int64 // By what begins the keys of a series: no bar of it that is stored begins later.

	trim  sync.Mutex
	trims map[string][]byte // By interval, the symbol with which the next Trim goes on.

	use    sync.RWMutex // Held for reading by all but Close.
	closed bool
}

var errClosed = errors.New("the history store is closed")

// Open opens a store. A folder that another process has open is an error, as is one of a newer version
// ([history.ErrNewer]).
func Open(c Config) (*Store, error) { return open(c, migrations) }

func open(c Config, steps []folder.Migration) (*Store, error) {
	db, err := folder.Open(folder.Config{
		Name: "history", Dir: c.Dir, BlockSize: 16 << 10, Newer: history.ErrNewer, Hint: ", or keep bars for fewer days (-retention)",
		Log: c.Log, Free: c.free,
	}, steps)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, log: c.Log, newest: make(map[string]int64), trims: make(map[string][]byte)}, nil
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

// Put implements [history.Store]. What it has returned without an error is on the disk. A disk that is nearly full is an error.
func (s *Store) Put(ctx context.Context, list []bars.Bar) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.db.Room(folder.PutRoom); err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	batch := s.db.NewBatch()
	defer batch.Close()
	given := make(map[string]*bars.Bar, len(list)) // The newest of each key of this batch.
	var value []byte
	for i := range list {
		b := &list[i]
		if err := history.Check(b); err != nil {
			return err
		}
		s.key = appendKey(s.key[:0], b.Symbol.Name, b.Interval.Name, b.Start)
		has := given[string(s.key)]
		if has == nil {
			if has, err = s.state(s.key, b.Start); err != nil {
				return err
			}
		}
		if has != nil && history.Newer(has, b) {
			continue
		}
		given[string(s.key)] = b
		value = appendValue(value[:0], b)
		if err := batch.Set(s.key, value, nil); err != nil {
			return err
		}
	}
	return batch.Commit(lsm.Sync)
}

// seriesMax bounds the series whose newest start is known, of some 100 B each. All are forgotten when there are more.
const seriesMax = 1_000_000

// state returns the bar that is stored, but for its interval and start; nil if there is none. For a bar that is the newest of
// its series, as nearly all are, it does not look for it.
func (s *Store) state(key []byte, start int64) (*bars.Bar, error) {
	prefix := key[:len(key)-startSize]
	newest, known := s.newest[string(prefix)]
	if !known {
		var err error
		if newest, err = s.newestOf(prefix); err != nil {
			return nil, err
		}
		if len(s.newest) >= seriesMax {
			clear(s.newest)
		}
	}
	if start > newest || !known {
		s.newest[string(prefix)] = max(start, newest)
	}
	if start > newest {
		return nil, nil
	}
	v, closer, err := s.db.Get(key)
	if errors.Is(err, lsm.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	b := new(bars.Bar)
	return b, parseValue(v, new(symbols), b)
}

// newestOf returns when the newest bar of a series begins, -1 if there is none.
func (s *Store) newestOf(prefix []byte) (start int64, err error) {
	end := append(bytes.Clone(prefix), bytes.Repeat([]byte{math.MaxUint8}, startSize)...)
	it, err := s.db.NewIter(&lsm.IterOptions{LowerBound: prefix, UpperBound: end})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return -1, it.Error()
	}
	return startOf(it.Key()), nil
}

// roomMost is for how many bars there is room before they are found, whatever the limit is.
const roomMost = 1024

// Bars implements [history.Store].
func (s *Store) Bars(ctx context.Context, q history.Query) (found []bars.Bar, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if q.Limit <= 0 || q.To <= max(q.From, 0) {
		return nil, nil
	}
	interval, err := bars.ParseInterval(q.Interval)
	if err != nil {
		return nil, err
	}
	it, err := s.db.NewIterWithContext(ctx, &lsm.IterOptions{
		LowerBound: appendKey(nil, q.Symbol, q.Interval, max(q.From, 0)),
		UpperBound: appendKey(nil, q.Symbol, q.Interval, q.To),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	of := &symbols{name: q.Symbol}
	for ok := it.Last(); ok && len(found) < q.Limit; ok = it.Prev() {
		if found == nil {
			found = make([]bars.Bar, 0, min(q.Limit, roomMost))
		}
		b := bars.Bar{Interval: interval, Start: startOf(it.Key())}
		if err := parseValue(it.Value(), of, &b); err != nil {
			return nil, fmt.Errorf("%s %s %d: %w", q.Symbol, q.Interval, b.Start, err)
		}
		found = append(found, b)
	}
	slices.Reverse(found)
	return found, nil
}

// allBatch is how many bars All gives at a time.
const allBatch = 1000

// All implements [history.Store].
func (s *Store) All(ctx context.Context, f func([]bars.Bar) error) (err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	it, err := s.db.NewIterWithContext(ctx, &lsm.IterOptions{LowerBound: firstKey})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var batch []bars.Bar
	var interval *bars.Interval
	of := new(symbols)
	for ok := it.First(); ok; ok = it.Next() {
		symbol, tf, start, isBar := parseKey(it.Key())
		if !isBar {
			return fmt.Errorf("%q: %w", it.Key(), errValue)
		}
		if interval == nil || string(symbol) != of.name || string(tf) != interval.Name {
			of = &symbols{name: string(symbol)}
			if interval, err = bars.ParseInterval(string(tf)); err != nil {
				return err
			}
		}
		b := bars.Bar{Interval: interval, Start: start}
		if err := parseValue(it.Value(), of, &b); err != nil {
			return fmt.Errorf("%s %s %d: %w", symbol, tf, start, err)
		}
		if batch = append(batch, b); len(batch) == allBatch {
			if err := errors.Join(f(batch), ctx.Err()); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		return f(batch)
	}
	return nil
}

// Close implements [history.Store]. It waits for what is going on.
func (s *Store) Close() error {
	s.use.Lock()
	defer s.use.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.db.Close()
}

// Compact brings all that was written into its last form, which is the smallest. It is not needed in operation: parts are
// brought there all the time.
func (s *Store) Compact(ctx context.Context) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.db.Compact(ctx, firstKey, lastKey, false)
}

// Bytes returns how many bytes the bars have on the disk, as far as they are in files: the log of what is not comes to it.
func (s *Store) Bytes() uint64 {
	end, err := s.begin(context.Background())
	if err != nil {
		return 0
	}
	defer end()
	n, err := s.db.EstimateDiskUsage(firstKey, lastKey)
	if err != nil {
		s.log.Warn("history: the size of the store is not known", "error", err)
	}
	return n
}

var (
	firstKey = []byte{1}
	lastKey  = []byte{math.MaxUint8}
)
