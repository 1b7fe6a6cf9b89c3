package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

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
	// askNodesMax is how many nodes are asked in a look. Several, because one that was
	// frozen or cut off does not know what has changed meanwhile.
	askNodesMax = 3
	// nodesMax is as many nodes as a Redis Cluster should have at most (its specification). A
	// view with more is refused: each primary with topics is a link.
	nodesMax = 1000
	// epochKept is how long views are refused that are older than one that was seen. For
	// longer than that no old node stays old: the cluster was made anew.
	epochKept = 30 * time.Second
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
	changed func(up bool)
	hinted  chan struct{} // Has an element when there should be a look soon.
	moveLog throttle

	lastError atomic.Pointer[string]
	looked    atomic.Bool // The slots have been seen once.

	// Lock order: mu, then that of a server's wants.
	mu     sync.Mutex
	ctx    context.Context // That of run; nil before it.
	nodes  map[string]*node
	owners [slotCount]*node // Nil where no view has named one yet.
	topics map[uint16]map[string]struct{}
	ended  SourceStats // What servers counted that were stopped.
	gaps   uint64      // Moves of topics.
	up     bool
	closed bool           // No server may start any more.
	all    sync.WaitGroup // One per server that runs.
	// retry paces what is asked of nodes that have refused it before.
	retry   backoff
	retryAt time.Time

	// Owned by run's goroutine.
	known []string // The nodes of the last view.
	epoch uint64   // That of the newest view.
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
}

func newCluster(sh *shared, u *upstream, changed func(up bool)) *cluster {
	return &cluster{
		shared: sh, upstream: u, changed: changed,
		hinted: make(chan struct{}, 1),
		nodes:  make(map[string]*node),
		topics: make(map[uint16]map[string]struct{}),
	}
}

func (c *cluster) slot(topic string) uint16 { return slotOf(c.channel.name(topic)) }

// room is that of the node with the least, of those that are up. What is for one that is down
// waits there, and holds up nobody.
func (c *cluster) room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := aheadMax
	for _, n := range c.nodes {
		if n.up {
			room = min(room, n.room())
		}
	}
	return room
}

func (c *cluster) apply(changes []topics.Change) {
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
	if mark, held := c.table.Mark(topic); held && mark == 0 {
		c.table.GoStale(topic, mark)
	}
}

// hand gives the nodes their changes. The caller holds c.mu.
func (c *cluster) hand() {
	for _, n := range c.nodes {
		if len(n.changes) == 0 {
			continue
		}
		n.apply(n.changes)
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
	n.stop = stop
	s := n.server // The next one has its own run.
	c.all.Go(func() { s.run(ctx) })
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
	s = newServer(c.shared, fixed{c.at(n.addr), c.cfg.TLS}, shards, func(up bool) { c.serverChanged(n, s, up) })
	s.moved = c.hint
	n.server, n.up, n.missing, n.stop = s, true, false, nil
}

// retire stops a node's server. The caller holds c.mu.
func (c *cluster) retire(n *node) {
	n.stop()
	last := n.stats()
	last.Channels, last.Held, last.Behind, last.Lag = 0, 0, 0, 0
	c.ended.add(last)
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
	c.changed(c.up)
}

// hint asks for a look soon. It waits for nothing.
func (c *cluster) hint() { signal(c.hinted) }

func (c *cluster) stats() SourceStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.ended
	s.Gaps += c.gaps
	if e := c.lastError.Load(); e != nil {
		s.LastError = *e
	}
	for _, n := range c.nodes {
		s.add(n.stats())
	}
	s.Connected, s.EverConnected = c.up, c.looked.Load()
	return s
}

