// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/broker/redis/redistest"
)

// go-redis has a line for each failed dial, and there are many here.
func init() { redis.SetLogger(silence{}) }

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// redisTarget writes what a topic's key holds and its message in one transaction.
type redisTarget struct {
	client redis.UniversalClient
	stream string // Its key, if ticks go into one.
	// sharded holds for a cluster: channels are those of SPUBLISH, in their keys' slots.
	sharded bool
}

func (u *redisTarget) channel(topic int) string { return "channel:prices:" + u.inName(topic) }
func (u *redisTarget) key(topic int) string     { return "price:" + u.inName(topic) }

func (u *redisTarget) inName(topic int) string {
	if u.sharded {
		return "{" + topicName(topic) + "}"
	}
	return topicName(topic)
}

func (u *redisTarget) write(ctx context.Context, topics []int, values []string, first [][]any) error {
	if u.sharded {
		return u.scripts(ctx, topics, values)
	}
	_, err := u.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, command := range first {
			tx.Do(ctx, command...)
		}
		for i, topic := range topics {
			tx.Set(ctx, u.key(topic), values[i], 0)
			if u.stream != "" {
				tx.XAdd(ctx, &redis.XAddArgs{Stream: u.stream, Values: []any{"topic", topicName(topic), "value", values[i]}})
			} else {
				tx.Publish(ctx, u.channel(topic), values[i])
			}
		}
		return nil
	})
	return err
}

// scripts are the transactions of a cluster, one for each tick.
func (u *redisTarget) scripts(ctx context.Context, topics []int, values []string) error {
	const script = `redis.call('SET',KEYS[1],ARGV[1]) return redis.call('SPUBLISH',KEYS[2],ARGV[1])`
	client := u.client.(*redis.ClusterClient)
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, topic := range topics {
			pipe.Eval(ctx, script, []string{u.key(topic), u.channel(topic)}, values[i])
		}
		return nil
	})
	if err != nil {
		client.ReloadState(ctx) // From a primary that is dead, go-redis does not go on to the new one.
	}
	return err
}

func (u *redisTarget) stored(ctx context.Context, topic int) (seq uint64, held bool, err error) {
	value, err := u.client.Get(ctx, u.key(topic)).Bytes()
	for err != nil && !errors.Is(err, redis.Nil) && ctx.Err() == nil { // A connection of the client may be that to a primary of before.
		time.Sleep(50 * time.Millisecond)
		value, err = u.client.Get(ctx, u.key(topic)).Bytes()
	}
	if err != nil {
		return 0, true, err
	}
	seq, err = seqIn(value)
	return seq, true, err
}

// redisMode is how edges read one Redis.
type redisMode struct {
	stream string
	flags  []string
}

var (
	inChannels = redisMode{}
	byPattern  = redisMode{flags: []string{"-redis-mode", "pattern"}}
	inStream   = redisMode{stream: "ticks", flags: []string{"-redis-mode", "stream", "-redis-stream", "ticks"}}
)

// at is a server that publishers reach directly, and edges by url.
func (m redisMode) at(t *testing.T, s *redistest.Server, url string) *upstream {
	client := redis.NewClient(&redis.Options{
		Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
	})
	t.Cleanup(func() { client.Close() })
	return &upstream{url: url, flags: m.flags, target: &redisTarget{client: client, stream: m.stream}}
}

// cells are those of one server, which are the same in all modes.
func (m redisMode) cells() map[harm]fault {
	return map[harm]fault{
		restartedKept:   {told: atLength, prepare: m.restartKept},
		restartedEmpty:  {told: atLength, emptied: true, prepare: m.restartEmpty},
		frozen:          {told: atLength, prepare: m.frozen},
		packetsLost:     {told: atLength, prepare: m.packetsDropped},
		passwordChanged: {told: atLength, prepare: m.passwordChanged},
		streamEmptied:   no(noStream),
		streamAnew:      no(noStream),
		primaryKilled:   no(oneServer),
		primaryFrozen:   no(oneServer),
		handedOver:      no(oneServer),
		dataMoved:       no(oneServer),
		replicaBehind:   no(oneServer),
	}
}

func redisChannels() map[harm]fault {
	cells := inChannels.cells()
	cells[connectionsKilled] = fault{told: inPassing, prepare: inChannels.subscribersKilled}
	cells[tooSlow] = fault{told: inPassing, prepare: inChannels.outputBufferLimit}
	cells[topicForbidden] = fault{told: inPassing, moreTime: refusedTime, prepare: channelForbidden}
	return cells
}

func redisPattern() map[harm]fault {
	cells := byPattern.cells()
	cells[connectionsKilled] = fault{told: inPassing, prepare: byPattern.subscribersKilled}
	cells[tooSlow] = fault{told: inPassing, prepare: byPattern.outputBufferLimit}
	cells[topicForbidden] = no(allAsWhole)
	return cells
}

// A stream is read on from where one was, so that nothing is missed of what it still has.
func redisStream() map[harm]fault {
	cells := inStream.cells()
	for _, h := range []harm{restartedKept, frozen, packetsLost, passwordChanged} {
		f := cells[h]
		f.gaps = gapless
		cells[h] = f
	}
	cells[connectionsKilled] = fault{told: inPassing, gaps: gapless, prepare: readersKilled}
	cells[tooSlow] = no("who reads a stream asks for each part of it, and nothing is pushed")
	cells[topicForbidden] = no(allAsWhole)
	cells[streamEmptied] = fault{told: atLength, prepare: streamTrimmed}
	cells[streamAnew] = fault{told: atLength, prepare: streamDeleted}
	return cells
}

