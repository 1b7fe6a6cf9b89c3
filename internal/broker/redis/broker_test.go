// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker/brokertest"
	"tickedge/internal/broker/redis/redistest"
)

// What all brokers promise, in every way to read one Redis.
func TestBroker(t *testing.T) {
	for _, mode := range []Mode{ModeChannel, ModePattern, ModeStream} {
		t.Run(string(mode), func(t *testing.T) {
			start := func(t *testing.T) *brokertest.Rig { return brokerRig(t, mode) }
			brokertest.Source(t, start)
			brokertest.Publisher(t, start)
		})
	}
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t, 3, 0, nil)
		start := func(t *testing.T) *brokertest.Rig { return clusterRig(t, c) }
		brokertest.Source(t, start)
		brokertest.Publisher(t, start)
	})
}

// clusterRig is a cluster of several tests, which is empty when one begins.
func clusterRig(t *testing.T, c *redistest.Cluster) *brokertest.Rig {
	const shardsOnly = "its channels are those of shards, which have no patterns: TestClusterCoversNothing"
	const addresses = "nodes tell clients their own addresses, so nothing can stand in between: cmd/edge does harm to nodes"
	for _, n := range c.Nodes() {
		n.Do("FLUSHALL")
		n.Do("ACL", "SETUSER", "edge", "reset", "on", ">"+secret, "~*", "&*", "+@all")
	}
	client := c.Client()
	t.Cleanup(func() { client.Close() })
	return &brokertest.Rig{
		Config: inSlots(strings.Replace(c.URL(), "://", "://edge:"+secret+"@", 1)).Config,
		Refuse: func() func() { return refuse(c.Nodes()...) },
		Write: func(topic, value string) {
			err := client.Eval(context.Background(), inShard, []string{"price:{" + topic + "}", "channel:prices:{" + topic + "}"}, value).Err()
			if err != nil {
				t.Error(err)
			}
		},
		Stored: func(topic string) string { return storedAt(t, client, "price:{"+topic+"}") },
		Without: map[string]string{
			"outage":                    addresses,
			"wanted during an outage":   addresses,
			"ends during an outage":     addresses,
			"retries":                   addresses,
			"gives up with its context": addresses,
			"forbidden":                 "as of one server",
			"covered":                   shardsOnly, "covered and wanted": shardsOnly, "covered, wanted now and then": shardsOnly,
			"covered names are literal": shardsOnly, "covered after an outage": shardsOnly,
		},
	}
}

// storedAt is what a key holds, "" for nothing.
func storedAt(t *testing.T, client goredis.UniversalClient, key string) string {
	value, err := client.Get(context.Background(), key).Result()
	if err != nil && err != goredis.Nil {
		t.Error(err)
	}
	return value
}

const brokerStream = "ticks"

// brokerRig is a Redis, to which sources and publishers come through a gate.
func brokerRig(t *testing.T, mode Mode) *brokertest.Rig {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "~*", "&*", "+@all")
	g := brokertest.NewGate(t, s.Addr())
	cfg := Config{URL: "redis://edge:" + secret + "@" + g.Addr(), Mode: mode}
	rig := &brokertest.Rig{Outage: g.Outage, Blanket: mode != ModeChannel, Refuse: func() func() { return refuse(s) }}
	switch mode {
	case ModeChannel:
		rig.Forbid = func(string) func() { return forbid(s) }
	case ModePattern:
		rig.Without = map[string]string{"forbidden": "the channels of all topics are permitted as one pattern"}
	case ModeStream:
		cfg.Stream = brokerStream
		rig.Without = map[string]string{"forbidden": "a stream is permitted as a whole"}
	}
	rig.Config = cfg
	client := s.Client()
	t.Cleanup(func() { client.Close() })
	rig.Write = func(topic, value string) {
		_, err := client.TxPipelined(context.Background(), func(tx goredis.Pipeliner) error {
			tx.Set(context.Background(), "price:"+topic, value, 0)
			if mode == ModeStream {
				return tx.XAdd(context.Background(), &goredis.XAddArgs{Stream: brokerStream, Values: []any{streamTopic, topic, streamValue, value}}).Err()
			}
			return tx.Publish(context.Background(), "channel:prices:"+topic, value).Err()
		})
		if err != nil {
			t.Error(err)
		}
	}
	rig.Stored = func(topic string) string { return storedAt(t, client, "price:"+topic) }
	return rig
}

// forbid leaves the user of sources one topic, B.
func forbid(s *redistest.Server) (back func()) {
	s.Do("ACL", "SETUSER", "edge", "resetkeys", "~price:B", "resetchannels", "&channel:prices:B")
	return func() { s.Do("ACL", "SETUSER", "edge", "resetkeys", "~*", "resetchannels", "&*") }
}

// refuse leaves the user of publishers all topics of tests but A.
func refuse(servers ...*redistest.Server) (back func()) {
	for _, s := range servers {
		user := []any{"ACL", "SETUSER", "edge", "resetkeys", "~" + brokerStream}
		for _, topic := range "BCD" {
			user = append(user, "~price:"+string(topic), "~price:{"+string(topic)+"}", "~channel:prices:{"+string(topic)+"}")
		}
		s.Do(user...)
	}
	return func() {
		for _, s := range servers {
			s.Do("ACL", "SETUSER", "edge", "resetkeys", "~*")
		}
	}
}
