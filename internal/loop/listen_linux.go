// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// notsentLowat is how much the kernel takes for a socket beyond what is on its
	// way. Without it a slow client shows no backlog for megabytes.
	notsentLowat = 16 << 10
	// userTimeout is how long written bytes may go unacknowledged, or a window stay
	// closed, until the kernel gives up a connection that is leaving: of one that we have
	// closed nobody else takes care. Others don't have it. The kernel's clock only stops
	// when the window is as large as all that was written at once, so a client that reads
	// slowly into a small buffer, and all the time, would be reset. A dead one among those
	// is found by its backlog, or by the pong that does not come.
	userTimeout = 30 * time.Second
)

// adopt sets what accepted sockets inherit, and finds the listener's own descriptor, which
// gnet does not tell, by one for the same listener.
func (e *engine) adopt(listener int) error {
	e.listenerFD = sameFile(listener)
	return os.NewSyscallError("setsockopt TCP_NOTSENT_LOWAT",
		unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notsentLowat))
}

// sameFile returns another descriptor of this process for the file that fd stands
// for, -1 if there is none.
func sameFile(fd int) int {
	var want, have unix.Stat_t
	if unix.Fstat(fd, &want) != nil {
		return -1
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err == nil && n != fd && unix.Fstat(n, &have) == nil && have.Ino == want.Ino && have.Dev == want.Dev {
			return n
		}
	}
	return -1
}

// closeListener stops accepting. gnet can't: it closes its listener together with
// all connections. So the listener's descriptor is made to stand for /dev/null, which
// closes the listener behind gnet's back, takes it out of epoll, and leaves gnet a
// descriptor to close at its end. This must run on the loop, where no accept can be
// under way. Where it does not work, new connections are still answered with 503.
func (e *engine) closeListener() {
	if e.listenerFD < 0 {
		return
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	_ = unix.Dup3(null, e.listenerFD, unix.O_CLOEXEC)
}

// connectionWaits reports whether a connection waits to be accepted.
func (e *engine) connectionWaits() bool {
	look := []unix.PollFd{{Fd: int32(e.listenerFD), Events: unix.POLLIN}} // -1 is never ready.
	n, err := unix.Poll(look, 0)
	return err == nil && n > 0
}

// holdListener takes the listener out of the loop's epoll, so that gnet does not call
// accept, and returns that epoll. It runs on the loop. gnet does not tell its epoll, and
// to look for it in /proc takes a descriptor, of which there may be none. But only one
// takes the listener out: the others have not got it, or are no epoll at all.
func (e *engine) holdListener() (epoll int, ok bool) {
	if e.listenerFD < 0 {
		return 0, false
	}
	for fd := range epollTries {
		if unix.EpollCtl(fd, unix.EPOLL_CTL_DEL, e.listenerFD, nil) == nil {
			return fd, true
		}
	}
	return 0, false
}

// epollTries bounds the search for the loop's epoll. Its descriptor is that of one of the
// first files of the process, long before the conns.
const epollTries = 1 << 16

// listenAgain puts the listener back. It reports false if that has to be tried again. It
// may run beside the loop, but not after it has ended: then the numbers may mean something
// else.
func (e *engine) listenAgain(epoll int) bool {
	// As gnet does it, which looks for what is ready by its number.
	event := unix.EpollEvent{Fd: int32(e.listenerFD), Events: unix.EPOLLIN | unix.EPOLLPRI}
	err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, e.listenerFD, &event)
	return err == nil || err == unix.EPERM // It was closed meanwhile, see closeListener.
}

// limitLeaving has the kernel give up a connection that is leaving if its peer is gone.
func limitLeaving(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
}
