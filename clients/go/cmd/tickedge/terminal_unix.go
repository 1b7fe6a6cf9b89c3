// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package main

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// size returns the columns and lines of a terminal, and whether w is one.
func size(w io.Writer) (width, height int, terminal bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0, false
	}
	var window struct{ rows, columns, x, y uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&window)))
	if errno != 0 {
		return 0, 0, false
	}
	if window.columns == 0 || window.rows == 0 {
		return 80, 24, true
	}
	return int(window.columns), int(window.rows), true
}
