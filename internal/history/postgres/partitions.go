// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tickedge/internal/bars"
)

// partBars is how many bars of a series a partition has: a day of 1s, 60 days of 1m.
const partBars = 86_400

// part is a partition: the bars of an interval that begin in a time of partBars of them, counted since 1970.
type part struct {
	tf string
	n  int64
}

func spanOf(tf *bars.Interval) int64 { return tf.Millis * partBars }

func partOf(b *bars.Bar) part { return part{b.Interval.Name, b.Start / spanOf(b.Interval)} }

// table is its name: history_bars_1s_20261127_20784, with the day that it begins with for people, and its number.
func (p part) table(span int64) string {
	return fmt.Sprintf("history_bars_%s_%s_%d", p.tf, time.UnixMilli(p.n*span).UTC().Format("20060102"), p.n)
}

var tableName = regexp.MustCompile(`^history_bars_([0-9]+[smhd])_[0-9]{8}_([0-9]+)$`)

// ddlLock is a key of advisory locks that last for a transaction: who makes or drops partitions.
const ddlLock = 0x7469636b68697374 // "tickhist"

// lockWait bounds how long a change of partitions waits for statements that run: those that come later wait behind it.
const lockWait = `SET LOCAL lock_timeout = '5s'`

// ensure makes the partitions that are not there.
func (s *Store) ensure(ctx context.Context, want map[part]*bars.Interval) error {
	s.mu.Lock()
	for p := range s.parts {
		delete(want, p)
	}
	s.mu.Unlock()
	for p, tf := range want {
		if err := s.make(ctx, p, spanOf(tf)); err != nil {
			return fmt.Errorf("partition %s: %w", p.table(spanOf(tf)), err)
		}
		s.mu.Lock()
		s.parts[p] = struct{}{}
		s.mu.Unlock()
	}
	return nil
}

// make makes a partition unless it is there. It is attached in a second step, which does not hold up who reads or writes
// others.
func (s *Store) make(ctx context.Context, p part, span int64) error {
	table := pgx.Identifier{p.table(span)}.Sanitize()
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockWait); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(ddlLock)); err != nil {
			return err
		}
		var has bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&has); err != nil || has {
			return err
		}
		for _, statement := range []string{
			`CREATE TABLE ` + table + ` (LIKE history_bars INCLUDING ALL)`,
			fmt.Sprintf(`ALTER TABLE history_bars ATTACH PARTITION %s FOR VALUES FROM ('%s', %d) TO ('%s', %d)`,
				table, p.tf, p.n*span, p.tf, (p.n+1)*span),
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// isGone reports whether a partition is missing that was there: another process has dropped it.
func isGone(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23514" && strings.Contains(pg.Message, "no partition")
}

func (s *Store) forgetParts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.parts)
}

const (
	// trimSymbols is of how many symbols bars are deleted in one statement: of each at most as many as a partition has.
	trimSymbols = 8
	// trimEstimate is from how many bars on those of a partition are not counted before it is dropped.
	trimEstimate = 1_000_000
)

// Trim implements [history.Store]. A partition that is too old as a whole is dropped, and how many bars that were is
// estimated if it is large; of others bars are deleted.
func (s *Store) Trim(ctx context.Context, interval string, before int64) (int64, error) {
	tf, err := bars.ParseInterval(interval)
	if err != nil {
		return 0, err
	}
	parts, err := s.partsOf(ctx, tf, before)
	if err != nil {
		return 0, err
	}
	for _, p := range parts {
		if (p.n+1)*spanOf(tf) > before {
			continue
		}
		if n, err := s.drop(ctx, p, p.table(spanOf(tf))); err != nil || n > 0 {
			return n, err
		}
	}
	for _, p := range parts {
		if (p.n+1)*spanOf(tf) <= before {
			continue
		}
		if n, err := s.deleteBefore(ctx, interval, before); err != nil || n > 0 {
			return n, err
		}
	}
	return 0, nil
}

// partsOf returns the partitions of an interval that may have bars before a time.
func (s *Store) partsOf(ctx context.Context, tf *bars.Interval, before int64) (found []part, err error) {
	rows, err := s.pool.Query(ctx, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'history_bars'::regclass ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		m := tableName.FindStringSubmatch(name)
		if m == nil || m[1] != tf.Name {
			continue
		}
		if n, err := strconv.ParseInt(m[2], 10, 64); err == nil && n*spanOf(tf) < before {
			found = append(found, part{tf.Name, n})
		}
	}
	return found, err
}

func (s *Store) drop(ctx context.Context, p part, name string) (n int64, err error) {
	table := pgx.Identifier{name}.Sanitize()
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockWait); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(ddlLock)); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)`, table).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) { // Another process was first.
			return nil
		}
		if err == nil && n < trimEstimate {
			err = tx.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DROP TABLE `+table)
		}
		return err
	})
	s.mu.Lock()
	delete(s.parts, p)
	s.mu.Unlock()
	return n, err
}

// deleteBefore deletes bars of some symbols, from where it stopped the last time.
func (s *Store) deleteBefore(ctx context.Context, interval string, before int64) (int64, error) {
	s.mu.Lock()
	after := s.trimmed[interval]
	s.mu.Unlock()
	for wrapped := after == 0; ; {
		rows, err := s.pool.Query(ctx, `SELECT id FROM history_symbols WHERE id > $1 ORDER BY id LIMIT $2`, after, trimSymbols)
		if err != nil {
			return 0, err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		switch {
		case err != nil:
			return 0, err
		case len(ids) == 0 && wrapped:
			return 0, nil
		case len(ids) == 0:
			after, wrapped = 0, true
			continue
		}
		tag, err := s.pool.Exec(ctx, `DELETE FROM history_bars WHERE tf = $1 AND symbol = ANY($2) AND start < $3`, interval, ids, before)
		if err != nil {
			return 0, err
		}
		after = ids[len(ids)-1]
		s.mu.Lock()
		s.trimmed[interval] = after
		s.mu.Unlock()
		if n := tag.RowsAffected(); n > 0 {
			return n, nil
		}
	}
}
