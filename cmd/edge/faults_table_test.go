// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"slices"
	"testing"
)

// rigs are the brokers under test, each set up in one way, with what each harm is for it. A broker is
// added by one line.
var rigs = []rig{
	{"redis channels", redisChannels},
	{"redis pattern", redisPattern},
	{"redis stream", redisStream},
	{"redis sentinel", redisSentinel},
	{"redis cluster", redisCluster},
	{"two redis", pairOfRedis},
	{"memory", memoryCells},
	{"nats core", natsCore},
	{"nats core with a publisher", natsAnswered},
	{"nats jetstream", natsStreams},
	{"nats jetstream of Debian", natsOnDebian},
	{"nats jetstream of three", natsThree},
}

// rig is one way to set up a broker.
type rig struct {
	name string
	does func() map[harm]fault
}

// harm is what is done to a broker.
type harm string

const (
	restartedKept     harm = "restarted, with its data"
	restartedEmpty    harm = "restarted, without its data"
	connectionsKilled harm = "connections killed"
	tooSlow           harm = "reader too slow, cut off"
	frozen            harm = "frozen"
	packetsLost       harm = "packets lost"
	topicForbidden    harm = "topic forbidden, and permitted"
	passwordChanged   harm = "password changed, and changed back"
	streamEmptied     harm = "stream emptied"
	streamAnew        harm = "stream deleted, and made anew"
	primaryKilled     harm = "primary killed"
	primaryFrozen     harm = "primary frozen"
	handedOver        harm = "primary handed over"
	dataMoved         harm = "data moved"
	replicaBehind     harm = "primary killed, replicas behind"
)

// harms are the columns of the table.
var harms = []harm{
	restartedKept, restartedEmpty, connectionsKilled, tooSlow, frozen, packetsLost, topicForbidden, passwordChanged,
	streamEmptied, streamAnew, primaryKilled, primaryFrozen, handedOver, dataMoved, replicaBehind,
}

// no is the cell of a harm that makes no sense for a broker, or tests nothing that another cell does not.
func no(why string) fault { return fault{why: why} }

// Reasons of several cells.
const (
	oneServer  = "there is one server, and nobody to take over"
	noStream   = "there is no stream"
	likeOne    = "a connection to one of several servers is as one to a single server, whose cell has it"
	allAsWhole = "what is subscribed is permitted as a whole"
)

// faults are the cells of the table in which something is done.
func faults() (all []fault) {
	for _, r := range rigs {
		cells := r.does()
		for _, h := range harms {
			if f := cells[h]; f.prepare != nil {
				f.name = r.name + ", " + string(h)
				all = append(all, f)
			}
		}
	}
	return all
}

// Every cell of the table is done, or says why not.
func TestFaultTable(t *testing.T) {
	for _, r := range rigs {
		cells := r.does()
		for _, h := range harms {
			if f := cells[h]; (f.prepare == nil) == (f.why == "") {
				t.Errorf("%s, %s: want either something to do or a reason why there is nothing, and have %q", r.name, h, f.why)
			}
		}
		for h := range cells {
			if !slices.Contains(harms, h) {
				t.Errorf("%s: %s is in no column of the table", r.name, h)
			}
		}
	}
}
