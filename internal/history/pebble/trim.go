// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"errors"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/folder"
)

const (
	// trimBars and trimSeries bound what one Trim deletes and looks at.
	trimBars   = 10_000
	trimSeries = 10_000
)

// Trim implements [history.Store]. It goes on with the symbol at which the one before stopped, so that what can be trimmed
// of all symbols is found without a look at all of them each time.
func (s *Store) Trim(ctx context.Context, interval string, before int64) (deleted int64, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	s.trim.Lock()
	defer s.trim.Unlock()
	it, err := s.db.NewIterWithContext(ctx, &lsm.IterOptions{LowerBound: firstKey})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	batch := s.db.NewBatch()
	defer batch.Close()
	from := s.trims[interval]
	if deleted, err = s.trimFrom(ctx, it, batch, interval, before, from); err != nil {
		return 0, err
	}
	if deleted == 0 && from != nil { // Those before may have some too.
		if deleted, err = s.trimFrom(ctx, it, batch, interval, before, nil); err != nil {
			return 0, err
		}
	}
	if deleted == 0 {
		return 0, nil
	}
	if err := s.db.Room(folder.OpenRoom); err != nil { // Less than Put wants: what is deleted makes room.
		return 0, err
	}
	return deleted, batch.Commit(lsm.Sync)
}

// trimFrom deletes bars of symbols from one on.
func (s *Store) trimFrom(ctx context.Context, it *lsm.Iterator, batch *lsm.Batch, interval string, before int64, from []byte) (int64, error) {
	var deleted int64
	series := 0
	delete(s.trims, interval)
	if from == nil {
		from = firstKey
	}
	for ok := it.SeekGE(from); ok; {
		symbol, _, _, isBar := parseKey(it.Key())
		if !isBar {
			return deleted, errValue
		}
		symbol = bytes.Clone(symbol)
		if series++; deleted >= trimBars || deleted > 0 && series > trimSeries {
			s.trims[interval] = symbol
			return deleted, it.Error()
		}
		prefix := appendSeries(nil, string(symbol), interval)
		limit := appendKey(nil, string(symbol), interval, max(before, 0))
		first, last := []byte(nil), []byte(nil)
		for ok = it.SeekGE(prefix); ok && bytes.Compare(it.Key(), limit) < 0 && deleted < trimBars; ok = it.Next() {
			if first == nil {
				first = bytes.Clone(it.Key())
			}
			last = append(last[:0], it.Key()...)
			deleted++
		}
		if first != nil {
			if err := batch.DeleteRange(first, append(last, 0), nil); err != nil {
				return deleted, err
			}
			if deleted >= trimBars {
				s.trims[interval] = symbol
				return deleted, it.Error()
			}
		}
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		ok = it.SeekGE(append(symbol, 1)) // No name has such a byte: it is behind all keys of the symbol.
	}
	return deleted, it.Error()
}
