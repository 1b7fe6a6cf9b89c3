//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/wire"
)

const (
	// slowBuffer is the receive buffer of a client that never reads. With it the
	// server's socket is full after a frame or two, and not after minutes.
	slowBuffer = 4096
	// slowEvery is the time between two looks at the slow clients.
	slowEvery = 50 * time.Millisecond
)

// slowClients are clients that say what they want and then never read. They are raw
// sockets: a runtime that polls them would have to be kept from reading.
type slowClients struct {
	fds   []int           // -1 once evicted.
	stuck []time.Duration // Of those evicted: since the last byte arrived.
}

// openSlow connects n clients, each with the first topics of the universe. Their
// receive buffers fill up at once.
func openSlow(addr string, n int, topics []string) (*slowClients, error) {
	server, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("slow clients: %w", err)
	}
	request := wire.AppendRequest(nil, "/ws", addr, [16]byte{})
	request = appendSubscribe(request, topics)
	s := &slowClients{}
	for range n {
		fd, err := dialSlow(server, request)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("slow clients: %w", err)
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
}

func dialSlow(server netip.AddrPort, request []byte) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	fail := func(err error) (int, error) {
		unix.Close(fd)
		return -1, err
	}
	// Before the connect, which tells the server the size of the window.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, slowBuffer); err != nil {
		return fail(err)
	}
	// A source of their own, apart from those that swarms use.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 1, 0, 1}}); err != nil {
		return fail(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(server.Port()), Addr: server.Addr().As4()}); err != nil {
		return fail(err)
	}
	if n, err := syscall.Write(fd, request); err != nil || n < len(request) {
		return fail(fmt.Errorf("the request was not taken: %d of %d bytes, %v", n, len(request), err))
	}
	return fd, nil
}

// look notes those that the server has ended since the last look.
func (s *slowClients) look() {
	const established = 1
	for i, fd := range s.fds {
		if fd < 0 {
			continue
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State != established {
			if err == nil {
				s.stuck = append(s.stuck, time.Duration(info.Last_data_recv)*time.Millisecond)
			}
			unix.Close(fd)
			s.fds[i] = -1
		}
	}
}

// left is how many the server has not ended.
func (s *slowClients) left() (n int) {
	for _, fd := range s.fds {
		if fd >= 0 {
			n++
		}
	}
	return n
}

func (s *slowClients) close() {
	for i, fd := range s.fds {
		if fd >= 0 {
			unix.Close(fd)
			s.fds[i] = -1
		}
	}
}
