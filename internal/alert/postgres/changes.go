// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"tickedge/internal/alert"
)

// mark is how far changes were read. A transaction has its number when it begins to write, and is seen when it has ended: so
// what is read next is everything of transactions from the oldest one on that had not ended.
type mark struct {
	first bool  // Alerts that are alive are read for the first time, whatever transaction they are of.
	since int64 // Transactions to be read.
	then  int64 // Those to be read when these are; 0 between two readings.
	after int64 // The last ID that was read, in the middle of a reading.
}

func (m mark) String() string {
	return fmt.Sprintf("%t,%d,%d,%d", m.first, m.since, m.then, m.after)
}

func parseMark(s string) (m mark, err error) {
	if s == "" {
		return mark{first: true}, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) != 4 {
		return m, fmt.Errorf("alerts: %q is no mark", s)
	}
	m.first = parts[0] == "true"
	for i, to := range []*int64{&m.since, &m.then, &m.after} {
		if *to, err = strconv.ParseInt(parts[i+1], 10, 64); err != nil {
			return m, fmt.Errorf("alerts: %q is no mark", s)
		}
	}
	return m, nil
}

// Changes implements [alert.Store].
func (s *Store) Changes(ctx context.Context, buckets []int, from string, limit int) (all []alert.Alert, next string, more bool, err error) {
	m, err := parseMark(from)
	if err != nil {
		return nil, "", false, err
	}
	if m.then == 0 { // Before the alerts are read.
		if err := s.pool.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint`).Scan(&m.then); err != nil {
			return nil, "", false, err
		}
	}
	where := `changed >= $3::bigint::text::xid8`
	if m.first {
		where = `state IN ('active', 'waiting') AND $3::bigint = $3`
	}
	all, err = collect(s.pool.Query(ctx, `SELECT `+columns+` FROM alerts WHERE bucket = ANY ($1) AND id > $2 AND `+where+` ORDER BY id LIMIT $4`,
		buckets, m.after, m.since, limit))
	if err != nil {
		return nil, "", false, err
	}
	if more = len(all) == limit; more {
		m.after = all[len(all)-1].ID
		return all, m.String(), true, nil
	}
	return all, mark{since: m.then}.String(), false, nil
}

// Positions implements [alert.Store].
func (s *Store) Positions(ctx context.Context, buckets []int) (map[string]int64, error) {
	rows, err := s.pool.Query(ctx, `SELECT symbol, at FROM alert_positions WHERE bucket = ANY ($1)`, buckets)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]int64)
	for rows.Next() {
		var symbol string
		var at int64
		if err := rows.Scan(&symbol, &at); err != nil {
			return nil, err
		}
		all[symbol] = at
	}
	return all, rows.Err()
}

// SetPositions implements [alert.Store].
func (s *Store) SetPositions(ctx context.Context, at map[string]int64) error {
	symbols := slices.Sorted(maps.Keys(at))
	buckets, ats := make([]int16, len(symbols)), make([]int64, len(symbols))
	for i, symbol := range symbols {
		buckets[i], ats[i] = int16(alert.Bucket(symbol)), at[symbol]
	}
	return s.transact(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO alert_positions (symbol, bucket, at)
			SELECT symbol, bucket, at FROM unnest($1::text[], $2::smallint[], $3::bigint[]) WITH ORDINALITY AS p (symbol, bucket, at, n) ORDER BY n
			ON CONFLICT (symbol) DO UPDATE SET at = GREATEST(alert_positions.at, excluded.at)`, symbols, buckets, ats)
		return err
	})
}

// leaseLock keeps those apart who divide the buckets.
const leaseLock = 7305789430219

// Lease implements [alert.Store].
func (s *Store) Lease(ctx context.Context, owner string, now, term int64) (buckets []int, err error) {
	err = s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(leaseLock)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM alert_owners WHERE until <= $1`, now); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO alert_owners (owner, until) VALUES ($1, $2) ON CONFLICT (owner) DO UPDATE SET until = excluded.until`,
			owner, now+term); err != nil {
			return err
		}
		var alive, mine int
		if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM alert_owners), (SELECT count(*) FROM alert_leases WHERE owner = $1)`, owner).
			Scan(&alive, &mine); err != nil {
			return err
		}
		share := (alert.Buckets + alive - 1) / alive
		if mine > share {
			if _, err := tx.Exec(ctx, `UPDATE alert_leases SET owner = '', until = 0 WHERE bucket IN
				(SELECT bucket FROM alert_leases WHERE owner = $1 ORDER BY bucket DESC LIMIT $2)`, owner, mine-share); err != nil {
				return err
			}
		} else if _, err := tx.Exec(ctx, `UPDATE alert_leases SET owner = $1 WHERE bucket IN
				(SELECT bucket FROM alert_leases WHERE owner <> $1 AND until <= $2 ORDER BY bucket LIMIT $3)`, owner, now, share-mine); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `UPDATE alert_leases SET until = $2 WHERE owner = $1 RETURNING bucket`, owner, now+term)
		if err != nil {
			return err
		}
		buckets, err = pgx.CollectRows(rows, pgx.RowTo[int])
		slices.Sort(buckets)
		return err
	})
	return buckets, err
}

// Release implements [alert.Store].
func (s *Store) Release(ctx context.Context, owner string) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE alert_leases SET owner = '', until = 0 WHERE owner = $1`, owner); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM alert_owners WHERE owner = $1`, owner)
		return err
	})
}

// Trim implements [alert.Store].
func (s *Store) Trim(ctx context.Context, keep int, before int64, limit int) (n int, err error) {
	for _, statement := range []string{
		`DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE state = 'deleted' AND deleted < $1 LIMIT $2)`,
		`DELETE FROM alert_keys WHERE (user_id, key) IN (SELECT user_id, key FROM alert_keys WHERE created < $1 LIMIT $2)`,
	} {
		tag, err := s.pool.Exec(ctx, statement, before, limit-n)
		if n += int(tag.RowsAffected()); err != nil || n >= limit {
			return n, err
		}
	}
	err = s.transact(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `DELETE FROM alert_firings WHERE (user_id, number) IN
			(SELECT f.user_id, f.number FROM alert_users u JOIN alert_firings f ON f.user_id = u.user_id AND f.number <= u.number - $1
			WHERE u.number > u.trimmed + $1 ORDER BY f.user_id, f.number LIMIT $2) RETURNING user_id, number`, int64(keep), limit-n)
		if err != nil {
			return err
		}
		gone := make(map[string]int64)
		var user string
		var number int64
		if _, err := pgx.ForEachRow(rows, []any{&user, &number}, func() error {
			gone[user] = max(gone[user], number)
			n++
			return nil
		}); err != nil {
			return err
		}
		for _, user := range slices.Sorted(maps.Keys(gone)) {
			if _, err := tx.Exec(ctx, `UPDATE alert_users SET trimmed = GREATEST(trimmed, $2) WHERE user_id = $1`, user, gone[user]); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
