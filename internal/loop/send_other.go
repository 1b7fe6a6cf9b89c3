// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// send hands p, which is not empty, to a socket and returns how many bytes the socket
// took: 0 if it took none, for whatever reason. Writing the rest tells the reason.
func send(fd int32, p []byte) int {
	n, err := unix.Write(int(fd), p)
	if err != nil {
		return 0
	}
	return n
}

// ackedWithin can't be known here. Keepalive finds a peer that is dead.
func ackedWithin(int, time.Duration) bool { return true }
