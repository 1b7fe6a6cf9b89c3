// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
)

// entry is a node in an answer to CLUSTER SLOTS.
func entry(host any, port any, id string, beside ...any) []any {
	node := []any{host, port, id}
	if beside != nil {
		node = append(node, beside)
	}
	return node
}

// What a node says of where it and the others are, and what is taken for that.
func TestAddressesOfNodes(t *testing.T) {
	for _, c := range []struct {
		asked string
		node  []any
		addr  string
		ip    string
		guess bool
	}{
		{"seed:7", entry("10.0.0.1", int64(6379), "a"), "10.0.0.1:6379", "", false},
		{"seed:7", []any{"10.0.0.1", int64(6379)}, "10.0.0.1:6379", "", false},
		{"seed:7", entry("10.0.0.1", "6379", "a"), "10.0.0.1:6379", "", false},
		{"seed:7", entry(nil, int64(6379), "a"), "seed:6379", "", true},
		{"seed:7", entry(nil, int64(6379), "a", "ip", "10.0.0.1"), "seed:6379", "", true},
		{"seed:7", entry("", int64(6379), "a"), "seed:6379", "", true},
		{"[fd00::1]:7", entry("", int64(6379), "a"), "[fd00::1]:6379", "", true},
		{"seed:7", entry("?", int64(6379), "a"), "seed:6379", "", true},
		{"seed:7", entry("?", int64(6379), "a", "ip", "10.0.0.1"), "10.0.0.1:6379", "", false},
		{"seed:7", entry("?", int64(6379), "a", "ip", "127.0.0.1"), "seed:6379", "", true},
		{"127.0.0.1:7", entry("?", int64(6379), "a", "ip", "127.0.0.1"), "127.0.0.1:6379", "", false},
		{"seed:7", entry("node-1.cache", int64(6379), "a", "ip", "10.0.0.1"), "node-1.cache:6379", "10.0.0.1", false},
		{"seed:7", entry("node-1.cache", int64(6379), "a", "hostname", "x", "ip", "fd00::1"), "node-1.cache:6379", "fd00::1", false},
		{"seed:7", entry("node-1.cache", int64(6379), "a", "ip", "nonsense"), "node-1.cache:6379", "", false},
		{"seed:7", entry("10.0.0.1", int64(6379), "a", "hostname", "node-1"), "10.0.0.1:6379", "", false},
		{"seed:7", entry("fd00::1", int64(6379), "a"), "[fd00::1]:6379", "", false},
		{"seed:7", entry("[fd00::1]", int64(6379), "a"), "[fd00::1]:6379", "", false},
		{"seed:7", entry("127.0.0.1", int64(6379), "a"), "seed:6379", "", true},
		{"seed:7", entry("::1", int64(6379), "a"), "seed:6379", "", true},
		{"seed:7", entry("0.0.0.0", int64(6379), "a"), "seed:6379", "", true},
		{"localhost:7", entry("127.0.0.1", int64(6379), "a"), "127.0.0.1:6379", "", false},
		{"[::1]:7", entry("127.0.0.1", int64(6379), "a"), "127.0.0.1:6379", "", false},
		{"seed:7", entry("10.0.0.1", int64(0), "a"), "10.0.0.1:7", "", false}, // TLS only.
	} {
		ranges, err := parseSlots([]any{[]any{int64(0), int64(16383), c.node}}, c.asked)
		if err != nil {
			t.Errorf("%v: %v", c.node, err)
			continue
		}
		if n := ranges[0].nodes[0]; n.addr != c.addr || n.ip != c.ip || n.guessed != c.guess || ranges[0].end != 16383 {
			t.Errorf("%v of %s is %+v, want %s", c.node, c.asked, n, c.addr)
		}
	}
	for _, node := range []any{
		nil, "x", []any{"10.0.0.1"}, entry(int64(1), int64(1), "a"), entry("10.0.0.1", nil, "a"), entry("10.0.0.1", int64(65536), "a"),
		entry("10.0.0.1", int64(-1), "a"), entry("a b", int64(1), "a"), entry("10.0.0.1", "x", "a"), entry(strings.Repeat("x", addrMax+1), int64(1), "a"),
	} {
		if _, err := parseSlots([]any{[]any{int64(0), int64(16383), node}}, "seed:7"); err == nil {
			t.Errorf("%v is taken", node)
		}
	}
	for _, r := range []any{nil, []any{}, []any{int64(0)}, []any{int64(0), int64(16384)}, []any{int64(-1), int64(5)}, []any{"x", int64(5)}} {
		if _, err := parseSlots([]any{r}, "seed:7"); err == nil {
			t.Errorf("%v is taken", r)
		}
	}
	_, err := parseSlots([]any{[]any{int64(0), int64(9), entry(nil, int64(1), "a")}, []any{int64(10), int64(19), entry(nil, int64(1), "b")}}, "seed:7")
	if !errors.Is(err, errOnePlace) || !strings.Contains(hint(err), "cluster-announce-hostname") {
		t.Errorf("two primaries in one place: %v", err)
	}
}

// at is a view of one primary that owns all slots.
func (c parked) at(t *testing.T, n slotNode) {
	t.Helper()
	c.must(t, view{slots: []slotRange{{0, slotCount - 1, []slotNode{n}}}})
}

func (c parked) serving() (addrs []string) {
	for addr := range c.nodes {
		addrs = append(addrs, addr)
	}
	return addrs
}

// Nodes without a host are at the one that was asked, which is another one in each look. Their
// topics stay where they are as long as that works.
func TestNodesWithoutAHostStay(t *testing.T) {
	c := still(t)
	c.want(t, "A")
	step := func(why string, n slotNode, want string) {
		t.Helper()
		c.at(t, n)
		if got := c.serving(); len(got) != 1 || got[0] != want {
			t.Fatalf("%s: the topic is at %v, want %s", why, got, want)
		}
	}
	guess := func(addr string) slotNode { return slotNode{id: "a", addr: addr, guessed: true} }
	step("first", guess("seed-1:7"), "seed-1:7")
	step("another seed was asked", guess("seed-2:7"), "seed-1:7")
	step("the node is named", slotNode{id: "a", addr: "10.0.0.1:7"}, "seed-1:7")
	step("it has another port", guess("seed-2:8"), "seed-2:8")
	step("another node", slotNode{id: "b", addr: "10.0.0.1:8"}, "10.0.0.1:8")
	step("the same, asked itself", slotNode{id: "b", addr: "seed-1:8", guessed: true}, "10.0.0.1:8")
	step("it has moved", slotNode{id: "b", addr: "10.0.0.2:8"}, "10.0.0.2:8")
	c.fail(c.nodes["10.0.0.2:8"])
	step("it can't be reached where it is", slotNode{id: "b", addr: "seed-1:8", guessed: true}, "seed-1:8")
	step("no id", slotNode{addr: "seed-2:8", guessed: true}, "seed-2:8")
	if c.gaps != 5 {
		t.Errorf("%d moves, want 5", c.gaps)
	}
}

// A name that only the cluster's own hosts know: what is dialled is the address beside it, and
// what a certificate is for is the name.
func TestNamesThatAreNotKnownHere(t *testing.T) {
	was := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = was })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network")
	}}
	c := still(t)
	c.upstream, _ = Config{URL: "rediss-cluster://127.0.0.1:1"}.upstream()
	for _, n := range []struct{ addr, ip, want, name string }{
		{"node-1.cache:7", "10.0.0.1", "10.0.0.1:7", "node-1.cache"},
		{"node-1.cache:7", "", "node-1.cache:7", "node-1.cache"},
		{"localhost:7", "10.0.0.1", "localhost:7", "localhost"},
	} {
		c.place([]slotRange{{0, 1, []slotNode{{addr: n.addr, ip: n.ip}}}})
		opts, err := c.reach(t.Context(), n.addr)
		if err != nil || opts.Addr != n.want || opts.TLSConfig.ServerName != n.name {
			t.Errorf("%+v: %s, %s, %v", n, opts.Addr, opts.TLSConfig.ServerName, err)
		}
		s := &scout{ctx: t.Context(), upstream: c.upstream, nodes: map[string]slotNode{n.addr: {addr: n.addr, ip: n.ip}}}
		if name, where, err := s.locate(n.addr); name != n.addr || where != n.want || err != nil {
			t.Errorf("%+v: a publisher has %s, %s, %v", n, name, where, err)
		}
	}
	s := &scout{ctx: t.Context(), upstream: c.upstream, nodes: map[string]slotNode{
		"a:7": {addr: "a:7"}, "b:8": {addr: "b:8", ip: "10.0.0.8"}, "c:9": {addr: "c:9"}, "d:9": {addr: "d:9"},
	}}
	for addr, want := range map[string]string{":7": "a:7", "?:8": "10.0.0.8:8", "a:7": "a:7", "z:7": "z:7", ":9": "", ":1": "", "": "", ":": ""} {
		if _, where, err := s.locate(addr); (err != nil) != (want == "") || err == nil && where != want {
			t.Errorf("%q is dialled at %q: %v", addr, where, err)
		}
	}
}

// moved moves a slot from a node that leaves the host out when it says where to: MOVED 3999 :6381.
func moved(t *testing.T, c *redistest.Cluster, cfg config) {
	t.Helper()
	first, second := c.Nodes()[0], c.Nodes()[1]
	for _, s := range c.Nodes() {
		s.Do("CONFIG", "SET", "cluster-announce-hostname", "")
	}
	first.Do("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
	second.Do("CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint")
	topic := ""
	for i := 0; topic == ""; i++ {
		if name := fmt.Sprint("M", i); c.Owner(c.Slot("{"+name+"}")) == second {
			topic = name
		}
	}
	r := run(t, cfg, limits)
	p, log := newPublisher(t, cfg)
	r.acquire(topic)
	write := func(value string) {
		t.Helper()
		p.must(t, []broker.Tick{{Topic: topic, Value: []byte(value)}})
		r.eventually("the value", func() bool { return r.value(topic) == value })
	}
	write("1")
	c.Migrate(c.Slot("{"+topic+"}"), first)
	write("2")
	if log.Count("publisher down") > 0 {
		t.Error("the publisher does not follow the slot")
	}
}

// Real clusters that say as little as Redis lets them.
func TestClustersThatDoNotSayWhereTheyAre(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2, 0, nil)
	cfg := At(c.URL())
	cfg.Channel, cfg.Key = "c:{{topic}}", "k:{{topic}}"
	for _, settings := range [][3]string{
		{"no endpoint", "unknown-endpoint", ""},
		{"hostnames, and none is set", "hostname", ""},
		{"hostnames that nobody knows", "hostname", "node.invalid"},
	} {
		for _, s := range c.Nodes() {
			s.Do("CONFIG", "SET", "cluster-preferred-endpoint-type", settings[1])
			s.Do("CONFIG", "SET", "cluster-announce-hostname", settings[2])
		}
		redistest.Eventually(t, "no node says where it is", func() bool {
			for _, s := range c.Nodes() { // What one announces reaches the others by gossip.
				if strings.Contains(s.Do("CLUSTER", "SLOTS"), "[127.0.0.1 ") {
					return false
				}
			}
			return true
		})
		t.Run(settings[0], func(t *testing.T) {
			r := run(t, cfg, limits)
			p, _ := newPublisher(t, cfg)
			r.acquire("T0", "T1")
			p.must(t, ticks(2, 2))
			r.eventually("values", func() bool { return r.value("T0") == "2" && r.value("T1") == "3" })
			r.eventually("channels", func() bool { return r.Stats().Channels == 2 })
			p.must(t, ticks(4, 2))
			r.eventually("ticks", func() bool { return r.value("T0") == "4" && r.value("T1") == "5" })
		})
	}
	moved(t, c, cfg)
	// A node as if it were alone has the values of its own slots only.
	cfg = At("redis://" + c.Nodes()[0].Addr())
	cfg.Channel, cfg.Key = "c:{{topic}}", "k:{{topic}}"
	r := run(t, cfg, limits)
	for i := range 20 {
		r.acquire(fmt.Sprint("T", i))
	}
	r.eventually("the hint", func() bool { return r.log.Count("use redis-cluster:// in the URL") > 0 })
}
