// SPDX-License-Identifier: Apache-2.0

// Package pg is what stores in PostgreSQL have alike that own their tables: how they connect, and how these become the present ones.
package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Schema is the tables of a store.
type Schema struct {
	Name string // Of the store, for errors and the log.
	// Table has which migrations were applied. Beside it is one with _lease behind its name: who applies them now, a row with a
	// lease, as locks of sessions do not hold behind a pooler of transactions.
	Table string
	Files fs.FS // Of migrations, in a folder of that name, applied in the order of their numbers. None that was released is changed.
	Newer error // Is in the error of a database of a newer version.
}

// Open connects to the database of a URL, and brings the tables to the present version. A database of a newer one is refused. The
// error shows no password.
func (s Schema) Open(ctx context.Context, url string, log *slog.Logger) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New(s.Name + ": the URL of the database is not valid: " +
			"want for example postgres://user@host:5432/name?sslmode=verify-full")
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "tickedge"
	}
	if err := s.migrate(ctx, c.ConnConfig, log); err != nil {
		return nil, fmt.Errorf("%s: the database %s at %s: %w", s.Name, c.ConnConfig.Database, c.ConnConfig.Host, err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return pool, nil
}

// migrateTime bounds the wait for another process that migrates, and the migrations.
const migrateTime = 5 * time.Minute

func (s Schema) migrate(ctx context.Context, c *pgx.ConnConfig, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTime)
	defer cancel()
	from, err := fs.Sub(s.Files, "migrations")
	if err != nil {
		return err
	}
	p, err := s.Provider(c, from)
	if err != nil {
		return err
	}
	defer p.Close()
	current, target, err := p.GetVersions(ctx)
	if err == nil && current > target {
		return fmt.Errorf("its version is %d, and this program knows %d: %w", current, target, s.Newer)
	}
	applied, err := p.Up(ctx)
	if err != nil {
		return err
	}
	for _, m := range applied {
		log.Info(s.Name+": the database was migrated", "to", m.Source.Version, "took", m.Duration)
	}
	return nil
}

// Provider applies migrations of a folder.
func (s Schema) Provider(c *pgx.ConnConfig, from fs.FS) (*goose.Provider, error) {
	lease, err := lock.NewPostgresTableLocker(lock.WithTableName(s.Table+"_lease"), lock.WithTableLockTimeout(time.Second, 240))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, stdlib.OpenDB(*c), from,
		goose.WithTableName(s.Table), goose.WithLocker(lease), goose.WithDisableGlobalRegistry(true))
}
