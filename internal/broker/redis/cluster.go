// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

const (
	// lookEvery is the time between two looks at who owns which slots, while nothing
	// hints at a change: who moves a slot does not always end our subscriptions to it.
	lookEvery = 5 * time.Second
	// lookSoon is the same while a node is down, and bounds the time until a look that
	// something hints at. They are not done at once: what goes wrong for one topic often
	// does for thousands.
	lookSoon = 500 * time.Millisecond
)

// cluster is a Redis Cluster as a source. Each primary whose slots have channels that are
// wanted is a [server] of its own, with the verbs of sharded Pub/Sub. Channel and key of a
// topic are in one slot, so the value is fetched where the messages come from.
//
//	drain ──apply──► ┌─────────┐ ──apply──► server, node 1
//	                 │ cluster │ ──apply──► server, node 2
//	run ───update──► └─────────┘ …
//
// When a slot moves, its topics leave one server, which drops what may still come in of
// them, and join the other, which subscribes to them and fetches their values.
//
// The cluster is up when its slots are known and no topic keeps it down:
//
//	behind    its node is down, and the topic was wanted when that began, see wants
//	missing   its node goes on to refuse it, and had served it, or another had
//
// A topic that is new where its slot has no owner, or at a node that is down or refuses it,
// is stale and keeps nothing down. Else clients could, with names that lead there.
type cluster struct {
	*shared
	*upstream
	hinted chan struct{} // Has an element when there should be a look soon.

	lastError atomic.Pointer[string]
	looked    atomic.Bool // The slots have been seen once.

	// Lock order: mu, then that of a server's wants.
	mu     sync.Mutex
	ctx    context.Context // That of run; nil before it.
	nodes  map[string]*node
	owners [slotCount]*node // Nil where no view has named one yet.
	topics map[uint16]map[string]struct{}
	places map[string]slotNode // Where the nodes of the last view are, by their ids,
	ips    map[string]string   // and what to dial if the name in an address is not known here.
	ended  broker.Stats        // What servers counted that were stopped.
	gaps   uint64              // Moves of topics.
	up     bool
	closed bool           // No server may start any more.
	all    sync.WaitGroup // One per server that runs.
	// Owned by run's goroutine.
	known []string // The nodes of the last view.
	epoch uint64   // That of the newest view.
	ok    bool     // The cluster works, by that.
	seen  time.Time
}

// node is a primary, under cluster.mu but for the server itself.
type node struct {
	*server
	addr    string
	held    int                // Topics.
	up      bool               // It has not failed, or is current again.
	missing bool               // It refuses topics that are its own by the newest view, and were served.
	stop    context.CancelFunc // Nil while the server does not run.
	changes []topics.Change    // For it, of those that are being handed out.

	answers  uint64    // What it had answered when Room looked last,
	answered time.Time // and since when it owes more.
}

func newCluster(sh *shared, u *upstream) *cluster {
	return &cluster{
		shared: sh, upstream: u,
		hinted: make(chan struct{}, 1),
		nodes:  make(map[string]*node),
		topics: make(map[uint16]map[string]struct{}),
	}
}

func (c *cluster) slot(topic string) uint16 { return slotOf(c.channel.name(topic)) }

// Room implements [broker.Source]. It is that of the node with the least, of those that are up
// and answer. What is for another waits there, and holds up nobody.
func (c *cluster) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	room, now := aheadMax, time.Now()
	for _, n := range c.nodes {
		if n.up && !n.stalls(now) {
			room = min(room, n.Room())
		}
	}
	return room
}

// stallMin is how long a node may owe an answer before others do not wait for it. A server that
// is busy answers within some milliseconds.
const stallMin = 300 * time.Millisecond

// stalls reports whether a node has not answered for a while, though it is asked: a command, or
// to be greeted.
func (n *node) stalls(now time.Time) bool {
	answers, owed := n.wants.unanswered()
	greeted := n.stop == nil || n.connected.Load()
	if !owed && greeted || answers != n.answers {
		n.answers, n.answered = answers, now
	}
	return now.Sub(n.answered) > stallMin
}

// Apply implements [broker.Source].
func (c *cluster) Apply(changes []topics.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range changes {
		slot := c.slot(change.Topic)
		names := c.topics[slot]
		_, had := names[change.Topic]
		n := c.owners[slot]
		if change.Wanted {
			if names == nil {
				names = make(map[string]struct{})
				c.topics[slot] = names
			}
			names[change.Topic] = struct{}{}
		} else if delete(names, change.Topic); len(names) == 0 {
			delete(c.topics, slot)
		}
		if change.Wanted && (n == nil && c.looked.Load() || n != nil && !n.up) {
			c.forsake(change.Topic)
		}
		if n != nil {
			switch {
			case change.Wanted && !had:
				n.held++
			case !change.Wanted && had:
				n.held--
			}
			n.changes = append(n.changes, change)
		}
	}
	c.hand()
	c.tell()
}

