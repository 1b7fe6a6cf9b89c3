// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// send hands p, which is not empty, to a socket and returns how many bytes the socket
// took: 0 if it took none, for whatever reason. Writing the rest tells the reason.
//
// It is sendto and not write, which looks at the socket as a file first, in memory that
// nothing else needs; and the runtime is not told, as the socket never blocks. Together
// that is 1.3 µs of the 7.3 µs that unix.Write took for a frame of 900 bytes.
func send(fd int32, p []byte) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// ackedWithin reports whether the peer of a socket has acknowledged anything in a time (tcp(7),
// TCP_INFO).
func ackedWithin(fd int, since time.Duration) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && time.Duration(info.Last_ack_recv)*time.Millisecond <= since
}
