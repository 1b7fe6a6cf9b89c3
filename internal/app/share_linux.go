// SPDX-License-Identifier: Apache-2.0

package app

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// SharePort lets several edges of one user listen on one port (SO_REUSEPORT), as on the client port.
func SharePort(_, _ string, c syscall.RawConn) error {
	var err error
	if failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); failed != nil {
		return failed
	}
	return err
}
