// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/topics"
)

const (
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
	c.settle(v.slots)
	known := make(map[string]bool)
	for _, r := range v.slots {
		for _, n := range r.nodes {
			known[n.addr] = true
		}
	}
	if len(known) > nodesMax {
		return false, fmt.Errorf("%s knows of %d nodes, want at most %d", v.from, len(known), nodesMax)
	}
	mended := v.epoch != c.epoch || v.ok && !c.ok
	c.epoch, c.ok, c.seen = v.epoch, v.ok, time.Now()
	c.known = slices.Collect(maps.Keys(known))
	c.place(v.slots)
	c.looked.Store(true)
	moved = c.update(v.slots)
	if mended {
		c.hasten()
	}
	return moved, nil
}

// hasten has what nodes have refused asked for again.
func (c *cluster) hasten() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		n.wants.hasten()
	}
}

// view is how a node sees its cluster.
type view struct {
	from  string
	epoch uint64 // Rises with each failover, and with most moves of slots.
	ok    bool   // It believes that the cluster works.
	slots []slotRange
}

// ask asks some nodes at once, and takes the newest view.
func (c *cluster) ask(ctx context.Context) (view, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs := c.askable()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	addrs = addrs[:min(len(addrs), askNodesMax)]
	return newestView(addrs, func(addr string) (view, error) { return c.askOne(ctx, addr) })
}

// newestView asks all nodes at some addresses at once.
func newestView(addrs []string, ask func(addr string) (view, error)) (view, error) {
	return newest("cluster node", addrs, func(i int) (view, error) { return ask(addrs[i]) },
		func(v, than view) bool { return v.epoch > than.epoch || v.epoch == than.epoch && v.ok && !than.ok })
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
	opts, err := c.reach(ctx, addr)
	if err != nil {
		return view{}, err
	}
	return askView(ctx, opts, addr)
}

// askView asks the node that is known by an address.
func askView(ctx context.Context, opts *goredis.Options, addr string) (view, error) {
	client := newAsker(ctx, *opts)
	defer client.Close()
	pipe := client.Pipeline()
	// The epoch goes first: a failover between the two makes the view look older than it
	// is, not newer.
	// SLOTS and not the newer SHARDS, which leaves it to us to tell ports apart: SLOTS has
	// those of TLS for clients that come by TLS.
	info, slots := pipe.ClusterInfo(ctx), pipe.Do(ctx, "cluster", "slots")
	execute(ctx, pipe) // Every command has its own error.
	if info.Err() != nil {
		return view{}, info.Err()
	}
	v := view{from: addr}
	var err error
	for line := range strings.Lines(info.Val()) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name {
		case "cluster_state":
			v.ok = value == "ok"
		case "cluster_current_epoch":
			v.epoch, err = strconv.ParseUint(value, 10, 64)
		}
	}
	if err != nil {
		return v, err
	}
	reply, err := slots.Slice()
	if err != nil {
		return v, err
	}
	if v.slots, err = parseSlots(reply, addr); err == nil && len(v.slots) == 0 {
		err = errors.New("it knows of no slots")
	}
	return v, err
}

// update has topics move to the owners of their slots, and those that were not served
// where they are be asked for again. It is false if none had to move.
func (c *cluster) update(ranges []slotRange) (moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	joining := make(map[*node]*joiners)
	count := 0
	for _, r := range ranges {
		if len(r.nodes) == 0 {
			continue
		}
		to := c.node(r.nodes[0].addr)
		for slot := r.start; slot <= r.end; slot++ {
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
		c.log.Info("redis feed: slots of the cluster have moved", "topics", count)
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
// slots are by the newest view. A node that goes on to refuse them counts as down if any of
// them is missing. The caller holds c.mu.
func (c *cluster) again() {
	for _, n := range c.nodes {
		n.missing = n.wants.missingTopics() > 0
		n.wants.again()
	}
}
