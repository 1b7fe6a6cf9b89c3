// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"tickedge/internal/alert"
)

//go:embed migrations/*.sql
var files embed.FS

// migrations are applied in the order of their numbers. None that was released is changed.
var migrations = func() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // The folder is embedded above.
	}
	return sub
}()

// Tables of goose: which migrations were applied, and who applies them now, which holds behind a pooler of transactions too.
const (
	versionTable = "alert_migrations"
	leaseTable   = "alert_migrations_lease"
)

// migrateTime bounds the wait for another process that migrates, and the migrations.
const migrateTime = 5 * time.Minute

func migrate(ctx context.Context, c *pgx.ConnConfig, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTime)
	defer cancel()
	p, err := provider(c, migrations)
	if err != nil {
		return err
	}
	defer p.Close()
	current, target, err := p.GetVersions(ctx)
	if err == nil && current > target {
		return fmt.Errorf("its version is %d, and this program knows %d: %w", current, target, alert.ErrNewer)
	}
	applied, err := p.Up(ctx)
	if err != nil {
		return err
	}
	for _, m := range applied {
		log.Info("alerts: the database was migrated", "to", m.Source.Version, "took", m.Duration)
	}
	return nil
}

func provider(c *pgx.ConnConfig, from fs.FS) (*goose.Provider, error) {
	lease, err := lock.NewPostgresTableLocker(lock.WithTableName(leaseTable), lock.WithTableLockTimeout(time.Second, 240))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, stdlib.OpenDB(*c), from,
		goose.WithTableName(versionTable), goose.WithLocker(lease), goose.WithDisableGlobalRegistry(true))
}
