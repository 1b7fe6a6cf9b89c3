// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// stuck is a swarm with one open conn whose peer, the descriptor returned, has not
// read anything and whose socket is full.
func stuck(t *testing.T) (s *Swarm, peer int) {
	s, err := New(config(netip.MustParseAddrPort("127.0.0.1:1"), 1))
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.closeAll()
		unix.Close(s.epoll)
		unix.Close(fds[1])
	})
	s.conns[0].fd, s.conns[0].state = int32(fds[0]), open
	for {
		if _, err := unix.Write(fds[0], []byte{'.'}); err == unix.EAGAIN {
			return s, fds[1]
		}
	}
}

func TestWhatTheSocketDoesNotTakeIsSentLater(t *testing.T) {
	s, peer := stuck(t)
	want := bytes.Repeat([]byte("0123456789"), 2000)
	s.send(0, want[:15000])
	s.send(0, want[15000:])
	if len(s.unsent[0]) == 0 {
		t.Fatal("a full socket took everything")
	}
	var got []byte
	buf := make([]byte, 3000)
	for range 1000 {
		if n, _ := unix.Read(peer, buf); n > 0 {
			got = append(got, buf[:n]...)
		}
		s.event(0, unix.EPOLLOUT)
	}
	if len(s.unsent) != 0 || !bytes.Equal(bytes.TrimLeft(got, "."), want) {
		t.Errorf("%d bytes came, %d are unsent, want %d", len(got), len(s.unsent[0]), len(want))
	}
}

func TestServerThatDoesNotReadIsLeft(t *testing.T) {
	s, _ := stuck(t)
	for range unsentMax/1000 + 2 {
		if s.conns[0].state == open {
			s.send(0, make([]byte, 1000))
		}
	}
	if s.rep.Lost["server does not read"] == nil || len(s.unsent) != 0 || s.conns[0].state != closed {
		t.Errorf("lost: %s, state %d", kinds(s.rep.Lost), s.conns[0].state)
	}
}