func (c *cluster) run(ctx context.Context) {
	c.mu.Lock()
	c.ctx = ctx
	c.mu.Unlock()
	var wait backoff
	failing := false
	for ctx.Err() == nil {
		moved, err := c.look(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			text := err.Error()
			c.lastError.Store(&text)
			if !failing {
				c.log.Error("redis feed: nobody says who owns the slots of the cluster",
					append([]any{"error", err, "hint", hint(err)}, panics.Attrs(err)...)...)
			}
			failing = true
		case failing:
			failing = false
			c.log.Info("redis feed: the slots of the cluster are known again")
			wait.reset()
		case moved:
			wait.reset()
		}
		every := lookEvery
		switch {
		case err != nil:
			every = wait.next()
		case !c.isUp():
			// Whoever is missing may be replaced at any time. A thousand edges do not
			// ask at once.
			every = lookSoon/2 + rand.N(lookSoon/2)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
			if every == lookEvery {
				wait.reset()
			}
		case <-c.hinted:
			sleep(ctx, min(wait.next(), lookSoon))
			c.unhint()
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

// unhint takes back the hints that the coming look is the answer to.
func (c *cluster) unhint() {
	select {
	case <-c.hinted:
	default:
	}
}

// look finds out who owns which slots, and has the topics move accordingly.
func (c *cluster) look(ctx context.Context) (moved bool, err error) {
	v, err := c.ask(ctx)
	if err != nil {
		return false, err
	}
	return c.take(v)
}

// take takes a view for what is so, unless it is older than another.
func (c *cluster) take(v view) (moved bool, err error) {
	if v.epoch < c.epoch && time.Since(c.seen) < epochKept {
		return false, fmt.Errorf("%s is behind: its epoch is %d, and %d was seen", v.from, v.epoch, c.epoch)
	}
	known := make(map[string]bool)
	for _, r := range v.slots {
		for _, n := range r.Nodes {
			known[n.Addr] = true
		}
	}
	if len(known) > nodesMax {
		return false, fmt.Errorf("%s knows of %d nodes, want at most %d", v.from, len(known), nodesMax)
	}
	c.epoch, c.seen = v.epoch, time.Now()
	c.known = slices.Collect(maps.Keys(known))
	c.looked.Store(true)
	return c.update(v.slots), nil
}

// view is how a node sees its cluster.
type view struct {
	from  string
	epoch uint64 // Rises with each failover, and with most moves of slots.
	ok    bool   // It believes that the cluster works.
	slots []goredis.ClusterSlot
}

// ask asks some nodes at once, and takes the newest view. The error is that of one of
// them, if none has any.
func (c *cluster) ask(ctx context.Context) (view, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs := c.askable()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	addrs = addrs[:min(len(addrs), askNodesMax)]
	views := make([]view, len(addrs))
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			errs[i] = panics.Try(panics.Feed, func() (err error) {
				views[i], err = c.askOne(ctx, addr)
				return err
			})
		})
	}
	wg.Wait()
	var newest *view
	var err error
	for i := range views {
		v := &views[i]
		switch {
		case errs[i] != nil:
			err = fmt.Errorf("cluster node %s: %w", addrs[i], errs[i])
		case newest == nil || v.epoch > newest.epoch || v.epoch == newest.epoch && v.ok && !newest.ok:
			newest = v
		}
	}
	if newest == nil {
		return view{}, err
	}
	return *newest, nil
}

// askable are the nodes that may know something, without those that are down as far as
// their links tell, if there are others.
func (c *cluster) askable() []string {
	all := slices.Concat(c.known, c.addrs)
	c.mu.Lock()
	defer c.mu.Unlock()
	addrs := slices.DeleteFunc(slices.Clone(all), func(addr string) bool {
		n := c.nodes[addr]
		return n != nil && !n.up
	})
	if len(addrs) == 0 {
		return all
	}
	return addrs
}

func (c *cluster) askOne(ctx context.Context, addr string) (view, error) {
	opts, err := c.cfg.TLS.secure(c.at(addr))
	if err != nil {
		return view{}, err
	}
	client := newAsker(ctx, *opts)
	defer client.Close()
	pipe := client.Pipeline()
	// The epoch goes first: a failover between the two makes the view look older than it
	// is, not newer.
	// SLOTS and not the newer SHARDS, which leaves it to us to tell ports apart: SLOTS has
	// those of TLS for who comes by TLS.
	info, slots := pipe.ClusterInfo(ctx), pipe.ClusterSlots(ctx)
	pipe.Exec(ctx) // Every command has its own error.
	if info.Err() != nil {
		return view{}, info.Err()
	}
	v := view{from: addr, slots: slots.Val()}
	for line := range strings.Lines(info.Val()) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "cluster_state":
			v.ok = value == "ok"
		case "cluster_current_epoch":
			v.epoch, err = strconv.ParseUint(value, 10, 64)
		}
	}
	host, _, _ := net.SplitHostPort(addr)
	for _, r := range v.slots {
		for i, n := range r.Nodes {
			if port, ok := strings.CutPrefix(n.Addr, ":"); ok { // It does not know its own address.
				r.Nodes[i].Addr = net.JoinHostPort(host, port)
			}
			if len(n.Addr) > addrMax {
				return view{}, fmt.Errorf("an address of a node has %d bytes, want at most %d", len(n.Addr), addrMax)
			}
		}
	}
	if err == nil {
		err = slots.Err()
	}
	if err == nil && len(v.slots) == 0 {
		err = errors.New("it knows of no slots")
	}
	return v, err
}

