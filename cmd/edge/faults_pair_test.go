// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

// pairTarget writes into both of two brokers, with a version in each value, and is done when either has taken it.
// What it had on its way into the other may arrive there late, and over what is newer.
type pairTarget [2]target

func (p pairTarget) write(ctx context.Context, topics []int, values []string, first [][]any) error {
	stamped := make([]string, len(values))
	for i, value := range values {
		seq, err := seqIn([]byte(value))
		if err != nil {
			return err
		}
		stamped[i] = fmt.Sprintf(`%s,"ver":%d}`, strings.TrimSuffix(value, "}"), seq)
	}
	var errs [2]error
	var wg sync.WaitGroup
	for i, half := range p {
		wg.Go(func() { errs[i] = half.write(ctx, topics, stamped, first) })
	}
	wg.Wait()
	if errs[0] == nil || errs[1] == nil {
		return nil
	}
	return errors.Join(errs[:]...)
}

func (p pairTarget) stored(ctx context.Context, topic int) (seq uint64, held bool, err error) {
	for _, half := range p {
		n, had, failed := half.stored(ctx, topic)
		if failed == nil && had {
			seq, held = max(seq, n), true
		}
		err = errors.Join(err, failed)
	}
	if held {
		err = nil
	}
	return seq, held, err
}

// pairOfRedis are the cells of two servers with the same ticks. The harm is done to one, and the other goes on.
func pairOfRedis() map[harm]fault {
	const both = "if it is done to both, it is as with one"
	undisturbed := func(prepare func(t *testing.T) (*upstream, func(*faultRun))) fault {
		return fault{told: nothing, gaps: anyGaps, prepare: prepare}
	}
	return map[harm]fault{
		restartedKept:     undisturbed(pairRestarted("--appendonly", "yes", "--appendfsync", "always")),
		restartedEmpty:    undisturbed(pairRestarted()),
		connectionsKilled: undisturbed(pairConnectionsKilled),
		tooSlow:           no("as connections killed"),
		frozen:            undisturbed(pairFrozen),
		packetsLost:       undisturbed(pairPacketsLost),
		topicForbidden:    no(both),
		passwordChanged:   no("as restarted: one is not to be had for some time"),
		streamEmptied:     no(noStream),
		streamAnew:        no(noStream),
		primaryKilled:     no("as restarted"),
		primaryFrozen:     no("as frozen"),
		handedOver:        no(oneServer),
		dataMoved:         no(oneServer),
		replicaBehind:     undisturbed(pairBehind),
	}
}

// pair is two servers, of which edges reach the first by an address.
func pair(t *testing.T, first *redistest.Server, addr string) (*upstream, *redistest.Server) {
	second := redistest.Start(t)
	one, two := inChannels.at(t, first, ""), inChannels.at(t, second, "")
	return &upstream{url: "redis://" + addr + "|" + second.URL(), target: pairTarget{one.target, two.target}}, second
}

func pairRestarted(args ...string) func(t *testing.T) (*upstream, func(*faultRun)) {
	return func(t *testing.T) (*upstream, func(*faultRun)) {
		if len(args) > 0 {
			args = append(args, "--dir", t.TempDir())
		}
		s := redistest.Start(t, args...)
		up, _ := pair(t, s, s.Addr())
		return up, func(r *faultRun) {
			s.Kill()
			r.tick(quiet())
			r.eventually("quiet topics are current while one is away", time.Now(), currentWithin, func() bool { return r.current(quiet()) })
			s.Start()
			r.tick(quiet())
		}
	}
}

func pairConnectionsKilled(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	relay := newRelay(t, s.Addr())
	up, _ := pair(t, s, relay.addr())
	return up, func(r *faultRun) {
		relay.cut()
		r.tick(quiet())
		relay.admit()
	}
}

func pairFrozen(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	up, _ := pair(t, s, s.Addr())
	return up, func(r *faultRun) {
		s.Freeze()
		thaw := sync.OnceFunc(s.Thaw)
		defer thaw() // If the test fails, too.
		r.tick(quiet())
		r.eventually("quiet topics are current while one is frozen", time.Now(), currentWithin, func() bool { return r.current(quiet()) })
		r.tick(quiet())
		thaw() // It finds ticks in its sockets that are older than what the other has.
	}
}

func pairPacketsLost(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	relay := newRelay(t, s.Addr())
	up, _ := pair(t, s, relay.addr())
	return up, func(r *faultRun) {
		relay.drop()
		r.tick(quiet())
		r.eventually("quiet topics are current while one is lost", time.Now(), currentWithin, func() bool { return r.current(quiet()) })
		relay.heal()
	}
}

// One of the two has older values of the quiet topics, and edges come to it anew.
func pairBehind(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	relay := newRelay(t, s.Addr())
	up, _ := pair(t, s, relay.addr())
	return up, func(r *faultRun) {
		relay.cut()
		older := make(map[string]string)
		to := up.target.(pairTarget)[0].(*redisTarget)
		for _, topic := range quiet() {
			older[to.key(topic)] = s.Do("GET", to.key(topic))
		}
		r.tick(quiet())
		r.eventually("quiet topics are current by the other one", time.Now(), currentWithin, func() bool { return r.current(quiet()) })
		for key, value := range older {
			s.Do("SET", key, value)
		}
		relay.admit()
		r.eventually("edges have come to it", time.Now(), currentWithin, func() bool {
			return !strings.Contains(s.Do("PUBSUB", "NUMSUB", to.channel(quiet()[0])), " 0") &&
				!strings.Contains(s.Do("PUBSUB", "NUMSUB", to.channel(quiet()[topicsPerClient/2])), " 0")
		})
	}
}
