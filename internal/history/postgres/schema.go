// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"embed"

	"tickedge/internal/history"
	"tickedge/internal/pg"
)

//go:embed migrations/*.sql
var files embed.FS

var schema = pg.Schema{Name: "history", Table: "history_migrations", Files: files, Newer: history.ErrNewer}