// update has topics move to the owners of their slots, and those that were not served
// where they are be asked for again. It is false if none had to move.
func (c *cluster) update(ranges []goredis.ClusterSlot) (moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	joining := make(map[*node]*joiners)
	count := 0
	for _, r := range ranges {
		if len(r.Nodes) == 0 || r.Start < 0 || r.End >= slotCount {
			continue
		}
		to := c.node(r.Nodes[0].Addr)
		for slot := r.Start; slot <= r.End; slot++ {
			from := c.owners[slot]
			if from == to {
				continue
			}
			c.owners[slot] = to
			for topic := range c.topics[uint16(slot)] {
				j := joining[to]
				if j == nil {
					j = new(joiners)
					joining[to] = j
				}
				j.add(from, topic)
				if from != nil {
					from.held--
					from.changes = append(from.changes, topics.Change{Topic: topic})
					count++
				}
				to.held++
			}
		}
	}
	// They leave before they join, or an older message could come in behind a newer.
	c.hand()
	for n, j := range joining {
		if len(j.behind) > 0 {
			n.up = false // Until it has what the other could not get.
		}
		n.wants.inherit(j.behind, true)
		n.wants.inherit(j.read, false)
		n.changes = append(n.changes, j.changes...)
	}
	c.hand()
	owns := make(map[*node]bool)
	for _, n := range c.owners {
		owns[n] = true
	}
	c.again()
	for addr, n := range c.nodes {
		if n.held == 0 && n.stop != nil {
			c.retire(n)
		}
		if !owns[n] {
			delete(c.nodes, addr) // It holds no topics, which are where their slot is.
		}
	}
	for slot, names := range c.topics {
		if c.owners[slot] == nil {
			for topic := range names {
				c.forsake(topic)
			}
		}
	}
	c.tell()
	if count > 0 {
		c.gaps++
		if swallowed, ok := c.moveLog.allow(); ok {
			c.log.Info("redis feed: slots of the cluster have moved", "topics", count, "swallowed", swallowed)
		}
	}
	return count > 0
}

// joiners are topics on their way to the node that owns their slots now.
type joiners struct {
	changes []topics.Change // All of them.
	// behind are those that the node before has to catch up with, and read those whose
	// values it had read. The others are new.
	behind, read []string
}

// add adds a topic that comes from a node, if it was at one.
func (j *joiners) add(from *node, topic string) {
	j.changes = append(j.changes, topics.Change{Topic: topic, Wanted: true})
	if from == nil {
		return
	}
	switch read, behind := from.wants.hasRead(topic); {
	case behind:
		j.behind = append(j.behind, topic)
	case read:
		j.read = append(j.read, topic)
	}
}

// again has topics that are astray asked for again where they are, as that is where their
// slots are by the newest view. A node that goes on to refuse them is asked less and less
// often, and counts as down if any of them is missing. The caller holds c.mu.
func (c *cluster) again() {
	stuck, due := false, !time.Now().Before(c.retryAt)
	for _, n := range c.nodes {
		all, missing := n.wants.stuckTopics()
		n.missing = missing > 0
		stuck = stuck || all > 0
		if due {
			n.wants.again()
		}
	}
	if !stuck {
		c.retry.reset()
	} else if due {
		c.retryAt = time.Now().Add(c.retry.next())
	}
}

// isMisplaced reports whether an error says that a node of a cluster does not serve a
// slot, or not for now.
func isMisplaced(err error) bool {
	_, ask := goredis.IsAskError(err)
	return ask || isMoved(err) || goredis.IsTryAgainError(err) || goredis.IsClusterDownError(err)
}

// slotIn is the slot that an error is about, if it says so: MOVED 3999 127.0.0.1:6381.
func slotIn(err error) (slot uint16, given bool) {
	words := strings.Fields(err.Error())
	if len(words) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(words[1], 10, 16)
	return uint16(n), err == nil
}
