// SPDX-License-Identifier: Apache-2.0

//go:build unix

package loop

import (
	"os"

	"golang.org/x/sys/unix"
)

// FileReserve is how many descriptors a server has beside those of admitted connections:
// those of connections that are being refused, and what each loop has: a listener, an epoll
// and an eventfd, and the connection that it is just accepting. An accept that finds no
// descriptor keeps new clients waiting, so they are kept free, as well as those that the
// rest of the process needs.
func FileReserve(loops int) int { return RefuseRoom + 4*loops }

// FileLimit raises the limit of open files as far as it may be raised, and returns
// it.
func FileLimit() (uint64, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	if lim.Cur < lim.Max {
		raised := unix.Rlimit{Cur: lim.Max, Max: lim.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			lim = raised
		}
	}
	return uint64(lim.Cur), nil
}
