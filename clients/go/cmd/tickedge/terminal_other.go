// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package main

import (
	"io"
	"os"
)

// size returns the columns and lines of a terminal, and whether w is one.
func size(w io.Writer) (width, height int, terminal bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0, false
	}
	info, err := f.Stat()
	return 80, 24, err == nil && info.Mode()&os.ModeCharDevice != 0
}
