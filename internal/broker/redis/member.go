// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
)

// member is the target of a server that is a node of a cluster: it stays at its address.
type member struct {
	c    *cluster
	addr string
}

func (m member) resolve(ctx context.Context) (*goredis.Options, error) { return m.c.reach(ctx, m.addr) }

func (member) waitMax() time.Duration { return broker.BackoffMax }

func (m member) watch(ctx context.Context, _ string) error {
	<-ctx.Done()
	return nil
}

// settle has nodes stay where they are if a view only seems to say otherwise. Nodes that are named
// without a host are at the one that was asked, so each view has them at another: their topics
// would go to and fro. A node that works and is known by its id stays, as long as one of the two
// places is such a guess.
func (c *cluster) settle(ranges []slotRange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range ranges {
		for i, n := range r.nodes {
			was, known := c.places[n.id]
			if known && was.addr != n.addr && (was.guessed || n.guessed) && portOf(was.addr) == portOf(n.addr) && c.works(was.addr) {
				r.nodes[i] = was
			}
		}
	}
}

// works is false for a node that has failed, or refuses what is its own. The caller holds c.mu.
func (c *cluster) works(addr string) bool {
	n := c.nodes[addr]
	return n == nil || n.up && !n.missing
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// place notes where the nodes of a view are.
func (c *cluster) place(ranges []slotRange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places = make(map[string]slotNode)
	c.ips = make(map[string]string)
	for _, r := range ranges {
		for _, n := range r.nodes {
			if n.id != "" {
				c.places[n.id] = n
			}
			if n.ip != "" {
				c.ips[n.addr] = n.ip
			}
		}
	}
}

// reach returns the options for the node at an address.
func (c *cluster) reach(ctx context.Context, addr string) (*goredis.Options, error) {
	c.mu.Lock()
	ip := c.ips[addr]
	c.mu.Unlock()
	opts, err := c.at(addr, c.opts)
	if err == nil {
		opts.Addr = resolvable(ctx, addr, ip) // A certificate is still for the name.
	}
	return opts, err
}

// resolvable returns an address to dial in place of one whose name is not known here: some names
// are known only where the nodes run. An ip of "" is none.
func resolvable(ctx context.Context, addr, ip string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || ip == "" {
		return addr
	}
	ctx, cancel := context.WithTimeout(ctx, askMax)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		return net.JoinHostPort(ip, port)
	}
	return addr
}

// scout finds the nodes of a cluster for a client of go-redis, which can't read views that have
// nodes without a host, and dials such nodes on this host.
type scout struct {
	ctx context.Context
	*upstream

	mu    sync.Mutex
	nodes map[string]slotNode // Those of the last view, by their addresses.
}

// slots asks some nodes at once, and takes the newest view.
func (s *scout) slots(context.Context) ([]goredis.ClusterSlot, error) {
	addrs := slices.Clone(s.addrs)
	s.mu.Lock()
	for addr := range s.nodes {
		addrs = append(addrs, addr)
	}
	s.mu.Unlock()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	addrs = addrs[:min(len(addrs), askNodesMax)]
	v, err := newestView(addrs, func(addr string) (view, error) {
		name, where, err := s.locate(addr)
		if err != nil {
			return view{}, err
		}
		opts, err := s.at(name, s.opts)
		if err != nil {
			return view{}, err
		}
		opts.Addr = where
		return askView(s.ctx, opts, name)
	})
	if err != nil {
		return nil, err
	}
	nodes := make(map[string]slotNode)
	var all []goredis.ClusterSlot
	for _, r := range v.slots {
		of := goredis.ClusterSlot{Start: r.start, End: r.end}
		for _, n := range r.nodes {
			nodes[n.addr] = n
			of.Nodes = append(of.Nodes, goredis.ClusterNode{ID: n.id, Addr: n.addr})
		}
		all = append(all, of)
	}
	if len(nodes) > nodesMax {
		return nil, fmt.Errorf("%s knows of %d nodes, want at most %d", v.from, len(nodes), nodesMax)
	}
	s.mu.Lock()
	s.nodes = nodes
	s.mu.Unlock()
	return all, nil
}

// dialer returns a dialer that finds out which node is meant.
func (s *scout) dialer(o *goredis.Options) dialFunc {
	return func(_ context.Context, network, addr string) (net.Conn, error) {
		name, where, err := s.locate(addr)
		if err != nil {
			return nil, err
		}
		return dialAs(s.ctx, o, name, network, where)
	}
}

// errNoHost is the error of an address that nothing is known of but its port.
var errNoHost = errors.New("a node of the cluster was named without a host, and it is not known which")

// locate returns the address by which a node is known, and the one to dial. go-redis asks for one
// without a host when a node says where a slot has moved to and leaves the host out, or when
// nodes are on the loopback: it has the host of a view's origin, which is none, in its place then.
func (s *scout) locate(addr string) (name, where string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", errNoHost
	}
	s.mu.Lock()
	n := s.nodes[addr]
	if host == "" || host == "?" {
		found := 0
		for _, other := range s.nodes {
			if portOf(other.addr) == port {
				n, found = other, found+1
			}
		}
		addr = n.addr
		if found != 1 {
			err = errNoHost
		}
	}
	s.mu.Unlock()
	return addr, resolvable(s.ctx, addr, n.ip), err
}
