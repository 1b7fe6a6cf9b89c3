// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"embed"

	"tickedge/internal/alert"
	"tickedge/internal/pg"
)

//go:embed migrations/*.sql
var files embed.FS

var schema = pg.Schema{Name: "alerts", Table: "alert_migrations", Files: files, Newer: alert.ErrNewer}
