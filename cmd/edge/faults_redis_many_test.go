// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/broker/redis/redistest"
)

// manyServers are the cells of what several servers do as one does.
func manyServers() map[harm]fault {
	return map[harm]fault{
		restartedKept:     no(likeOne),
		restartedEmpty:    no(likeOne),
		connectionsKilled: no(likeOne),
		tooSlow:           no(likeOne),
		frozen:            no("it is a fail-over: see primary frozen"),
		packetsLost:       no(likeOne),
		topicForbidden:    no(likeOne),
		passwordChanged:   no(likeOne),
		streamEmptied:     no(noStream),
		streamAnew:        no(noStream),
	}
}

func redisSentinel() map[harm]fault {
	cells := manyServers()
	cells[primaryKilled] = fault{told: atLength, lossy: true, prepare: sentinelPrimaryKilled}
	cells[primaryFrozen] = fault{told: atLength, lossy: true, prepare: sentinelPrimaryFrozen}
	cells[handedOver] = fault{told: inPassing, lossy: true, prepare: sentinelHandedOver}
	cells[dataMoved] = no("one primary has all the data")
	cells[replicaBehind] = fault{told: atLength, lossy: true, prepare: sentinelReplicasBehind}
	return cells
}

func redisCluster() map[harm]fault {
	cells := manyServers()
	cells[primaryKilled] = fault{told: atLength, lossy: true, moreTime: clusterTime, prepare: shardKilled}
	cells[primaryFrozen] = fault{told: atLength, lossy: true, moreTime: clusterTime, prepare: shardFrozen}
	cells[handedOver] = fault{told: nothing, moreTime: clusterTime, prepare: shardHandedOver}
	cells[dataMoved] = fault{told: nothing, moreTime: clusterTime, prepare: slotsMoved}
	cells[replicaBehind] = no("each shard is as a primary with sentinels, whose cell has it")
	return cells
}

func sentinels(t *testing.T) (*redistest.Sentinels, *upstream) {
	s := redistest.StartSentinel(t, 2, "", "")
	client := s.Client()
	t.Cleanup(func() { client.Close() })
	return s, &upstream{url: s.URL(), target: &redisTarget{client: client}}
}

// The old primary comes back, and is made a replica of the new one.
func sentinelPrimaryFrozen(t *testing.T) (*upstream, func(*faultRun)) {
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

func sentinelPrimaryKilled(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := sentinels(t)
	return up, func(r *faultRun) {
		s.Primary().Kill()
		r.toldDown()
		r.tick(quiet())
	}
}

func sentinelHandedOver(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := sentinels(t)
	return up, func(r *faultRun) {
		s.Failover()
		s.WaitFollowed(up.target.(*redisTarget).client.(*redis.Client))
		r.tick(quiet())
	}
}

// A primary dies with ticks that its replicas have not got, so they are lost for Redis,
// and clients have seen them. An edge that knows versions keeps them until newer ones
// come. Another one goes back to what Redis has, which nobody can tell from new values.
func sentinelReplicasBehind(t *testing.T) (*upstream, func(*faultRun)) {
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

// clusterTime is what a cluster may take longer: its nodes are asked who owns what.
const clusterTime = 6 * time.Second

func cluster(t *testing.T) (*redistest.Cluster, *upstream, *redisTarget) {
	c := redistest.StartCluster(t, 3, 1, nil)
	client := c.Client()
	t.Cleanup(func() { client.Close() })
	to := &redisTarget{client: client, sharded: true}
	return c, &upstream{url: c.URL(), target: to,
		flags: []string{"-redis-channel", "channel:prices:{{topic}}", "-redis-key", "price:{{topic}}"}}, to
}

func shardKilled(t *testing.T) (*upstream, func(*faultRun)) {
	c, up, to := cluster(t)
	return up, func(r *faultRun) {
		c.Owner(c.Slot(to.key(quiet()[0]))).Kill()
		r.toldDown()
		r.tick(quiet())
	}
}

// The old primary comes back when the new one has ticked, and is made its replica.
func shardFrozen(t *testing.T) (*upstream, func(*faultRun)) {
	c, up, to := cluster(t)
	return up, func(r *faultRun) {
		old := c.Owner(c.Slot(to.key(quiet()[0])))
		old.Freeze()
		thaw := sync.OnceFunc(old.Thaw)
		defer thaw() // If the test fails, too.
		r.toldDown()
		r.tick(quiet())
		thaw()
	}
}

// The replica takes over with its primary's consent, so nothing is lost.
func shardHandedOver(t *testing.T) (*upstream, func(*faultRun)) {
	c, up, to := cluster(t)
	return up, func(r *faultRun) {
		c.Failover(c.Slot(to.key(quiet()[0])))
		r.tick(quiet())
	}
}

// Slots move between two shards that go on.
func slotsMoved(t *testing.T) (*upstream, func(*faultRun)) {
	c, up, to := cluster(t)
	return up, func(r *faultRun) {
		for _, topic := range append(ofEitherEdge(), loud()[0]) {
			slot := c.Slot(to.key(topic))
			other := c.Nodes()[0]
			if c.Owner(slot) == other {
				other = c.Nodes()[1]
			}
			c.Migrate(slot, other)
		}
		r.tick(quiet())
	}
}
