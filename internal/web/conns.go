// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net"
	"net/netip"
	"sync"

	"tickedge/internal/guard"
)

// shares is a listener of which an address has so many connections at most, so that one that opens many and asks nothing
// leaves room for others. Proxies that are trusted have any number.
type shares struct {
	net.Listener
	most    int
	trusted guard.Trusted

	mu   sync.Mutex
	have map[guard.Prefix]int
}

// Accept implements [net.Listener]. What is too much is closed.
func (s *shares) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || s.trusted.Has(peer.Addr()) {
			return c, nil
		}
		client := guard.PrefixOf(peer.Addr())
		s.mu.Lock()
		full := s.have[client] >= s.most
		if !full {
			s.have[client]++
		}
		s.mu.Unlock()
		if !full {
			return &share{Conn: c, leave: sync.OnceFunc(func() { s.leave(client) })}, nil
		}
		_ = c.Close() // It was not read from.
	}
}

func (s *shares) leave(client guard.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have[client]--; s.have[client] == 0 {
		delete(s.have, client)
	}
}

// share is a connection of an address that is counted.
type share struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *share) Close() error {
	c.leave()
	return c.Conn.Close()
}
