// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/folder"
)

// migrations lead to the present version. The first one makes an empty folder.
var migrations = []folder.Migration{
	func(*lsm.DB) error { return nil },
}
