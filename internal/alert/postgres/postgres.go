// SPDX-License-Identifier: Apache-2.0

// Package postgres keeps alerts in PostgreSQL, 13 or newer, for any number of processes.
//
//	postgres.go  Store: what users do with their alerts
//	fire.go      what fires, and what users are told
//	changes.go   what those who watch prices ask
//	schema.go    migrations
//
// Rows are locked in this order: alerts by their IDs, then users by their names. A deadlock all the same, or a transaction that could
// not be serialized, is tried again.
package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tickedge/internal/alert"
)

// Config says where a store is.
type Config struct {
	// URL is that of a database: postgres://user@host/name?sslmode=verify-full. What else it may say is in the documentation of
	// pgx (pool_max_conns and others).
	URL string
	Log *slog.Logger
}

// Store is an [alert.Store].
type Store struct{ pool *pgxpool.Pool }

// Open connects, and brings the tables to the present version. A database of a newer one is refused ([alert.ErrNewer]). The error
// shows no password.
func Open(ctx context.Context, c Config) (*Store, error) {
	pool, err := schema.Open(ctx, c.URL, c.Log)
	if err != nil {
		return nil, err
	}
	s := &Store{pool}
	// Of a database that was restored into another server transactions are ahead of it: they would be read again and again.
	if _, err := pool.Exec(ctx, `UPDATE alerts SET changed = pg_current_xact_id()
		WHERE bucket = ANY (SELECT generate_series(0, 63)) AND changed > pg_current_xact_id()`); err != nil {
		pool.Close()
		return nil, fmt.Errorf("alerts: %w", err)
	}
	return s, nil
}

// Close implements [alert.Store].
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// tries is how often a transaction is tried that others were in the way of.
const tries = 8

// transact runs f in a transaction.
func (s *Store) transact(ctx context.Context, f func(pgx.Tx) error) (err error) {
	for range tries {
		err = pgx.BeginFunc(ctx, s.pool, f)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "40P01" && pg.Code != "40001" {
			return err
		}
	}
	return err
}

// Columns of an alert.
const columns = `id, user_id, spec, state, created, arm, armed, side, fired_number, fired_arm, fired_at, fired_price, fired_by, fired_stored`

func scan(row pgx.Row) (a alert.Alert, err error) {
	var spec, state, price, by string
	f := &a.Last
	if err := row.Scan(&a.ID, &a.User, &spec, &state, &a.Created, &a.Arm, &a.Armed, &a.Side,
		&f.Number, &f.Arm, &f.At, &price, &by, &f.Stored); err != nil {
		return a, err
	}
	a.State = alert.State(state)
	if err := json.Unmarshal([]byte(spec), &a.Spec); err != nil {
		return a, fmt.Errorf("alert %d: %w", a.ID, err)
	}
	if f.Number == 0 {
		*f = alert.Firing{}
		return a, nil
	}
	f.Alert, f.By = a.ID, alert.By(by)
	f.Price, err = alert.ParseNum(price)
	return a, err
}

