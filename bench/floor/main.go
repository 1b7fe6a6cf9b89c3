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
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/yard/bare"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		os.Exit(0)
	}()
	fmt.Fprintf(os.Stderr, "floor: %v\n", run())
	os.Exit(1)
}

// run serves until something fails.
func run() error {
	var (
		addr     = flag.String("listen", "127.0.0.1:8080", "`host:port` to listen on")
		window   = flag.Duration("interval", 500*time.Millisecond, "time between two frames of a conn")
		rate     = flag.Float64("rate", 20000, "ticks per second, of all topics together")
		universe = flag.Int("universe", 1000, "topics there are")
		pattern  = flag.String("topic-name", "SYM%04d", "`pattern` of topic names, filled with numbers from 0")
		topics   = flag.Int("topics", 10, "most topics of a conn")
	)
	flag.Parse()
	names, err := bare.Names(*pattern, *universe)
	if err != nil {
		return err
	}
	if *topics < 1 || *topics > bare.TopicsMax || *window < bare.Turn || !(*rate > 0) {
		return fmt.Errorf("-topics has to be 1 to %d, -interval at least %v, -rate above 0", bare.TopicsMax, bare.Turn)
	}
	fds, err := fileLimit()
	if err != nil {
		return err
	}
	listener, err := listen(*addr)
	if err != nil {
		return err
	}
	l, err := newLoop(listener, fds, *topics, *window, names, bare.NewRows(names, *rate, time.Now()))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "floor: listening on %s, file limit %d\n", *addr, fds)
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
