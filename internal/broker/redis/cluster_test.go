// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/resp"
	"tickedge/internal/topics"
)

// parked is a cluster whose servers do not run, and its table.
type parked struct {
	*cluster
	table *topics.Table
}

func still(t *testing.T) parked {
	t.Helper()
	cfg := At("redis-cluster://127.0.0.1:1")
	cfg.Channel, cfg.Key = "channel:prices:{{topic}}", "price:{{topic}}"
	table := topics.New(limits)
	cfg.feed(t, table, slog.New(slog.DiscardHandler))
	c := cfg.made.(*cluster)
	ended, end := context.WithCancel(context.Background())
	end()
	c.ctx = ended
	t.Cleanup(c.all.Wait)
	return parked{c, table}
}

// owned makes the answer to CLUSTER SLOTS out of who begins to own slots where.
func owned(owners map[int]string) (ranges []slotRange) {
	end := slotCount - 1
	for start := slotCount - 1; start >= 0; start-- {
		if addr, ok := owners[start]; ok {
			if addr != "" {
				ranges = append(ranges, slotRange{start, end, []slotNode{{addr: addr}, {addr: "replica:1"}}})
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

// want has the table want topics, and the cluster too. It returns their ids.
func (c parked) want(t *testing.T, names ...string) (ids []topics.ID) {
	t.Helper()
	for _, name := range names {
		id, err := c.table.Acquire([]byte(name), 0)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	c.Apply(c.table.Changes(0, nil, 1000))
	return ids
}

// serve has a node's link work: all its topics are confirmed and read.
func (c *cluster) serve(n *node) {
	w := n.wants
	for {
		cmd := w.next(1)
		if len(cmd.topics) == 0 {
			break
		}
		w.answer(cmd.name, cmd.topics[0])
		if cmd.name == subscribe {
			w.confirm(cmd.topics[0])
		}
	}
	for _, f := range w.fetches(nil, fetchMax) {
		w.repair(f, "1", topics.Meta{})
	}
	if w.endGap() {
		c.serverChanged(n, n.server, true)
	}
}

// fail ends a node's link, or an attempt.
func (c *cluster) fail(n *node) {
	n.wants.reset()
	c.serverChanged(n, n.server, false)
}

// near is another name in the slot of a topic.
func (c *cluster) near(topic string) string {
	for i := 0; ; i++ {
		if name := fmt.Sprint(topic, i); c.slot(name) == c.slot(topic) {
			return name
		}
	}
}

// between says that b owns the slot of a topic, and a the rest.
func between(slot int, a, b string) view {
	return view{slots: owned(map[int]string{0: a, slot: b, slot + 1: a})}
}

func TestClusterUpAndDown(t *testing.T) {
	c := still(t)
	up := func(want bool, why string) {
		t.Helper()
		if c.table.SourceState(0).Up != want {
			t.Fatalf("up: %v, want %v: %s", !want, want, why)
		}
	}
	c.want(t, "A")
	up(false, "nothing is known")
	slot := int(c.slot("A"))
	c.must(t, between(slot, "a:1", "b:1"))
	up(true, "its node has not failed yet")
	a, b := c.nodes["a:1"], c.nodes["b:1"]
	c.serve(b)
	up(true, "all is current")
	c.fail(a)
	up(true, "it holds no topic")
	failed := b.server
	c.fail(b)
	up(false, "A has no node")
	c.addrs = []string{"a:1", "b:1"}
	if got := fmt.Sprint(c.askable()); strings.Contains(got, "b:1") || !strings.Contains(got, "replica:1") {
		t.Errorf("%s are asked, and b:1 is down", got)
	}
	if len(c.hinted) == 0 {
		t.Error("a node that fails is no reason to look")
	}
	c.must(t, between(slot, "a:1", "c:1"))
	up(false, "the new owner has not read the value")
	n := c.nodes["c:1"]
	c.fail(n)
	up(false, "the new owner can't be reached")
	c.serve(n)
	up(true, "all is current")
	c.must(t, between(slot, "a:1", "b:1"))
	up(true, "the slot went from a node that is up to one that has not failed yet")
	c.serverChanged(b, failed, false)
	up(true, "a server that was retired is heard still")
	c.fail(c.nodes["b:1"])
	up(false, "A was read, and is not at the node that has its slot now")
	c.Apply([]topics.Change{{Topic: "A"}})
	up(true, "nobody wants A")
	for _, n := range c.nodes {
		if n.held != 0 {
			t.Error("a topic that was given up is held")
		}
	}
}

// A slot goes from a node that is down to one that serves others: these stay current, and
// the feed is down until the topics that come have been read.
func TestClusterMovesFromTheDeadToTheLiving(t *testing.T) {
	c := still(t)
	c.want(t, "A", "B")
	slot := int(c.slot("A"))
	c.must(t, between(slot, "b:1", "a:1"))
	a, b := c.nodes["a:1"], c.nodes["b:1"]
	c.serve(a)
	c.serve(b)
	c.fail(a)
	id := c.want(t, c.near("A")) // In the same slot.
	if c.table.Stale(id[0]) == 0 {
		t.Error("who asks a node that is down for a new topic is told nothing")
	}
	c.must(t, between(slot, "b:1", "b:1"))
	if c.table.SourceState(0).Up || b.wants.lacking() != 1 {
		t.Errorf("up: %v; %d topics are lacking, want A alone", c.table.SourceState(0).Up, b.wants.lacking())
	}
	c.serve(b)
	if !c.table.SourceState(0).Up || c.table.Stale(id[0]) != 0 {
		t.Error("down or stale, and all was read")
	}
}

// Clients choose names, and so the slots and nodes that these lead to. None of them can take
// the feed down: topics that are new there are stale.
func TestClusterNewNamesDoNotTakeItDown(t *testing.T) {
	c := still(t)
	ids := c.want(t, "A", "BARE")
	bare := int(c.slot("BARE"))
	at := func(ranges map[int]string) view {
		ranges[0], ranges[bare], ranges[bare+1] = "a:1", "", "a:1"
		return view{slots: owned(ranges)}
	}
	stale := func(want bool, id topics.ID, why string) {
		t.Helper()
		if !c.table.SourceState(0).Up {
			t.Fatalf("down: %s", why)
		}
		if c.table.Stale(id) > 0 != want {
			t.Errorf("stale: %v, want %v: %s", !want, want, why)
		}
	}
	c.must(t, at(map[int]string{}))
	c.serve(c.nodes["a:1"])
	stale(false, ids[0], "A is served")
	stale(true, ids[1], "a slot has no owner")
	stale(true, c.want(t, c.near("BARE"))[0], "a slot has no owner")

	// A node that can't be reached.
	slot := int(c.slot("DEAD"))
	c.must(t, at(map[int]string{slot: "dead:1", slot + 1: "a:1"}))
	id := c.want(t, "DEAD")[0]
	stale(false, id, "the node was not tried yet")
	for range 3 {
		c.fail(c.nodes["dead:1"])
		stale(true, id, "the node can't be reached")
	}
	stale(true, c.want(t, c.near("DEAD"))[0], "the node can't be reached")
	// Its slot moves on to a node that can't be reached either.
	c.must(t, at(map[int]string{slot: "dead:2", slot + 1: "a:1"}))
	c.fail(c.nodes["dead:2"])
	stale(true, id, "the node can't be reached")

	// A node that refuses what is its own.
	id = c.want(t, "REFUSED")[0]
	a := c.nodes["a:1"]
	for range straysMax + 1 {
		a.asks(t, "subscribe[REFUSED]")
		a.refuse(redisError("CLUSTERDOWN Hash slot not served"))
		c.must(t, at(map[int]string{slot: "dead:2", slot + 1: "a:1"}))
	}
	stale(true, id, "the node refuses it")
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

// A view of a cluster that is larger than any is refused: each node may become a link.
func TestClusterRefusesTooManyNodes(t *testing.T) {
	c := still(t)
	owners := make(map[int]string)
	for i := range nodesMax {
		owners[i] = fmt.Sprintf("n%d:1", i) // And one replica.
	}
	if _, err := c.take(view{slots: owned(owners)}); err == nil || len(c.nodes) > 0 || c.looked.Load() {
		t.Errorf("%d nodes were taken", len(c.nodes))
	}
	delete(owners, 1)
	c.must(t, view{slots: owned(owners)})
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
		c.Apply(changes)
		gaps, moved := c.Stats().Counts[broker.Gaps], false
		if step%3 == 0 {
			owners[random.IntN(8)*slotCount/8] = fmt.Sprintf("n%d:1", random.IntN(5))
			moved = c.must(t, view{slots: owned(owners)})
		}
		if got := c.Stats().Counts[broker.Gaps] > gaps; got != moved {
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
				if has := w != nil && w.ask != leaving; has != (yes && n == owner) {
					t.Fatalf("step %d: %s at %s is %v; wanted %v, owner %v", step, name, addr, has, yes, owner)
				}
			}
		}
		for addr, n := range c.nodes {
			if err := n.wants.check(); err != nil {
				t.Fatalf("step %d: %s: %v", step, addr, err)
			}
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

// lone is a node's server without a connection, and its table.
type lone struct {
	*server
	table *topics.Table
	id    topics.ID // Of A.
}

func shard(t *testing.T) (s lone, hints *int) {
	c := still(t)
	s = lone{server: newServer(c.shared, fixed{}, shards, func(bool) {}), table: c.table}
	hints = new(int)
	s.moved = func() { *hints++ }
	var err error
	if s.id, err = s.table.Acquire([]byte("A"), 0); err != nil {
		t.Fatal(err)
	}
	s.Apply(s.table.Changes(0, nil, 1000))
	return s, hints
}

func confirmation(verb string) resp.Event {
	return resp.Event{Kind: resp.Kind(verb), Channel: []byte("channel:prices:{A}")}
}

// ticks reports whether a message becomes a row.
func (s lone) ticks(value string) bool {
	before := s.table.Row(s.id)
	s.receive(resp.Event{Kind: resp.SMessage, Channel: []byte("channel:prices:{A}"), Payload: []byte(value)}, 1)
	return s.table.Row(s.id) != before
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
	s.receive(confirmation(shards.subscribe), 1)
	if !s.ticks("1") {
		t.Fatal("no tick")
	}
	s.receive(confirmation(shards.unsubscribe), 1)
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
	s.receive(confirmation(shards.subscribe), 1)
	if !s.ticks("4") || len(s.wants.fetches(nil, 1)) != 1 {
		t.Error("no tick, or no fetch, after the second confirmation")
	}
	// Whoever ends it himself has lost nothing.
	s.Apply([]topics.Change{{Topic: "A"}})
	s.asks(t, "unsubscribe[A]")
	if s.ticks("5") {
		t.Error("a tick of a topic that has left")
	}
	s.receive(confirmation(shards.unsubscribe), 1)
	if *hints != 1 {
		t.Error("a hint without a reason")
	}
}

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
	c.want(t, "A")
	n := c.nodes["a:1"]
	c.serve(n)
	n.receive(confirmation(shards.unsubscribe), 1) // The slot seems to have moved.
	n.wants.again()
	down := redisError("CLUSTERDOWN Hash slot not served")
	for range straysMax {
		n.asks(t, "subscribe[A]")
		n.refuse(down)
		if !c.table.SourceState(0).Up {
			t.Error("down before it is clear that it stays so")
		}
		c.must(t, v)
	}
	if c.table.SourceState(0).Up {
		t.Error("up, and a topic is refused again and again")
	}
	waits := func() {
		t.Helper()
		if c.must(t, v); c.table.SourceState(0).Up {
			t.Error("up, and a topic is refused again and again")
		}
		if got := n.wants.next(1); len(got.topics) > 0 {
			t.Errorf("%v is asked for again at once", got.topics)
		}
		if st := c.Stats(); st.Refused[broker.Down] != 1 {
			t.Errorf("refused: %v", st.Refused)
		}
	}
	waits()
	n.wants.beat()
	n.asks(t, "subscribe[A]")
	n.refuse(down)
	waits()
	v.epoch, v.ok = 1, true // Something has changed.
	c.must(t, v)
	n.asks(t, "subscribe[A]")
	n.receive(confirmation(shards.subscribe), 1)
	if c.must(t, v); !c.table.SourceState(0).Up {
		t.Error("down, and the topic is subscribed")
	}
	if st := c.Stats(); st.Refused != [broker.Causes]int64{} || st.Refusals[broker.Down] != straysMax+1 {
		t.Errorf("stats = %+v", st)
	}
}
