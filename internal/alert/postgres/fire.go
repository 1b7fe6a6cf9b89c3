// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"tickedge/internal/alert"
)

// takes is a firing whose alert was locked, and takes it.
type takes struct {
	user, spec string
	number     int64
}

// Fire implements [alert.Store].
func (s *Store) Fire(ctx context.Context, f []alert.Firing, now int64) (taken []bool, err error) {
	err = s.transact(ctx, func(tx pgx.Tx) error {
		taken = make([]bool, len(f))
		by, err := lockFiring(ctx, tx, f)
		if err != nil || len(by) == 0 {
			return err
		}
		if err := number(ctx, tx, by); err != nil {
			return err
		}
		for i := range by {
			taken[i] = true
		}
		return storeFirings(ctx, tx, f, by, now)
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// lockFiring locks the alerts that firings may be of, and returns those firings, by their places.
func lockFiring(ctx context.Context, tx pgx.Tx, f []alert.Firing) (map[int]*takes, error) {
	ids, arms, ats := make([]int64, len(f)), make([]int64, len(f)), make([]int64, len(f))
	for i := range f {
		ids[i], arms[i], ats[i] = f[i].Alert, f[i].Arm, f[i].At
	}
	rows, err := tx.Query(ctx, `SELECT f.n, a.id, a.user_id, a.spec
		FROM alerts a JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS f (id, arm, at, n) ON a.id = f.id AND a.arm = f.arm
		WHERE (a.state = 'active' OR a.state = 'expired' AND a.fired_arm <> a.arm) AND (a.expires = 0 OR a.expires > f.at) ORDER BY a.id, f.n FOR UPDATE OF a`, ids, arms, ats)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	by, seen := make(map[int]*takes), make(map[int64]bool)
	for rows.Next() {
		var n, id int64
		var t takes
		if err := rows.Scan(&n, &id, &t.user, &t.spec); err != nil {
			return nil, err
		}
		if !seen[id] { // The first of several of the same alert counts.
			seen[id], by[int(n-1)] = true, &t
		}
	}
	return by, rows.Err()
}

// number gives firings the next numbers of their users, in their order.
func number(ctx context.Context, tx pgx.Tx, by map[int]*takes) error {
	counts := make(map[string]int64)
	for _, t := range by {
		counts[t.user]++
	}
	users := slices.Sorted(maps.Keys(counts))
	more := make([]int64, len(users))
	for i, u := range users {
		more[i] = counts[u]
	}
	rows, err := tx.Query(ctx, `INSERT INTO alert_users (user_id, number) SELECT user_id, more FROM unnest($1::text[], $2::bigint[]) AS u (user_id, more)
		ORDER BY user_id COLLATE "C" ON CONFLICT (user_id) DO UPDATE SET number = alert_users.number + excluded.number RETURNING user_id, number`, users, more)
	if err != nil {
		return err
	}
	defer rows.Close()
	next := make(map[string]int64)
	for rows.Next() {
		var user string
		var number int64
		if err := rows.Scan(&user, &number); err != nil {
			return err
		}
		next[user] = number - counts[user]
	}
	for _, i := range slices.Sorted(maps.Keys(by)) {
		t := by[i]
		next[t.user]++
		t.number = next[t.user]
	}
	return rows.Err()
}

// storeFirings writes firings and what they make of their alerts.
func storeFirings(ctx context.Context, tx pgx.Tx, f []alert.Firing, by map[int]*takes, now int64) error {
	n := len(by)
	ids, arms, ats, numbers := make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n)
	prices, bys, users, specs := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	for i, t := range by {
		ids, arms, ats, numbers = append(ids, f[i].Alert), append(arms, f[i].Arm), append(ats, f[i].At), append(numbers, t.number)
		prices, bys, users, specs = append(prices, f[i].Price.String()), append(bys, string(f[i].By)), append(users, t.user), append(specs, t.spec)
	}
	if _, err := tx.Exec(ctx, `UPDATE alerts a SET state = CASE WHEN repeats THEN 'waiting' ELSE 'fired' END, side = 0, fired_number = f.number,
		fired_arm = a.arm, fired_at = f.at, fired_price = f.price, fired_by = f.by, fired_stored = $6, changed = pg_current_xact_id()
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[]) AS f (id, number, at, price, by) WHERE a.id = f.id`,
		ids, numbers, ats, prices, bys, now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO alert_firings (user_id, number, alert, arm, at, price, by, stored, spec)
		SELECT user_id, number, alert, arm, at, price, by, $8, spec FROM
		unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $9::text[])
		AS f (user_id, number, alert, arm, at, price, by, spec)`, users, numbers, ids, arms, ats, prices, bys, now, specs)
	return err
}

// Arm implements [alert.Store].
func (s *Store) Arm(ctx context.Context, a []alert.Arming) error {
	ids, arms, ats, sides := make([]int64, len(a)), make([]int64, len(a)), make([]int64, len(a)), make([]int16, len(a))
	for i := range a {
		ids[i], arms[i], ats[i], sides[i] = a[i].Alert, a[i].Arm, a[i].At, int16(a[i].Side)
	}
	return s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT id FROM alerts WHERE id = ANY ($1) ORDER BY id FOR UPDATE`, ids); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE alerts a SET state = 'active', side = f.side, changed = pg_current_xact_id(),
			arm = CASE WHEN state = 'waiting' THEN a.arm + 1 ELSE a.arm END, armed = CASE WHEN state = 'waiting' THEN f.at ELSE a.armed END
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[]) AS f (id, arm, at, side)
			WHERE a.id = f.id AND a.arm = f.arm AND (a.state = 'waiting' OR a.state = 'active' AND a.side = 0 AND f.side <> 0)`, ids, arms, ats, sides)
		return err
	})
}

// Expire implements [alert.Store].
func (s *Store) Expire(ctx context.Context, now int64, limit int) (int, error) {
	tag, err := s.pool.Exec(ctx, `UPDATE alerts SET state = 'expired', changed = pg_current_xact_id() WHERE id IN (SELECT id FROM alerts
		WHERE expires > 0 AND expires <= $1 AND state IN ('active', 'waiting') ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)`, now, limit)
	return int(tag.RowsAffected()), err
}

// Columns of a firing.
const firing = `f.number, f.alert, f.arm, f.at, f.price, f.by, f.stored, f.spec`

// scanFiring scans what stands before a firing, and it.
func scanFiring(rows pgx.Rows, before ...any) (n alert.NewsItem, err error) {
	var price, by, spec string
	if err := rows.Scan(append(before, &n.Number, &n.Alert, &n.Arm, &n.At, &price, &by, &n.Stored, &spec)...); err != nil {
		return n, err
	}
	n.By = alert.By(by)
	n.Price, err = alert.ParseNum(price)
	if err = errors.Join(err, json.Unmarshal([]byte(spec), &n.Spec)); err != nil {
		err = fmt.Errorf("firing %d of alert %d: %w", n.Number, n.Alert, err)
	}
	return n, err
}

// Firings implements [alert.Store].
func (s *Store) Firings(ctx context.Context, user string, after int64, limit int) (all []alert.NewsItem, number int64, err error) {
	rows, err := s.pool.Query(ctx, `SELECT u.number, coalesce(f.number, 0), coalesce(f.alert, 0), coalesce(f.arm, 0), coalesce(f.at, 0),
		coalesce(f.price, '0'), coalesce(f.by, ''), coalesce(f.stored, 0), coalesce(f.spec, '{}')
		FROM alert_users u LEFT JOIN LATERAL
		(SELECT * FROM alert_firings f WHERE f.user_id = u.user_id AND f.number > $2 ORDER BY f.number LIMIT $3) f ON true
		WHERE u.user_id = $1 ORDER BY f.number`, user, after, limit)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n, err := scanFiring(rows, &number)
		if err != nil {
			return nil, 0, err
		}
		if n.Number > 0 {
			all = append(all, n)
		}
	}
	return all, number, rows.Err()
}

// Unpublished implements [alert.Store].
func (s *Store) Unpublished(ctx context.Context, limit int) (all []alert.News, err error) {
	rows, err := s.pool.Query(ctx, `SELECT u.user_id, u.number, `+firing+` FROM
		(SELECT user_id, number FROM alert_users WHERE number > published LIMIT $1) u CROSS JOIN LATERAL
		(SELECT * FROM alert_firings f WHERE f.user_id = u.user_id ORDER BY f.number DESC LIMIT $2) f ORDER BY u.user_id, f.number`,
		limit, alert.NewsMax)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var user string
		var number int64
		n, err := scanFiring(rows, &user, &number)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 || all[len(all)-1].User != user {
			all = append(all, alert.News{User: user, Number: number})
		}
		last := &all[len(all)-1]
		last.Fired = append(last.Fired, n)
	}
	return all, rows.Err()
}

// Published implements [alert.Store].
func (s *Store) Published(ctx context.Context, n []alert.Publication) error {
	users, numbers := make([]string, len(n)), make([]int64, len(n))
	for i := range n {
		users[i], numbers[i] = n[i].User, n[i].Number
	}
	return s.transact(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE alert_users u SET published = GREATEST(published, n.number)
			FROM unnest($1::text[], $2::bigint[]) AS n (user_id, number) WHERE u.user_id = n.user_id`, users, numbers)
		return err
	})
}

// Republish implements [alert.Store].
func (s *Store) Republish(ctx context.Context, after string, limit int) (last string, err error) {
	err = s.transact(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `WITH batch AS (SELECT user_id FROM alert_users WHERE user_id > $1 AND number > 0 ORDER BY user_id LIMIT $2 FOR UPDATE),
			done AS (UPDATE alert_users SET published = 0 WHERE user_id IN (SELECT user_id FROM batch))
			SELECT coalesce(max(user_id), '') FROM batch`, after, limit).Scan(&last)
	})
	return last, err
}