func collect(rows pgx.Rows, err error) (all []alert.Alert, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		a, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

// lockUser has a user's row, and keeps others from it until the transaction ends.
func lockUser(ctx context.Context, tx pgx.Tx, user string) error {
	_, err := tx.Exec(ctx, `INSERT INTO alert_users (user_id) VALUES ($1) ON CONFLICT (user_id) DO UPDATE SET number = alert_users.number`, user)
	return err
}

// checkQuota is called with the user's lock.
func checkQuota(ctx context.Context, tx pgx.Tx, user string, quota int) error {
	var n int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM alerts WHERE user_id = $1 AND state IN ('active', 'waiting')`, user).Scan(&n)
	if err == nil && n >= quota {
		return alert.ErrQuota
	}
	return err
}

// Create implements [alert.Store].
func (s *Store) Create(ctx context.Context, user, key string, spec alert.Spec, side alert.Side, now int64, quota int) (
	a alert.Alert, created bool, err error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return a, false, err
	}
	err = s.transact(ctx, func(tx pgx.Tx) error {
		created = false
		if err := lockUser(ctx, tx, user); err != nil {
			return err
		}
		if key != "" {
			var id int64
			var was string
			switch err := tx.QueryRow(ctx, `SELECT alert, spec FROM alert_keys WHERE user_id = $1 AND key = $2`, user, key).Scan(&id, &was); {
			case err == nil && was != string(text):
				return alert.ErrKey
			case err == nil:
				a, err = scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM alerts WHERE id = $1`, id))
				if errors.Is(err, pgx.ErrNoRows) {
					return alert.ErrNone
				}
				return err
			case !errors.Is(err, pgx.ErrNoRows):
				return err
			}
		}
		if err := checkQuota(ctx, tx, user, quota); err != nil {
			return err
		}
		created = true
		a, err = scan(tx.QueryRow(ctx, `INSERT INTO alerts (user_id, symbol, bucket, spec, repeats, state, created, arm, armed, side, expires)
			VALUES ($1, $2, $3, $4, $5, 'active', $6, 1, $6, $7, $8) RETURNING `+columns,
			user, spec.Symbol, alert.Bucket(spec.Symbol), string(text), spec.Repeat, now, side, spec.Expires))
		if err == nil && key != "" {
			_, err = tx.Exec(ctx, `INSERT INTO alert_keys (user_id, key, alert, spec, created) VALUES ($1, $2, $3, $4, $5)`,
				user, key, a.ID, string(text), now)
		}
		return err
	})
	return a, created && err == nil, err
}

// Get implements [alert.Store].
func (s *Store) Get(ctx context.Context, user string, id int64) (alert.Alert, error) {
	a, err := scan(s.pool.QueryRow(ctx, `SELECT `+columns+` FROM alerts WHERE id = $1 AND user_id = $2 AND state <> 'deleted'`, id, user))
	if errors.Is(err, pgx.ErrNoRows) {
		err = alert.ErrNone
	}
	return a, err
}

// List implements [alert.Store].
func (s *Store) List(ctx context.Context, q alert.Query) ([]alert.Alert, error) {
	where, args := `id > $1 AND state <> 'deleted'`, []any{q.After, q.Limit}
	if q.Active {
		where = `id > $1 AND state IN ('active', 'waiting')`
	}
	for column, value := range map[string]string{"user_id": q.User, "symbol": q.Symbol} {
		if value != "" {
			args = append(args, value)
			where += fmt.Sprintf(" AND %s = $%d", column, len(args))
		}
	}
	return collect(s.pool.Query(ctx, `SELECT `+columns+` FROM alerts WHERE `+where+` ORDER BY id LIMIT $2`, args...))
}

// Change implements [alert.Store].
func (s *Store) Change(ctx context.Context, user string, id, arm int64, spec alert.Spec, side alert.Side, now int64, quota int) (
	a alert.Alert, err error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return a, err
	}
	err = s.transact(ctx, func(tx pgx.Tx) error {
		was, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM alerts WHERE id = $1 AND user_id = $2 AND state <> 'deleted' FOR UPDATE`, id, user))
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return alert.ErrNone
		case err != nil:
			return err
		case was.Arm != arm:
			return alert.ErrState
		case was.Symbol != spec.Symbol:
			return errors.New("alerts: the symbol of an alert does not change")
		}
		if was.State != alert.Active && was.State != alert.Waiting {
			if err := lockUser(ctx, tx, user); err != nil {
				return err
			}
			if err := checkQuota(ctx, tx, user, quota); err != nil {
				return err
			}
		}
		a, err = scan(tx.QueryRow(ctx, `UPDATE alerts SET spec = $2, repeats = $3, state = 'active', arm = arm + 1, armed = $4, side = $5, expires = $6,
			changed = pg_current_xact_id() WHERE id = $1 RETURNING `+columns, id, string(text), spec.Repeat, now, side, spec.Expires))
		return err
	})
	return a, err
}

// Delete implements [alert.Store].
func (s *Store) Delete(ctx context.Context, user string, id, now int64) error {
	tag, err := s.pool.Exec(ctx, `UPDATE alerts SET state = 'deleted', deleted = $3, changed = pg_current_xact_id()
		WHERE id = $1 AND user_id = $2 AND state <> 'deleted'`, id, user, now)
	if err == nil && tag.RowsAffected() == 0 {
		return alert.ErrNone
	}
	return err
}
