// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command floor is the physical floor: what it costs to gather 10 rows for each
// client twice a second and to hand them to the kernel, and nothing else. It has one
// epoll loop on raw system calls, no limits, no features and no mercy: a client that
// says anything but what bench hold says is dropped, and so is one that can't take a
// whole frame. Nothing that serves clients can cost less; bench compares edge with
// it.
//
//	main.go  flags, the listener
//	loop.go  everything else
package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"tickedge/bench/yard/bare"
)

func main() {
	topics := flag.Int("topics", 10, "most topics of a conn")
	bare.Main("floor", func(c *bare.Config) error { return run(c, *topics) })
}

// run serves until something fails.
func run(c *bare.Config, topics int) error {
	if topics < 1 || topics > bare.TopicsMax {
		return fmt.Errorf("-topics %d: want 1 to %d, such as -topics 10", topics, bare.TopicsMax)
	}
	fds, err := fileLimit()
	if err != nil {
		return err
	}
	listener, err := listen(c.Addr)
	if err != nil {
		return err
	}
	l, err := newLoop(listener, fds, topics, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "floor: listening on %s, file limit %d\n", c.Addr, fds)
	return l.run()
}

// fileLimit is how many descriptors there may be. Package os has raised the limit as
// far as it may be raised.
func fileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	const fdsMax = 1 << 20 // Where the limit is infinite.
	return int(min(limit.Cur, fdsMax)), nil
}

func listen(addr string) (int, error) {
	fail := func(err error) (int, error) { return -1, fmt.Errorf("-listen %s: %w", addr, err) }
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return fail(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	// Accepted sockets inherit TCP_NODELAY, so it takes no system call for each.
	for _, option := range [][2]int{{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.IPPROTO_TCP, unix.TCP_NODELAY}} {
		if err := unix.SetsockoptInt(fd, option[0], option[1], 1); err != nil {
			return fail(err)
		}
	}
	sa := &unix.SockaddrInet4{Port: tcp.Port}
	copy(sa.Addr[:], tcp.IP.To4())
	if err := unix.Bind(fd, sa); err != nil {
		return fail(err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return fail(err)
	}
	return fd, nil
}
