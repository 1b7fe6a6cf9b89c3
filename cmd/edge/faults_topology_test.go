// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

func sentinels(t *testing.T) (*redistest.Sentinels, *upstream) {
	s := redistest.StartSentinel(t, 2, "", "")
	client := s.Client()
	t.Cleanup(func() { client.Close() })
	return s, &upstream{url: s.URL(), client: client}
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

// A primary dies with ticks that its replicas have not got, so they are lost for Redis,
// and clients have seen them. An edge that knows versions keeps them until newer ones
// come. Another one goes back to what Redis has, which nobody can tell from new values.
func primaryKilled(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := sentinels(t)
	return up, func(r *faultRun) {
		old := s.Primary()
		var replicas []*redistest.Server
		for _, server := range s.Servers() {
			if server != old {
				replicas = append(replicas, server)
			}
		}
		thaw := sync.OnceFunc(func() {
			for _, server := range replicas {
				server.Thaw()
			}
		})
		defer thaw() // If the test fails, too.
		for _, server := range replicas {
			server.Freeze()
		}
		old.Do("CLIENT", "KILL", "TYPE", "replica") // They can't connect anew.
		r.tick(quiet())
		r.eventually("clients have the ticks that will be lost", time.Now(), 2*time.Second, func() bool { return r.current(quiet()) })
		old.Kill()
		thaw()
		r.toldDown()
		s.WaitMoved(old)
		r.toldUp(time.Now())
		back := func(versioned bool) bool {
			return !r.eachOf(versioned, func(l *listener) bool { return len(l.back) == 0 })
		}
		r.eventually("without versions rows have gone back", time.Now(), time.Second, func() bool { return back(false) })
		if back(true) {
			t.Error("with versions a row went back")
		}
		if n := sum(t, r.edges[1], "edge_feed_older_total"); n == 0 {
			t.Error("edge_feed_older_total is 0")
		}
		r.tick(quiet())
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
