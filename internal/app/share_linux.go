// SPDX-License-Identifier: Apache-2.0

package app

import "syscall"

// soReusePort is SO_REUSEPORT, which package syscall lacks for some processors. It is the same for all that Linux is built for here.
const soReusePort = 15

// SharePort lets several edges of one user listen on one port (SO_REUSEPORT), as on the client port.
func SharePort(_, _ string, c syscall.RawConn) error {
	var err error
	if failed := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1) }); failed != nil {
		return failed
	}
	return err
}
