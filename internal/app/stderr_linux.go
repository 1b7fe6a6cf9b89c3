// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// socketWait is how long a write to a socket waits for its reader. The text of a panic is some hundred
// writes.
const socketWait = 10 * time.Millisecond

// takeStderr returns standard error for the log. What it leaves as descriptor 2 does not wait for
// its reader where that can be had: the Go runtime writes there by itself, with the whole process
// stopped, when a panic ends it. With a reader that has stalled, it would never end.
func takeStderr() io.Writer {
	const fd = 2
	var is syscall.Stat_t
	if syscall.Fstat(fd, &is) != nil {
		return os.Stderr
	}
	switch is.Mode & syscall.S_IFMT {
	case syscall.S_IFSOCK: // Of the journal, for instance. It can't be opened another time.
		limit := syscall.NsecToTimeval(socketWait.Nanoseconds())
		if syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit) == nil {
			return waiting{os.Stderr}
		}
		return os.Stderr
	case syscall.S_IFIFO, syscall.S_IFCHR: // A pipe, or a terminal.
	default:
		return os.Stderr
	}
	// O_NONBLOCK belongs to what was opened, which other processes may share. So it is opened
	// another time.
	quick, err := syscall.Open("/proc/self/fd/2", syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return os.Stderr
	}
	defer syscall.Close(quick)
	own, err := syscall.Dup(fd)
	if err != nil {
		return os.Stderr
	}
	syscall.CloseOnExec(own)
	if syscall.Dup3(quick, fd, 0) != nil {
		_ = syscall.Close(own)
		return os.Stderr
	}
	return os.NewFile(uintptr(own), "stderr")
}

// waiting waits for a reader for as long as it takes, though a single write does not.
type waiting struct{ to io.Writer }

func (w waiting) Write(p []byte) (n int, err error) {
	for {
		wrote, err := w.to.Write(p[n:])
		n += wrote
		if !errors.Is(err, syscall.EAGAIN) {
			return n, err
		}
	}
}