func (m redisMode) restartKept(t *testing.T) (*upstream, func(*faultRun)) {
	// What is not in the file is not handed out either.
	return m.restart(t, redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always", "--dir", t.TempDir()))
}

func (m redisMode) restartEmpty(t *testing.T) (*upstream, func(*faultRun)) {
	return m.restart(t, redistest.Start(t))
}

func (m redisMode) restart(t *testing.T, s *redistest.Server) (*upstream, func(*faultRun)) {
	relay := newRelay(t, s.Addr())
	return m.at(t, s, relay.url()), func(r *faultRun) {
		relay.refuse() // So that the edges can't be there before the ticks that they are to miss.
		s.Kill()
		r.toldDown()
		if *longFaults {
			r.lasts()
		}
		s.Start()
		r.tick(quiet())
		relay.admit()
	}
}

func (m redisMode) subscribersKilled(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	return m.at(t, s, s.URL()), func(r *faultRun) {
		r.tick(quiet(), []any{"CLIENT", "KILL", "TYPE", "pubsub"})
	}
}

// Redis cuts off subscribers that do not take their messages fast enough.
func (m redisMode) outputBufferLimit(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub 1mb 0 0")
	up := m.at(t, s, s.URL())
	return up, func(r *faultRun) {
		flood := strings.Repeat("x", 2<<20)
		var first [][]any
		for edge := range r.edges { // They have different topics.
			first = append(first, []any{"PUBLISH", up.target.(*redisTarget).channel(edge * topicsPerClient), flood})
		}
		r.tick(quiet(), first...)
	}
}

func (m redisMode) frozen(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	return m.at(t, s, s.URL()), func(r *faultRun) { r.freeze(s) }
}

// freeze stops a server, has the quiet topics tick meanwhile, and lets it go on: it finds the ticks in
// its sockets, and the edges gone.
func (r *faultRun) freeze(s interface {
	Freeze()
	Thaw()
}) {
	r.t.Helper()
	s.Freeze()
	thaw := sync.OnceFunc(s.Thaw)
	defer thaw() // If the test fails, too.
	var ticked sync.WaitGroup
	ticked.Go(func() { r.tick(quiet()) })
	r.toldDown()
	r.lasts()
	thaw()
	ticked.Wait()
}

func (m redisMode) packetsDropped(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	relay := newRelay(t, s.Addr())
	return m.at(t, s, relay.url()), func(r *faultRun) { r.losePackets(relay) }
}

// losePackets cuts edges off from their broker without a word, and has the quiet topics tick meanwhile.
func (r *faultRun) losePackets(relay *relay) {
	r.t.Helper()
	relay.drop()
	r.tick(quiet())
	r.toldDown()
	r.lasts()
	relay.heal()
}

// The edges' user, apart from that of the publishers.
const (
	edgeUser     = "edge"
	edgePassword = "open-sesame"
)

// asUser is a server with a user for edges, who may have every topic.
func (m redisMode) asUser(t *testing.T) (*redistest.Server, *upstream) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", edgeUser, "on", ">"+edgePassword, "~*", "&channel:prices:*", "+@all")
	return s, m.at(t, s, strings.Replace(s.URL(), "://", "://"+edgeUser+":"+edgePassword+"@", 1))
}

func (m redisMode) passwordChanged(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := m.asUser(t)
	return up, func(r *faultRun) {
		s.Do("ACL", "SETUSER", edgeUser, "resetpass", ">another")
		s.Do("CLIENT", "KILL", "USER", edgeUser)
		r.tick(quiet())
		r.toldDown()
		if *longFaults {
			r.lasts()
		}
		s.Do("ACL", "SETUSER", edgeUser, "resetpass", ">"+edgePassword)
	}
}

// refusedTime is how long a topic that is refused may wait for its turn.
const refusedTime = 8 * time.Second

// Redis ends connections with a subscription that is forbidden, and refuses it on the next ones.
func channelForbidden(t *testing.T) (*upstream, func(*faultRun)) {
	s, up := inChannels.asUser(t)
	return up, func(r *faultRun) {
		forbidden := ofEitherEdge()
		rule := []any{"ACL", "SETUSER", edgeUser, "resetchannels"}
		for _, topic := range every(1, 0) {
			if !slices.Contains(forbidden, topic) {
				rule = append(rule, "&"+up.target.(*redisTarget).channel(topic))
			}
		}
		s.Do(rule...)
		r.forbidden(forbidden)
		s.Do("ACL", "SETUSER", edgeUser, "resetchannels", "&channel:prices:*")
	}
}

// Who reads a stream goes on where it was.
func readersKilled(t *testing.T) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	return inStream.at(t, s, s.URL()), func(r *faultRun) {
		r.tick(quiet(), []any{"CLIENT", "KILL", "TYPE", "normal"}) // All but the own connection.
	}
}

// Entries that the edges have not read yet are gone when they come back.
func streamTrimmed(t *testing.T) (*upstream, func(*faultRun)) {
	return streamHarmed(t, "XTRIM", inStream.stream, "MAXLEN", 0)
}

// The stream is another one when they come back, which has what ticked since.
func streamDeleted(t *testing.T) (*upstream, func(*faultRun)) {
	return streamHarmed(t, "DEL", inStream.stream)
}

func streamHarmed(t *testing.T, command ...any) (*upstream, func(*faultRun)) {
	s := redistest.Start(t)
	relay := newRelay(t, s.Addr())
	return inStream.at(t, s, relay.url()), func(r *faultRun) {
		relay.cut()
		r.toldDown()
		r.tick(quiet())
		s.Do(command...)
		relay.admit()
	}
}
