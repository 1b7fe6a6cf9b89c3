// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"net/netip"
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
		// A source of their own, apart from those that swarms use.
		fd, err := dialRaw(server, [4]byte{127, 1, 0, 1}, slowBuffer, request)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("slow clients: %w", err)
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
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
