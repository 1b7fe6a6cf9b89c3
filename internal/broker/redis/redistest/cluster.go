// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const slots = 16384

// Cluster is a Redis Cluster of real servers.
type Cluster struct {
	t     testing.TB
	nodes []*Server
	ids   map[*Server]string
	ca    *CA
}

// StartCluster starts a cluster in which each primary has as many replicas. A primary
// that has not answered for a second is taken for down. With an authority, if it is not
// nil, the nodes have ports for TLS too, and name these to clients that come by TLS.
func StartCluster(t testing.TB, primaries, replicas int, ca *CA) *Cluster {
	t.Helper()
	c := &Cluster{t: t, ids: make(map[*Server]string), ca: ca}
	for range primaries * (1 + replicas) {
		s := New(t, "--cluster-enabled", "yes", "--cluster-port", portOf(address(t)), "--cluster-config-file", "nodes.conf",
			"--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1") // A replica that has not heard anything is not shown.
		if ca != nil {
			s.addTLS(ca)
			s.args = append(s.args, "--tls-cluster", "yes", "--tls-replication", "yes")
		}
		s.launch()
		c.nodes = append(c.nodes, s)
	}
	for i, s := range c.nodes {
		s.wait()
		c.ids[s] = s.Do("CLUSTER", "MYID")
		if i < primaries {
			s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1) // Without it two of them may have the same.
			s.Do("CLUSTER", "ADDSLOTSRANGE", i*slots/primaries, (i+1)*slots/primaries-1)
		}
	}
	for i := range c.nodes {
		c.meet(c.nodes[i], c.nodes[:i]) // Each to each: hearsay takes seconds.
	}
	for _, s := range c.nodes {
		met := time.Now()
		Eventually(t, "all nodes know each other", func() bool {
			unknown := slices.DeleteFunc(slices.Clone(c.nodes), func(other *Server) bool {
				_, err := s.try("CLUSTER", "COUNT-FAILURE-REPORTS", c.ids[other]) // Fails for the name that a node has until it is met.
				return err == nil
			})
			if time.Since(met) > 2*time.Second { // A node gives up after one, which may be short on a busy machine.
				c.meet(s, unknown)
				met = time.Now()
			}
			info, err := s.try("CLUSTER", "INFO")
			return len(unknown) == 0 && err == nil && strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.nodes)))
		})
	}
	for i, s := range c.nodes[primaries:] {
		s.Do("CLUSTER", "REPLICATE", c.ids[c.nodes[i%primaries]])
	}
	for _, s := range c.nodes[primaries:] {
		Eventually(t, "the replica has its primary's data", func() bool {
			info, err := s.try("INFO", "replication")
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
	}
	c.Settled()
	for i := range primaries {
		slot := i * slots / primaries
		Eventually(t, "all nodes know the replicas", func() bool { return len(c.group(slot)) == 1+replicas })
	}
	c.Settled()
	return c
}

// meet tells a node of others.
func (c *Cluster) meet(s *Server, others []*Server) {
	c.t.Helper()
	for _, other := range others {
		s.Do("CLUSTER", "MEET", "127.0.0.1", portOf(other.addr), busPort(other))
	}
}

func busPort(s *Server) string { return s.args[slices.Index(s.args, "--cluster-port")+1] }

// Settled waits until all nodes that run agree who owns what, and who is whose replica.
func (c *Cluster) Settled() {
	c.t.Helper()
	Eventually(c.t, "the nodes agree about their slots", func() bool {
		seen := ""
		for _, s := range c.nodes {
			if !s.answering() {
				continue
			}
			view, ok := c.view(s)
			if !ok || seen != "" && view != seen {
				return false
			}
			seen = view
		}
		return true
	})
}

// view is how a node sees the slots: their ranges, each with the nodes in order.
func (c *Cluster) view(s *Server) (string, bool) {
	var lines []string
	for _, r := range c.slots(s) {
		var addrs []string
		for _, n := range r.Nodes {
			addrs = append(addrs, n.Addr)
		}
		if len(addrs) > 1 {
			slices.Sort(addrs[1:])
		}
		lines = append(lines, fmt.Sprint(r.Start, r.End, addrs))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), len(lines) > 0
}

func (c *Cluster) slots(s *Server) []redis.ClusterSlot {
	client := s.Client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	cmd := redis.NewClusterSlotsCmd(ctx, "cluster", "slots")
	client.Process(ctx, cmd)
	return cmd.Val()
}

// URL is where all nodes are.
func (c *Cluster) URL() string {
	scheme, addr := "redis-cluster://", (*Server).Addr
	if c.ca != nil {
		scheme, addr = "rediss-cluster://", (*Server).TLSAddr
	}
	var addrs []string
	for _, s := range c.nodes {
		addrs = append(addrs, addr(s))
	}
	return scheme + strings.Join(addrs, ",")
}

// Nodes are all servers, those that were killed included. The first ones began as
// primaries.
func (c *Cluster) Nodes() []*Server { return c.nodes }

// group is the primary of a slot and its replicas, as the first node that runs sees it.
func (c *Cluster) group(slot int) (group []*Server) {
	c.t.Helper()
	for _, s := range c.nodes {
		if !s.answering() {
			continue
		}
		for _, r := range c.slots(s) {
			if r.Start <= slot && slot <= r.End {
				for _, n := range r.Nodes {
					group = append(group, c.at(n.Addr))
				}
				return group
			}
		}
	}
	c.t.Fatalf("no node knows who owns slot %d", slot)
	return nil
}

func (c *Cluster) at(addr string) *Server {
	for _, s := range c.nodes {
		// A node that is alone does not know its host.
		if s.addr == addr || ":"+portOf(s.addr) == addr {
			return s
		}
	}
	c.t.Fatalf("no node of ours is at %s", addr)
	return nil
}

// Owner is the primary that a slot belongs to.
func (c *Cluster) Owner(slot int) *Server {
	c.t.Helper()
	return c.group(slot)[0]
}

// Slot is that of a key or channel.
func (c *Cluster) Slot(key string) (slot int) {
	c.t.Helper()
	for _, s := range c.nodes {
		if s.answering() {
			fmt.Sscan(s.Do("CLUSTER", "KEYSLOT", key), &slot)
			return slot
		}
	}
	c.t.Fatal("no node runs")
	return 0
}

// Migrate moves a slot and its keys to another primary, as redis-cli --cluster reshard
// does. All nodes have to agree before, see [Cluster.Settled].
func (c *Cluster) Migrate(slot int, to *Server) {
	c.t.Helper()
	from := c.Owner(slot)
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", c.ids[from])
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", c.ids[to])
	client := from.Client()
	defer client.Close()
	host, port, _ := net.SplitHostPort(to.addr)
	for {
		keys, err := client.ClusterGetKeysInSlot(context.Background(), slot, 100).Result()
		if err != nil {
			c.t.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		args := []any{"MIGRATE", host, port, "", 0, 5000, "REPLACE", "KEYS"}
		for _, key := range keys {
			args = append(args, key)
		}
		from.Do(args...)
	}
	to.Do("CLUSTER", "SETSLOT", slot, "NODE", c.ids[to])
	from.Do("CLUSTER", "SETSLOT", slot, "NODE", c.ids[to])
}

// Failover has a replica of the slot's primary take over from it, with its consent. Redis
// gives that up if it takes more than 5 s, so it is asked for again.
func (c *Cluster) Failover(slot int) {
	c.t.Helper()
	group := c.group(slot)
	if len(group) < 2 {
		c.t.Fatalf("slot %d has no replica", slot)
	}
	asked := time.Time{}
	Eventually(c.t, "the replica has taken over", func() bool {
		if time.Since(asked) > 6*time.Second {
			group[1].try("CLUSTER", "FAILOVER")
			asked = time.Now()
		}
		return c.Owner(slot) != group[0]
	})
}

// Calm keeps the nodes from taking each other for down as long as the test runs, however
// slow the machine is.
func (c *Cluster) Calm() {
	c.t.Helper()
	for _, s := range c.nodes {
		s.Do("CONFIG", "SET", "cluster-node-timeout", "60000")
	}
}

// WaitMoved waits until a slot has another owner than old.
func (c *Cluster) WaitMoved(slot int, old *Server) {
	c.t.Helper()
	Eventually(c.t, "the slot has another owner", func() bool { return c.Owner(slot) != old })
}

// Client returns a client of the cluster. The caller closes it.
func (c *Cluster) Client() *redis.ClusterClient {
	var addrs []string
	for _, s := range c.nodes {
		addrs = append(addrs, s.addr)
	}
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, Protocol: 2, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, DialerRetries: 1,
	})
}
