// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/alert"
)

// format is that of the library's files. A newer version of this program may raise it; the library brings older
// folders up to it.
const format = lsm.FormatValueSeparation

// schemaKey has the version of what this package writes. It stands before all else.
var schemaKey = []byte("\x00schema")

// migration brings a folder from the version that is its place in a list to the next one. It must be right to run it
// again if it ended early.
type migration func(*lsm.DB) error

// migrations lead to the present version. The first one makes an empty folder.
var migrations = []migration{
	func(*lsm.DB) error { return nil },
}

// migrate brings the folder to the version to which the steps lead.
func (s *Store) migrate(steps []migration) error {
	has, err := s.version()
	if err != nil {
		return err
	}
	if has > len(steps) {
		return fmt.Errorf("its version is %d, and this program knows %d: %w", has, len(steps), alert.ErrNewer)
	}
	for n := has; n < len(steps); n++ {
		if err := steps[n](s.db); err != nil {
			return fmt.Errorf("to version %d: %w", n+1, err)
		}
		if err := s.db.Set(schemaKey, strconv.AppendInt(nil, int64(n+1), 10), lsm.Sync); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) version() (int, error) {
	v, closer, err := s.db.Get(schemaKey)
	if errors.Is(err, lsm.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("its version is damaged: %q", v)
	}
	return n, nil
}

// isNewer reports whether the library does not know the form of the files. It has no error of its own for that.
func isNewer(err error) bool {
	return strings.Contains(err.Error(), "format major version") || strings.Contains(err.Error(), "format version")
}
