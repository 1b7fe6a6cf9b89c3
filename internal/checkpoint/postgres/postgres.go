// SPDX-License-Identifier: Apache-2.0

// Package postgres keeps checkpoints in a table of PostgreSQL, for any number of processes.
package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tickedge/internal/checkpoint"
)

// Store is a [checkpoint.Store]. Each call is one statement, which is one transaction.
type Store struct {
	pool    *pgxpool.Pool
	timeout time.Duration
}

// DefaultTimeout bounds a call unless Open gets another.
const DefaultTimeout = 10 * time.Second

// The lock keeps those who make the table at once from failing. It ends with the transaction.
const schema = `
SELECT pg_advisory_xact_lock(7305789430218);
CREATE TABLE IF NOT EXISTS tickedge_checkpoints (
	key   text PRIMARY KEY,
	epoch bigint NOT NULL,
	state bytea,
	saved timestamptz
)`

// Open connects to the database of a URL (postgres://user:password@host/database) or of a DSN, and makes the
// table tickedge_checkpoints if there is none. Errors hold no password.
func Open(ctx context.Context, url string, timeout time.Duration) (*Store, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("checkpoints in PostgreSQL: %w", err)
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	c.ConnConfig.ConnectTimeout = timeout
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("checkpoints in PostgreSQL: %w", err)
	}
	s := &Store{pool, timeout}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("checkpoints in PostgreSQL: %w", err)
	}
	return s, nil
}

// prepare makes the table. A user that may not make one can use one that is there.
func (s *Store) prepare(ctx context.Context) error {
	var there bool
	if err := s.pool.QueryRow(ctx, `SELECT to_regclass('tickedge_checkpoints') IS NOT NULL`).Scan(&there); err != nil {
		return err
	}
	if there {
		return nil
	}
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	// Without arguments it goes as one message of several statements.
	if _, err := tx.Conn().PgConn().Exec(ctx, schema).ReadAll(); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// Load implements [checkpoint.Store].
func (s *Store) Load(ctx context.Context, key string) (state []byte, epoch int64, err error) {
	if err := checkpoint.Check(key, nil); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		INSERT INTO tickedge_checkpoints AS c (key, epoch) VALUES ($1, 1)
		ON CONFLICT (key) DO UPDATE SET epoch = c.epoch + 1
		RETURNING state, epoch`, key).Scan(&state, &epoch)
	if err != nil {
		return nil, 0, fmt.Errorf("checkpoint %s: %w", key, err)
	}
	return state, epoch, nil
}

// Save implements [checkpoint.Store].
func (s *Store) Save(ctx context.Context, key string, epoch int64, state []byte) error {
	if err := checkpoint.Check(key, state); err != nil {
		return err
	}
	if state == nil {
		state = []byte{}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	done, err := s.pool.Exec(ctx, `
		UPDATE tickedge_checkpoints SET state = $3, saved = now() WHERE key = $1 AND epoch = $2`, key, epoch, state)
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", key, err)
	}
	if done.RowsAffected() == 0 {
		return checkpoint.ErrFenced
	}
	return nil
}

// Close implements [checkpoint.Store]. It waits for calls that are on their way.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}
