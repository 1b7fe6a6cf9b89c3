// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// askMost bounds an answer of an admin port.
const askMost = 20 * time.Second

// state is what an edge says of its clients.
type state struct {
	open      int
	addresses map[netip.Addr]int
}

// edges asks all edges who their clients are.
func (t *trial) edges(ctx context.Context) ([]state, error) {
	all := make([]state, len(t.admins))
	for i, admin := range t.admins {
		ctx, cancel := context.WithTimeout(ctx, askMost)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/conns?sort=age&n=%d", admin, t.conns+1000), nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answers %s", admin, resp.Status)
		}
		if all[i], err = readState(resp.Body); err != nil {
			return nil, fmt.Errorf("%s: %w", admin, err)
		}
	}
	return all, nil
}

// readState reads connections, one a line.
func readState(from io.Reader) (s state, err error) {
	s.addresses = make(map[netip.Addr]int)
	for in := bufio.NewScanner(from); ; {
		if !in.Scan() {
			return s, in.Err()
		}
		var conn struct{ Remote, Transport string }
		if err := json.Unmarshal(in.Bytes(), &conn); err != nil {
			return s, err
		}
		if conn.Remote == "" {
			continue
		}
		host := conn.Remote
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return s, fmt.Errorf("remote is %q, want an address", conn.Remote)
		}
		s.open++
		s.addresses[addr]++
	}
}

// addressesSeen checks that edges know where each client comes from, though HAProxy is in between.
func (t *trial) addressesSeen(ctx context.Context) error {
	states, err := t.edges(ctx)
	if err != nil {
		return err
	}
	clients, distinct, others := netip.MustParsePrefix("127.0.1.0/24"), make(map[netip.Addr]bool), 0
	open := 0
	for i, s := range states {
		fmt.Fprintf(t.stdout, "edge%d lists %d connections, of %d addresses\n", i+1, s.open, len(s.addresses))
		for addr, n := range s.addresses {
			if clients.Contains(addr) {
				open += n
				distinct[addr] = true
			} else {
				others += n
			}
		}
	}
	fmt.Fprintf(t.stdout, "in all %d connections of %d addresses in %s, and %d of others\n", open, len(distinct), clients, others)
	if want := min(t.addresses, t.conns); open < t.conns || len(distinct) != want {
		t.bad("edges list %d connections of %d addresses, want %d of %d: start edges with -proxy-protocol and -log-level debug",
			open, len(distinct), t.conns, want)
	}
	return nil
}
