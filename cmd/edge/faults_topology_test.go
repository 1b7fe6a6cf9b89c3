//go:build linux

package main

import (
	"sync"
	"testing"

	"tickedge/internal/feed/redistest"
)

func sentinels(t *testing.T) (*redistest.Sentinels, *upstream) {
	s := redistest.StartSentinel(t, 2, "", "")
	client := s.Client()
	t.Cleanup(func() { client.Close() })
	return s, &upstream{url: s.URL(), client: client}
}

func primaryKilled(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := sentinels(t)
	return up, func(r *faultRun) {
		s.Primary().Kill()
		r.toldDown()
		r.tick(quiet()) // The new primary takes them.
	}
}

// The old primary comes back, and is made a replica of the new one.
func primaryFrozen(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := sentinels(t)
	return up, func(r *faultRun) {
		old := s.Primary()
		old.Freeze()
		thaw := sync.OnceFunc(old.Thaw)
		defer thaw() // If the test fails, too.
		r.toldDown()
		r.tick(quiet())
		thaw()
	}
}

func cluster(t *testing.T) (*redistest.Cluster, *upstream) {
	c := redistest.StartCluster(t, 3, 1, nil)
	client := c.Client()
	t.Cleanup(func() { client.Close() })
	return c, &upstream{url: c.URL(), client: client, sharded: true,
		flags: []string{"-redis-channel", "channel:prices:{{topic}}", "-redis-key", "price:{{topic}}"}}
}

func shardKilled(t *testing.T) (*upstream, func(*faultRun)) {
	c, up := cluster(t)
	return up, func(r *faultRun) {
		c.Owner(c.Slot(up.key(quiet()[0]))).Kill()
		r.toldDown()
		r.tick(quiet())
	}
}

// The replica takes over with its primary's consent, so nothing is lost.
func shardHandedOver(t *testing.T) (*upstream, func(*faultRun)) {
	c, up := cluster(t)
	return up, func(r *faultRun) {
		c.Failover(c.Slot(up.key(quiet()[0])))
		r.tick(quiet())
	}
}

// Slots move between two shards that go on.
func slotsMoved(t *testing.T) (*upstream, func(*faultRun)) {
	c, up := cluster(t)
	return up, func(r *faultRun) {
		for _, topic := range []int{quiet()[0], quiet()[topicsPerClient/2], loud()[0]} { // Of either edge, and one that ticks.
			slot := c.Slot(up.key(topic))
			to := c.Nodes()[0]
			if c.Owner(slot) == to {
				to = c.Nodes()[1]
			}
			c.Migrate(slot, to)
		}
		r.tick(quiet())
	}
}