// forsake makes a topic stale that nobody serves for now, and that is new: whoever waits for
// its first value is told.
func (c *cluster) forsake(topic string) {
	if mark, held := c.owner.Mark(topic); held && mark == 0 {
		c.owner.GoStale(topic, mark, broker.Unreachable)
	}
}

// hand gives the nodes their changes. The caller holds c.mu.
func (c *cluster) hand() {
	for _, n := range c.nodes {
		if len(n.changes) == 0 {
			continue
		}
		n.Apply(n.changes)
		clear(n.changes) // The names must not outlive their topics here.
		n.changes = n.changes[:0]
		if n.stop == nil && n.held > 0 {
			c.start(n)
		}
	}
}

func (c *cluster) start(n *node) {
	if c.closed {
		return
	}
	ctx, stop := context.WithCancel(c.ctx)
	n.stop, n.answered = stop, time.Now()
	s := n.server // The next one has its own run.
	c.all.Go(func() { s.Run(ctx) })
}

// node returns the node at an address. The caller holds c.mu.
func (c *cluster) node(addr string) *node {
	n := c.nodes[addr]
	if n == nil {
		n = &node{addr: addr}
		c.renew(n)
		c.nodes[addr] = n
	}
	return n
}

// renew gives a node a server that has not run yet. It counts as up until it fails: that
// a first topic has to wait for a connection is no outage. The caller holds c.mu.
func (c *cluster) renew(n *node) {
	var s *server
	s = newServer(c.shared, member{c, n.addr}, shards, func(up bool) { c.serverChanged(n, s, up) })
	s.moved = c.hint
	n.server, n.up, n.missing, n.stop = s, true, false, nil
}

// retire stops a node's server. The caller holds c.mu.
func (c *cluster) retire(n *node) {
	n.stop()
	last := n.Stats()
	last.Channels, last.Held, last.Behind, last.Lag, last.Refused = 0, 0, 0, 0, [broker.Causes]int64{}
	c.ended.Add(last)
	c.renew(n)
}

func (c *cluster) serverChanged(n *node, s *server, up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.server != s {
		return // It was retired.
	}
	if n.up && !up {
		for _, topic := range n.wants.unread() {
			c.forsake(topic)
		}
	}
	n.up = up
	c.tell()
	if !up {
		c.hint()
	}
}

// tell says whether all is up that is needed. The caller holds c.mu.
func (c *cluster) tell() {
	c.up = c.looked.Load()
	for _, n := range c.nodes {
		c.up = c.up && (n.held == 0 || !n.missing && (n.up || n.wants.lacking() == 0))
	}
	c.owner.SetUp(c.up)
}

// hint asks for a look soon. It waits for nothing.
func (c *cluster) hint() { broker.Signal(c.hinted) }

// Stats implements [broker.Source].
func (c *cluster) Stats() broker.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.ended
	s.Counts[broker.Gaps] += c.gaps
	if e := c.lastError.Load(); e != nil {
		s.LastError = *e
	}
	known := true
	for _, n := range c.nodes {
		of := n.Stats()
		if s.Add(of); n.held == 0 {
			continue
		}
		known = known && n.up && !of.Heard.IsZero()
		if s.Heard.IsZero() || of.Heard.Before(s.Heard) {
			s.Heard = of.Heard
		}
	}
	if !known {
		s.Heard = time.Time{}
	}
	s.Connected = c.up
	return s
}

// Run implements [broker.Source].
func (c *cluster) Run(ctx context.Context) {
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	var wait broker.Backoff
	failing := false
	for ctx.Err() == nil {
		moved, err := c.look(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if !failing {
				c.log.Error("redis feed: nobody says who owns the slots of the cluster",
					append([]any{"error", err, "hint", hint(err)}, panics.Attrs(err)...)...)
			}
			failing = true
			text := err.Error()
			c.lastError.Store(&text)
		case failing:
			failing = false
			c.log.Info("redis feed: the slots of the cluster are known again")
			wait.Reset()
		case moved:
			wait.Reset()
		}
		every := lookEvery
		switch {
		case err != nil:
			every = wait.Next()
		case !c.isUp():
			// Whoever is missing may be replaced at any time. A thousand edges do not
			// ask at once.
			every = lookSoon/2 + rand.N(lookSoon/2)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
			if every == lookEvery {
				wait.Reset()
			}
		case <-c.hinted:
			broker.Sleep(ctx, min(wait.Next(), lookSoon))
			select {
			case <-c.hinted: // The coming look is the answer to all that were given.
			default:
			}
		}
	}
	c.mu.Lock()
	c.closed, c.up = true, false
	c.mu.Unlock()
	c.all.Wait()
}

func (c *cluster) isUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}
