//go:build linux

package main

import (
	"io"
	"math"
	"time"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
)

// feedName stands for the rounds that measure what the edge's feed costs: an edge with
// all topics and next to no clients.
const feedName = "feed"

func runFanout(args []string, stdout, stderr io.Writer) int {
	c := &labConfig{mode: "fanout", conns: 5000, hold: 10 * time.Second, edge: "-loops 1"}
	f := newLabFlags(c)
	c.serversFlag(f, targetNames()...)
	f.IntVar(&c.rounds, roundsFlag, 5, "how often each server is held")
	return c.run(f, args, stdout, stderr, nil, (*session).fanout)
}

// fanout holds the same conns at one server after the other, in rounds. Redis and the
// source of ticks run all the time, so that the rest of the machine does the same for
// each. A server runs only while it is measured, and as a new process: an idle one
// beside it would take ticks for the time that topics linger, and a used one has
// memory of before.
func (s *session) fanout() (outcome, error) {
	if err := s.ticks(s.rate); err != nil {
		return nil, err
	}
	f := newFanoutResult(s.labConfig)
	if err := turns(s.rounds, len(f.Servers), func(round, i int) error {
		of := &f.Servers[i]
		s.progress("fanout: round %d of %d, %s", round+1, s.rounds, of.Name)
		r, err := s.fanoutRound(of.Name, nil)
		if err == nil {
			of.Rounds[round] = *r
		}
		return err
	}); err != nil {
		return nil, err
	}
	f.conclude()
	return f, nil
}

// fanoutRound starts a server, holds conns at it and ends it. watch may be nil.
func (s *session) fanoutRound(name string, watch func(server *lab.Server, moment int) error) (*fanoutRound, error) {
	conns, topics := s.conns, s.topics
	if name == feedName {
		name, topics = edgeName, min(s.universe, swarm.TopicsMax)
		conns = coverage(s.universe, topics)
	}
	found, err := findTargets(name)
	if err != nil {
		return nil, err
	}
	res, err := s.holdAt(found[0], s.setting, conns, topics, watch)
	if err != nil {
		return nil, err
	}
	r := fanoutRoundOf(res)
	return &r, nil
}

// coverage is how many conns with so many random topics of a universe it takes to
// have all but 0.5 % of it.
func coverage(universe, topics int) int {
	if topics >= universe {
		return 1
	}
	missed := 1 - float64(topics)/float64(universe)
	return int(math.Ceil(math.Log(0.005) / math.Log(missed)))
}
