// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var points = []Point{Greeting, GreetingPing, Confirmation, Message, Pong, Fetch, StreamQueue, StreamRead, StreamAwait, SentinelState,
	SentinelAddress, Role, ClusterInfo, ClusterSlots, PatternConfirmation, PatternMessage, ShardConfirmation}

// A breakage is known by its point and name.
func TestBreakagesHaveNames(t *testing.T) {
	kinds := make(map[string]bool)
	for _, at := range points {
		seen := make(map[string]bool)
		all := Breakages(at)
		if len(all) < 100 {
			t.Errorf("%s: %d breakages", at, len(all))
		}
		for _, b := range all {
			if seen[b.Name] || b.Name == "" || b.Play == nil {
				t.Errorf("%s: %q is there twice, or is nothing", at, b.Name)
			}
			seen[b.Name], kinds[b.Name] = true, true
		}
		for name := range otherwise[at] {
			if !seen[name] {
				t.Errorf("%s: no breakage %q", at, name)
			}
		}
	}
	if len(kinds) < 200 {
		t.Errorf("%d kinds of breakages", len(kinds))
	}
}

func standinClient(t *testing.T, s *Standin) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: "secret", DB: 3, Protocol: 2, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

// While nothing is broken, a client that is not ours takes the stand-in for a Redis.
func TestStandinBehaves(t *testing.T) {
	ctx := context.Background()
	s := StartStandin(t)
	c := standinClient(t, s)
	s.Tick("price:A", "channel:prices:A", "A", "1")
	if got := c.GetRange(ctx, "price:A", 0, 4096); got.Val() != "1" {
		t.Errorf("%v", got)
	}
	if got := c.GetRange(ctx, "price:B", 0, 4096); got.Val() != "" || got.Err() != nil {
		t.Errorf("%v", got)
	}
	for _, subscribe := range []func() *redis.PubSub{
		func() *redis.PubSub { return c.Subscribe(ctx, "channel:prices:A") },
		func() *redis.PubSub { return c.PSubscribe(ctx, "channel:prices:*") },
		func() *redis.PubSub { return c.SSubscribe(ctx, "channel:prices:A") },
	} {
		sub := subscribe()
		defer sub.Close()
		if m, err := sub.Receive(ctx); err != nil || m.(*redis.Subscription).Count != 1 {
			t.Fatalf("%v %v", m, err)
		}
		s.Tick("price:A", "channel:prices:A", "A", "2")
		if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "2" || m.Channel != "channel:prices:A" {
			t.Errorf("%v %v", m, err)
		}
		if err := sub.Ping(ctx, "token"); err != nil {
			t.Error(err)
		}
		if m, err := sub.Receive(ctx); err != nil || m.(*redis.Pong).Payload != "token" {
			t.Errorf("%v %v", m, err)
		}
	}
	if got := s.Links(); got != 3 {
		t.Errorf("%d links", got)
	}
	pipe := c.TxPipeline()
	info := pipe.XInfoStream(ctx, "ticks")
	read := pipe.XRead(ctx, &redis.XReadArgs{Streams: []string{"ticks", streamID(1)}, Block: -1})
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	if info.Val().Length != 4 || info.Val().LastGeneratedID != streamID(4) || len(read.Val()[0].Messages) != 3 {
		t.Errorf("%v %v", info, read)
	}
	role, err := c.Do(ctx, "role").Slice()
	if err != nil || role[0] != "master" {
		t.Errorf("%v %v", role, err)
	}
	if got, err := c.Do(ctx, "sentinel", "get-master-addr-by-name", "prices").StringSlice(); err != nil || strings.Join(got, ":") != s.Addr() {
		t.Errorf("%v %v", got, err)
	}
	owners := redis.NewClusterSlotsCmd(ctx, "cluster", "slots")
	c.Process(ctx, owners)
	if owners.Err() != nil || owners.Val()[0].End != slots-1 || owners.Val()[0].Nodes[0].Addr != s.Addr() {
		t.Errorf("%v", owners)
	}
}

// A breakage is played once, at its point, and what it has to lead to depends on both.
func TestStandinBreaks(t *testing.T) {
	ctx := context.Background()
	s := StartStandin(t)
	c := standinClient(t, s)
	s.Set("price:A", "1")
	of := func(at Point, name string) Breakage {
		all := Breakages(at)
		return all[slices.IndexFunc(all, func(b Breakage) bool { return b.Name == name })]
	}
	held := false
	p := s.Break(Fetch, of(Fetch, `error "WRONGTYPE"`), func() { held = true })
	if _, err := c.Ping(ctx).Result(); err != nil || p.Began() {
		t.Errorf("%v", err)
	}
	if _, err := c.GetRange(ctx, "price:A", 0, 9).Result(); err == nil || err.Error() != "WRONGTYPE" || !p.Began() || !held {
		t.Errorf("%v", err)
	}
	if got, err := c.GetRange(ctx, "price:A", 0, 9).Result(); err != nil || got != "1" || p.Redialled() {
		t.Errorf("%q %v", got, err)
	}
	p = s.Break(Fetch, of(Fetch, "half, and a reset"), nil)
	if _, err := c.GetRange(ctx, "price:A", 0, 9).Result(); err == nil {
		t.Error("half a reply is taken for a whole one")
	}
	if got, err := c.GetRange(ctx, "price:A", 0, 9).Result(); err != nil || got != "1" || !p.Redialled() {
		t.Errorf("%q %v", got, err)
	}
	s.Break(Fetch, of(Fetch, "cut into single bytes"), nil)
	if got, err := c.GetRange(ctx, "price:A", 0, 9).Result(); err != nil || got != "1" {
		t.Errorf("%q %v", got, err)
	}
	for at, want := range map[Point]Outcome{Pong: Lost, Fetch: Survived, Confirmation: Lost} {
		if got := of(at, "OK").Outcome(at); got != want {
			t.Errorf("%s: %v", at, got)
		}
	}
}

// Who has given up while it was held does not get what is to be broken for the next one.
func TestStandinHolds(t *testing.T) {
	s := StartStandin(t)
	s.Hold()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(Patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "*1\r\n$4\r\nPING\r\n")
		return c
	}
	accepted := func(n, open int) {
		Eventually(t, fmt.Sprintf("%d connections, %d of them open", n, open), func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.accepted == n && len(s.conns) == open
		})
	}
	c := dial()
	accepted(1, 1)
	c.Close()
	p := s.Break(Greeting, Breakage{Name: "broken", Play: func(w *Wire, _ []byte) { w.Write([]byte("-BROKEN\r\n")) }}, nil)
	s.Release()
	accepted(1, 0)
	c = dial()
	defer c.Close()
	reply := make([]byte, len("-BROKEN\r\n"))
	if _, err := io.ReadFull(c, reply); err != nil || string(reply) != "-BROKEN\r\n" || !p.Began() {
		t.Errorf("%q, %v, it began: %v", reply, err, p.Began())
	}
}
