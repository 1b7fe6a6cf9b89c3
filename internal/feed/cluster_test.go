package feed

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/topics"
)

// still is a cluster whose servers do not run, and its table.
func still(t *testing.T) *cluster {
	t.Helper()
	cfg := At("redis-cluster://127.0.0.1:1")
	cfg.Channel, cfg.Key = "channel:prices:{{topic}}", "price:{{topic}}"
	f, err := New(cfg, topics.New(limits), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := f.sources[0].source.(*cluster)
	ended, end := context.WithCancel(context.Background())
	end()
	c.ctx = ended
	t.Cleanup(c.all.Wait)
	return c
}

// owned makes the answer to CLUSTER SLOTS out of who begins to own slots where.
func owned(owners map[int]string) (ranges []redis.ClusterSlot) {
	end := slotCount - 1
	for start := slotCount - 1; start >= 0; start-- {
		if addr, ok := owners[start]; ok {
			if addr != "" {
				ranges = append(ranges, redis.ClusterSlot{Start: start, End: end, Nodes: []redis.ClusterNode{{Addr: addr}, {Addr: "replica:1"}}})
			}
			end = start - 1
		}
	}
	return ranges
}

func (c *cluster) must(t *testing.T, v view) (moved bool) {
	t.Helper()
	moved, err := c.take(v)
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

func TestClusterUpAndDown(t *testing.T) {
	c := still(t)
	up := func() bool { return c.table.Feed(0).Up }
	if c.apply([]topics.Change{{Topic: "A", Wanted: true}}); up() {
		t.Error("up before anything is known")
	}
	slot := int(c.slot("A"))
	if c.must(t, view{slots: owned(map[int]string{0: "a:1", slot: "", slot + 1: "b:1"})}); up() {
		t.Error("up without an owner of a topic's slot")
	}
	if c.must(t, view{slots: owned(map[int]string{0: "a:1", slot: "b:1"})}); !up() {
		t.Error("down, and its node has not failed yet")
	}
	a, b := c.nodes["a:1"], c.nodes["b:1"]
	if c.serverChanged(a, a.server, false); !up() {
		t.Error("down for a node that holds no topic")
	}
	failed := b.server
	if c.serverChanged(b, failed, false); up() {
		t.Error("up without the node of a topic")
	}
	c.addrs = []string{"a:1", "b:1"}
	if got := fmt.Sprint(c.askable()); strings.Contains(got, "b:1") || !strings.Contains(got, "a:1") && !strings.Contains(got, "replica:1") {
		t.Errorf("%s are asked, and b:1 is down", got)
	}
	if len(c.hinted) == 0 {
		t.Error("a node that fails is no reason to look")
	}
	c.serverChanged(a, a.server, true)
	if c.must(t, view{slots: owned(map[int]string{0: "a:1", slot: "c:1", slot + 1: "b:1"})}); up() {
		t.Error("up before the new owner has the values")
	}
	n := c.nodes["c:1"]
	if n.wants.current() {
		t.Error("the new owner counts as current without the values")
	}
	if c.serverChanged(n, n.server, true); !up() {
		t.Error("down with all that is needed up")
	}
	if c.must(t, view{slots: owned(map[int]string{0: "a:1", slot: "b:1"})}); !up() {
		t.Error("down, and the slot went from a node that is up to one that has not failed yet")
	}
	if c.serverChanged(b, failed, false); !up() {
		t.Error("a server that was retired is heard still")
	}
	if c.apply([]topics.Change{{Topic: "A"}}); !up() || b.held != 0 || n.held != 0 {
		t.Error("a topic that was given up is held")
	}
}

// What a node says that knows less than another is of no use, until that has been so for
// long.
func TestClusterRefusesOldViews(t *testing.T) {
	c := still(t)
	c.must(t, view{epoch: 7, slots: owned(map[int]string{0: "new:1"})})
	if _, err := c.take(view{epoch: 6, slots: owned(map[int]string{0: "old:1"})}); err == nil || c.owners[0].addr != "new:1" {
		t.Error("an old view was taken")
	}
	c.seen = time.Now().Add(-epochKept)
	if c.must(t, view{epoch: 6, slots: owned(map[int]string{0: "old:1"})}); c.owners[0].addr != "old:1" {
		t.Error("a cluster that was made anew is not followed")
	}
}

// Topics come and go, and slots move. Each topic is with the owner of its slot, and there
// alone.
func TestClusterModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := still(t)
	wanted := make(map[string]bool)
	owners := map[int]string{}
	for step := range 400 {
		var changes []topics.Change
		for range random.IntN(5) {
			name := fmt.Sprint("T", random.IntN(15))
			wanted[name] = !wanted[name]
			changes = append(changes, topics.Change{Topic: name, Wanted: wanted[name]})
		}
		c.apply(changes)
		gaps, moved := c.stats().Gaps, false
		if step%3 == 0 {
			owners[random.IntN(8)*slotCount/8] = fmt.Sprintf("n%d:1", random.IntN(5))
			moved = c.must(t, view{slots: owned(owners)})
		}
		if got := c.stats().Gaps > gaps; got != moved {
			t.Fatalf("step %d: gap %v, moved %v", step, got, moved)
		}
		held := make(map[string]int)
		for name, yes := range wanted {
			owner := c.owners[c.slot(name)]
			if yes && owner != nil {
				held[owner.addr]++
			}
			for addr, n := range c.nodes {
				w := n.wants.topics[name]
				if has := w != nil && w.wanted; has != (yes && n == owner) {
					t.Fatalf("step %d: %s at %s is %v; wanted %v, owner %v", step, name, addr, has, yes, owner)
				}
			}
		}
		for addr, n := range c.nodes {
			if n.held != held[addr] || n.held > 0 && n.stop == nil {
				t.Fatalf("step %d: %s holds %d topics, want %d; running %v", step, addr, n.held, held[addr], n.stop != nil)
			}
			if moved && n.held == 0 && n.stop != nil {
				t.Fatalf("step %d: %s runs without a topic", step, addr)
			}
		}
		for slot, n := range c.owners {
			if n != nil && c.nodes[n.addr] != n {
				t.Fatalf("step %d: the owner of slot %d is forgotten", step, slot)
			}
		}
	}
}

// shard is a node's server without a connection.
func shard(t *testing.T) (s *server, hints *int) {
	c := still(t)
	s = newServer(c.shared, fixed{}, shards, func(bool) {})
	hints = new(int)
	s.moved = func() { *hints++ }
	if _, err := s.table.Acquire([]byte("A")); err != nil {
		t.Fatal(err)
	}
	s.apply(s.table.Changes(nil))
	return s, hints
}

func confirmation(verb string) *redis.Subscription {
	return &redis.Subscription{Kind: verb, Channel: "channel:prices:{A}"}
}

func (s *server) ticks(value string) bool {
	before := s.stats().Ticks
	s.receive(&redis.Message{Channel: "channel:prices:{A}", Payload: value})
	return s.stats().Ticks > before
}

func (s *server) asks(t *testing.T, command string) {
	t.Helper()
	if c := s.wants.next(s.verbs.most); fmt.Sprint(c.name, c.topics) != command {
		t.Fatalf("next command = %s%v, want %s", c.name, c.topics, command)
	}
}

func TestLostSlot(t *testing.T) {
	s, hints := shard(t)
	s.asks(t, "subscribe[A]")
	s.receive(confirmation(shards.subscribe))
	if !s.ticks("1") {
		t.Fatal("no tick")
	}
	s.receive(confirmation(shards.unsubscribe))
	if *hints != 1 {
		t.Errorf("%d hints", *hints)
	}
	if s.ticks("2") {
		t.Error("a tick of a topic that the server has lost")
	}
	if c := s.wants.next(1); len(c.topics) > 0 {
		t.Fatalf("%s%v before anybody knows where the slot is", c.name, c.topics)
	}
	// It is back, or was never away.
	s.wants.again()
	s.asks(t, "subscribe[A]")
	if s.ticks("3") {
		t.Error("a tick before the subscription is confirmed: it may be from before the loss")
	}
	s.receive(confirmation(shards.subscribe))
	if !s.ticks("4") || len(s.wants.fetches(nil, 1)) != 1 {
		t.Error("no tick, or no fetch, after the second confirmation")
	}
	// Whoever ends it himself has lost nothing.
	s.apply([]topics.Change{{Topic: "A"}})
	s.asks(t, "unsubscribe[A]")
	if s.ticks("5") {
		t.Error("a tick of a topic that has left")
	}
	s.receive(confirmation(shards.unsubscribe))
	if *hints != 1 {
		t.Error("a hint without a reason")
	}
}

// redisError is an error as Redis says it.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

func TestRefusedByANode(t *testing.T) {
	moved := func(slot uint16) error { return redisError(fmt.Sprintf("MOVED %d 127.0.0.1:7", slot)) }
	slot := slotOf("{A}")
	for _, err := range []error{moved(slot), redisError("CLUSTERDOWN Hash slot not served"), redisError("TRYAGAIN Multiple keys")} {
		s, hints := shard(t)
		s.asks(t, "subscribe[A]")
		if got := s.refuse(err); got != nil {
			t.Errorf("%v ends the link: %v", err, got)
		}
		if c := s.wants.next(1); len(c.topics) > 0 || *hints != 1 {
			t.Errorf("%v: %v is asked for at once, %d hints", err, c.topics, *hints)
		}
		s.wants.again()
		s.asks(t, "subscribe[A]")
		// An answer to an UNSUBSCRIBE of long ago is not that to the SUBSCRIBE.
		if s.refuse(moved(slot + 1)); s.wants.flying != 1 {
			t.Error("the error of another slot was taken for the answer")
		}
	}
	s, _ := shard(t)
	s.moved = nil
	if s.refuse(moved(slot)) == nil {
		t.Error("a server alone goes on with MOVED")
	}
}

// A node that refuses what is its own is not stormed, and the feed is down meanwhile.
func TestStuckTopics(t *testing.T) {
	c := still(t)
	v := view{slots: owned(map[int]string{0: "a:1"})}
	c.must(t, v)
	if _, err := c.table.Acquire([]byte("A")); err != nil {
		t.Fatal(err)
	}
	c.apply(c.table.Changes(nil))
	n := c.nodes["a:1"]
	down := redisError("CLUSTERDOWN Hash slot not served")
	for range straysMax + 1 {
		n.asks(t, "subscribe[A]")
		n.refuse(down)
		if !c.table.Feed(0).Up {
			t.Error("down before it is clear that it stays so")
		}
		c.must(t, v)
	}
	if c.table.Feed(0).Up {
		t.Error("up, and a topic is refused again and again")
	}
	n.asks(t, "subscribe[A]")
	n.refuse(down)
	c.retryAt = time.Now().Add(time.Hour)
	c.must(t, v)
	if got := n.wants.next(1); len(got.topics) > 0 {
		t.Errorf("%v is asked for again at once", got.topics)
	}
	c.retryAt = time.Now()
	c.must(t, v)
	n.asks(t, "subscribe[A]")
	n.receive(confirmation(shards.subscribe))
	if c.must(t, v); !c.table.Feed(0).Up {
		t.Error("down, and the topic is subscribed")
	}
}
