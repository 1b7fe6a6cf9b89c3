//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package loop

import "golang.org/x/sys/unix"

// prepareListener only finds out the address: the socket options of the Linux build
// have no equal on all of these systems.
func (l *loop) prepareListener() error {
	dup, err := l.engine.Dup()
	if err != nil {
		return err
	}
	defer unix.Close(dup)
	l.addr, l.families, err = boundTo(dup)
	return err
}

// closeListener does nothing: new connections are answered with 503.
func (l *loop) closeListener() {}

// holdListener does nothing: a loop whose accept fails waits instead.
func (l *loop) holdListener() (epoll int, ok bool) { return 0, false }

func (l *loop) listenAgain(int) bool { return true }

// limitLeaving does nothing: the kernel has limits of its own.
func limitLeaving(int) {}

func shutdownWrite(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }
