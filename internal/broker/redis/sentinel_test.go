// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miniserver "github.com/alicebob/miniredis/v2/server"
)

// pretend is a server that answers one command of two words by what say returns for the
// second, in RESP.
func pretend(t *testing.T, command string, say func(word string) string) (addr string) {
	t.Helper()
	s, err := miniserver.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Register(command, func(c *miniserver.Peer, _ string, args []string) { c.WriteRaw(say(strings.ToLower(args[0]))) })
	return s.Addr().String()
}

func bulk(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// opinion is a sentinel that has one.
type opinion struct {
	port  atomic.Int64 // Of the master.
	epoch atomic.Int64
	addr  string
}

func newOpinion(t *testing.T, port, epoch int64) *opinion {
	o := new(opinion)
	o.port.Store(port)
	o.epoch.Store(epoch)
	o.addr = pretend(t, "SENTINEL", func(word string) string {
		if word == "master" {
			return bulk("name", "m", "config-epoch", fmt.Sprint(o.epoch.Load()))
		}
		return bulk("127.0.0.1", fmt.Sprint(o.port.Load()))
	})
	return o
}

func asking(addrs ...string) sentinels {
	cfg := Config{Timeout: time.Second}
	u := &upstream{addrs: addrs, master: "m", opts: At("").tuned(), sentinelOpts: cfg.tuned()}
	return sentinels{u}
}

// A sentinel that slept through a failover is outvoted by one that did not.
func TestNewestVerdictCounts(t *testing.T) {
	t.Parallel()
	silent := pretend(t, "PING", nil)
	s := asking(newOpinion(t, 1, 4).addr, newOpinion(t, 2, 6).addr, silent, newOpinion(t, 3, 5).addr)
	clients, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(clients)
	if addr, err := s.ask(t.Context(), clients); err != nil || addr != "127.0.0.1:2" {
		t.Errorf("master = %s, %v; want that of the newest epoch", addr, err)
	}
}

// A link that works goes on until the master is another, whatever becomes of the
// sentinels.
func TestWatchEndsWhenTheMasterMoves(t *testing.T) {
	t.Parallel()
	o := newOpinion(t, 1, 1)
	asked := make(chan struct{}, 100)
	lost := pretend(t, "SENTINEL", func(string) string {
		asked <- struct{}{}
		return "-ERR no such thing\r\n"
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended, alone := make(chan error, 1), make(chan error, 1)
	go func() { ended <- asking(lost, o.addr).watch(ctx, "127.0.0.1:1") }()
	go func() { alone <- asking(lost).watch(ctx, "127.0.0.1:1") }()
	for range 4 {
		<-asked
	}
	if len(ended) > 0 {
		t.Fatalf("ended without a reason: %v", <-ended)
	}
	o.port.Store(2)
	o.epoch.Store(2)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "new master, 127.0.0.1:2") {
		t.Errorf("ended with %v", err)
	}
	cancel()
	if err := <-alone; err != nil {
		t.Errorf("without a sentinel that knows the master, watch ended with %v", err)
	}
}

// The same of a cluster's nodes. Those that do not know their own host are at the host
// that was asked.
func TestNewestViewCounts(t *testing.T) {
	t.Parallel()
	node := func(epoch int, state, host string) string {
		return pretend(t, "CLUSTER", func(word string) string {
			if word == "info" {
				info := fmt.Sprintf("cluster_state:%s\r\ncluster_current_epoch:%d\r\n", state, epoch)
				return fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
			}
			return fmt.Sprintf("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$%d\r\n%s\r\n:7\r\n", len(host), host)
		})
	}
	for _, nodes := range [][3]string{
		{node(4, "ok", "10.0.0.4"), node(6, "fail", ""), node(5, "ok", "10.0.0.5")},
		{node(6, "fail", "10.0.0.4"), node(6, "ok", ""), node(6, "fail", "10.0.0.5")},
	} {
		c := still(t)
		c.addrs = nodes[:]
		v, err := c.ask(t.Context())
		if err != nil || v.from != nodes[1] || v.slots[0].nodes[0].addr != "127.0.0.1:7" {
			t.Errorf("view = %+v, %v", v, err)
		}
	}
}

// Where a sentinel says that the master is, and what that means here.
func TestAddressesOfMasters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ host, want string }{
		{"::1", "[::1]:7"}, {"[::1]", "[::1]:7"}, {"redis-1.svc", "redis-1.svc:7"}, {"", ""}, {"?", ""}, {"a b", ""},
	} {
		addr := pretend(t, "SENTINEL", func(word string) string {
			if word == "master" {
				return bulk("name", "m", "config-epoch", "1")
			}
			return bulk(c.host, "7")
		})
		s := asking(addr)
		clients, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.ask(t.Context(), clients)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q is %q, %v", c.host, got, err)
		}
		closeAll(clients)
	}
	s := asking("10.0.0.1:26379", "sentinel-2:26379")
	if !s.isElsewhere("127.0.0.1:7") || !s.isElsewhere("[::1]:7") || s.isElsewhere("10.0.0.2:7") || s.isElsewhere("redis:7") {
		t.Error("which addresses are of another host's loopback")
	}
	if s = asking("10.0.0.1:26379", "127.0.0.1:26379"); s.isElsewhere("127.0.0.1:7") {
		t.Error("a sentinel on this host may mean this host")
	}
}
