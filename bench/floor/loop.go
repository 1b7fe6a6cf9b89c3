// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tickedge/bench/yard/bare"
)

// state is all that is known of a conn beside its topics: how many those are, or one
// of these.
type state int16

const (
	closed  state = 0  // No conn.
	shaking state = -1 // The request has not come.
	shaken  state = -2 // The subscribe has not come.
)

// loop is the epoll loop and all it serves. A conn is its descriptor. Owned by the
// goroutine in run.
type loop struct {
	epoll, listener int
	states          []state  // By descriptor.
	topics          []uint16 // Those of fd are topics[fd*each:][:states[fd]].
	each            int
	top             int // All descriptors of conns were below it.

	rows    *bare.Rows
	numbers bare.Topics
	sweep   bare.Sweep
	hello   []byte
	in, out []byte
	// partial is what came of a head or a frame that was not all there. Nearly always
	// empty: the loopback delivers what a client writes at once in one piece.
	partial map[int][]byte
	paused  bool // The listener is not watched.
	full    bool // There was a time without a descriptor left; said once.
}

func newLoop(listener, fds, topics int, c *bare.Config) (*loop, error) {
	l := &loop{
		listener: listener, each: topics,
		rows: bare.NewRows(c.Names, c.Rate, time.Now()), numbers: bare.NewTopics(c.Names),
		// Pages of these that no descriptor has come to take no memory.
		states: make([]state, fds), topics: make([]uint16, fds*topics),
		sweep: bare.Sweep{Window: c.Window},
		hello: bare.AppendText(nil, bare.Hello(c.Window)),
		in:    make([]byte, bare.InMax), out: make([]byte, max(bare.FrameSize(topics), 4096)),
		partial: map[int][]byte{},
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create", err)
	}
	return l, l.watch(listener)
}

func (l *loop) watch(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev))
}

// run serves until something fails.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 256)
	next := time.Now()
	for {
		now := time.Now()
		if !now.Before(next) {
			if l.paused {
				l.paused = false
				if err := l.watch(l.listener); err != nil {
					return err
				}
			}
			l.turn(now)
			next = now.Add(bare.Turn)
			now = time.Now()
		}
		// Up to 1 ms late, as epoll_wait has no finer unit; never early.
		wait := max(next.Sub(now)+time.Millisecond-1, 0) / time.Millisecond
		n, err := l.wait(events, int(wait))
		if err != nil {
			return err
		}
		for _, ev := range events[:n] {
			if int(ev.Fd) != l.listener {
				l.read(int(ev.Fd))
			} else if err := l.accept(); err != nil {
				return err
			}
		}
	}
}

// wait is epoll_wait, without telling the runtime that it may block: it would take
// the processor away each time, and look every 20 µs whether there is more to take,
// which was a tenth of all CPU at 15,000 conns. Nor does the goroutine yield, for the one
// that waits for signals: each time the runtime would wake up another thread to look for
// more, which was a third of the CPU of a handshake. It takes the processor away from
// a thread that has had it for 10 ms anyway, by a signal that also ends this wait.
func (l *loop) wait(events []unix.EpollEvent, ms int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(ms), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError("epoll_wait", errno)
}

// turn sends each conn whose time has come its rows.
func (l *loop) turn(now time.Time) {
	l.rows.Refresh(now)
	ms := now.UnixMilli()
	from, to := l.sweep.Next(now, l.top)
	for fd := from; fd < to; fd++ {
		if n := l.states[fd]; n > 0 {
			l.send(fd, l.rows.Gather(l.out, l.topics[fd*l.each:][:n], ms))
		}
	}
}

// send writes b, or drops the conn if its socket does not take all of it.
func (l *loop) send(fd int, b []byte) {
	// Not by way of package unix: the socket never blocks, so the runtime need not
	// be told, and C would not tell anybody either.
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 || int(n) != len(b) {
		l.drop(fd)
	}
}

func (l *loop) drop(fd int) {
	l.states[fd] = closed
	delete(l.partial, fd)
	_ = unix.Close(fd)
}

// accept takes what waits, up to some, so that turns are not late.
func (l *loop) accept() error {
	for range 16 {
		// Not by way of package unix, which would ask for the address and allocate it.
		n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l.listener), 0, 0,
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
		case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED:
			return nil
		case unix.EMFILE, unix.ENFILE:
			return l.pause(errno)
		default:
			return os.NewSyscallError("accept", errno)
		}
		fd := int(n)
		if err := l.watch(fd); err != nil {
			return err
		}
		l.states[fd] = shaking
		l.top = max(l.top, fd+1)
	}
	return nil
}

// pause stops listening for one turn, when there is no descriptor left: clients wait in
// the backlog until others go, and epoll would call for each of them again and again.
func (l *loop) pause(why error) error {
	if !l.full {
		fmt.Fprintf(os.Stderr, "floor: accept: %v; more conns have to wait\n", why)
	}
	l.full, l.paused = true, true
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, l.listener, nil))
}

// read acts on what a client has sent.
func (l *loop) read(fd int) {
	if l.states[fd] == closed {
		return // By an event before this one.
	}
	have := 0
	if len(l.partial) > 0 {
		have = copy(l.in, l.partial[fd])
	}
	n, err := unix.Read(fd, l.in[have:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if n <= 0 {
		l.drop(fd) // The end, an error, or no room for the rest of something.
		return
	}
	in := l.in[:have+n]
	for l.states[fd] != closed {
		size := l.take(fd, in)
		if size == 0 {
			break
		}
		in = in[size:]
	}
	if l.states[fd] == closed {
		return
	}
	if len(in) > 0 {
		l.partial[fd] = append([]byte(nil), in...)
	} else if have > 0 {
		delete(l.partial, fd)
	}
}

// take acts on the request or the frame that in begins with, and returns its size, 0
// if it is not all there. It may drop the conn.
func (l *loop) take(fd int, in []byte) int {
	if l.states[fd] == shaking {
		size := bare.HeadSize(in)
		if size > 0 {
			answer, ok := bare.AppendAnswer(l.out[:0], in[:size])
			if !ok {
				l.drop(fd)
				return size
			}
			l.states[fd] = shaken
			l.send(fd, append(answer, l.hello...))
		}
		return size
	}
	op, payload, size := bare.NextFrame(in)
	switch {
	case size == 0:
	case op == bare.OpClose:
		l.drop(fd)
	case op == bare.OpText && l.states[fd] == shaken:
		n := l.numbers.Subscribe(payload, l.topics[fd*l.each:][:l.each])
		if n == 0 {
			l.drop(fd)
			break
		}
		l.states[fd] = state(n)
		l.send(fd, bare.AppendAck(l.out[:0], n))
	}
	return size
}
