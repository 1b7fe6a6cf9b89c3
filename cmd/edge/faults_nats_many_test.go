// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker/redis/redistest"
)

// natsCluster are three servers, each of which has the stream.
type natsCluster struct {
	t       *testing.T
	servers []*natsServer
	to      *natsTarget
}

func natsThree() map[harm]fault {
	cells := manyServers()
	cells[streamEmptied] = no(likeOne)
	cells[streamAnew] = no(likeOne)
	cells[primaryKilled] = fault{told: nothing, gaps: anyGaps, prepare: natsLeaderKilled}
	cells[primaryFrozen] = fault{told: nothing, gaps: anyGaps, prepare: natsLeaderFrozen}
	cells[handedOver] = fault{told: nothing, gaps: anyGaps, prepare: natsSteppedDown}
	cells[dataMoved] = no("each of the servers has all the data")
	cells[replicaBehind] = fault{told: nothing, gaps: anyGaps, prepare: natsFollowerBehind}
	return cells
}

func startNATSCluster(t *testing.T) *natsCluster {
	t.Helper()
	c := &natsCluster{t: t}
	var routes, urls []string
	for range 3 {
		routes = append(routes, steadyAddr(t))
	}
	for i := range routes {
		s := newNATS(t, natsConfig{jetStream: true, routes: routes}, i)
		c.servers = append(c.servers, s)
		urls = append(urls, s.url(natsPublisher, natsSecret))
		s.launch()
	}
	for _, s := range c.servers {
		s.wait()
	}
	c.to = &natsTarget{nc: natsConn(t, strings.Join(urls, ","))}
	js, err := c.to.nc.JetStream(natsgo.MaxWait(5*time.Second), natsgo.PublishAsyncTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	c.to.js = js
	redistest.Eventually(t, "the stream is there", func() bool { return addStream(js, len(routes)) == nil })
	c.leader()
	return c
}

// upstream is the cluster, to which edges come by all its servers.
func (c *natsCluster) upstream() *upstream {
	var addrs []string
	for _, s := range c.servers {
		addrs = append(addrs, s.addr)
	}
	url := fmt.Sprintf("nats://%s:%s@%s%s", edgeUser, edgePassword, strings.Join(addrs, ","), natsJetStream.query())
	return &upstream{target: c.to, url: url}
}

// leader is the server that takes what is published, as soon as both others have all of it.
func (c *natsCluster) leader() (leader *natsServer) {
	c.t.Helper()
	redistest.Eventually(c.t, "the stream has a leader and two replicas", func() bool {
		info, err := c.to.js.StreamInfo(natsStream)
		if err != nil || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			return false
		}
		for _, replica := range info.Cluster.Replicas {
			if !replica.Current {
				return false
			}
		}
		leader = c.named(info.Cluster.Leader)
		return leader != nil
	})
	return leader
}

func (c *natsCluster) named(name string) *natsServer {
	for _, s := range c.servers {
		if s.name == name {
			return s
		}
	}
	return nil
}

func natsLeaderKilled(t *testing.T) (*upstream, func(*faultRun)) {
	c := startNATSCluster(t)
	return c.upstream(), func(r *faultRun) {
		c.leader().kill()
		r.tick(quiet())
	}
}

// The old leader comes back when the new one has taken ticks.
func natsLeaderFrozen(t *testing.T) (*upstream, func(*faultRun)) {
	c := startNATSCluster(t)
	return c.upstream(), func(r *faultRun) {
		old := c.leader()
		old.Freeze()
		thaw := sync.OnceFunc(old.Thaw)
		defer thaw() // If the test fails, too.
		r.tick(quiet())
		thaw()
	}
}

func natsSteppedDown(t *testing.T) (*upstream, func(*faultRun)) {
	c := startNATSCluster(t)
	return c.upstream(), func(r *faultRun) {
		old := c.leader()
		if _, err := c.to.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+natsStream, nil, patience); err != nil {
			t.Error(err)
		}
		redistest.Eventually(t, "there is another leader", func() bool {
			info, err := c.to.js.StreamInfo(natsStream)
			return err == nil && info.Cluster.Leader != "" && info.Cluster.Leader != old.name
		})
		r.tick(quiet())
	}
}

// A replica that was frozen serves again, and answers what it is asked with what it had then, while the
// leader dies. Who reads from it may get older values than those that were shown.
func natsFollowerBehind(t *testing.T) (*upstream, func(*faultRun)) {
	c := startNATSCluster(t)
	return c.upstream(), func(r *faultRun) {
		leader := c.leader()
		behind := c.servers[0]
		if behind == leader {
			behind = c.servers[1]
		}
		behind.Freeze()
		thaw := sync.OnceFunc(behind.Thaw)
		defer thaw() // If the test fails, too.
		for range 3 {
			r.tick(quiet())
		}
		r.eventually("clients have what one server has not", time.Now(), currentWithin, func() bool { return r.current(quiet()) })
		leader.kill()
		thaw()
		r.tick(quiet())
	}
}
