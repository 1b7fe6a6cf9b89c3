// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
)

// answer is an error of Redis, by the words with which it begins.
type answer struct {
	words string
	cause broker.Cause
	hint  string // What to do about it; "" for nothing in particular.
}

// answers are told apart by whole words. ERR before them is passed over.
var answers = []answer{
	{"NOPERM", broker.NotPermitted, "permit the Redis user the commands, channels and keys of the feed (ACL SETUSER)"},
	{"NOAUTH", broker.NotLetIn, "Redis wants a password: put it into the Redis URL, redis://user:password@host, or redis://:password@host without a user"},
	{"WRONGPASS", broker.NotLetIn, "correct the user or the password in the Redis URL (ACL LIST shows the users)"},
	{"invalid password", broker.NotLetIn, "correct the user or the password in the Redis URL"},
	{"AUTH <password> called without", broker.NotLetIn, needsNoPassword},
	{"AUTH", broker.NotLetIn, ""},
	{"DENIED", broker.NotLetIn, "Redis is in protected mode, which lets in its own host only: set a password (requirepass) and put it into the Redis URL, " +
		"or bind it to a private address and set protected-mode no"},
	{"WRONGTYPE", broker.WrongType, "correct the names of keys: the newest value of a topic has to be a string, and a stream a stream"},
	{"MOVED", broker.Elsewhere, isCluster},
	{"ASK", broker.Elsewhere, isCluster},
	{"TRYAGAIN", broker.Elsewhere, ""},
	{"CROSSSLOT", broker.Elsewhere, ""},
	{"LOADING", broker.Loading, "wait until Redis has loaded its data"},
	{"MASTERDOWN", broker.Down, "the server is a replica that has lost its primary: wait, or give the primary, or the sentinels (redis-sentinel://)"},
	{"CLUSTERDOWN", broker.Down, "the Redis Cluster is down, or has slots without a node: redis-cli --cluster check"},
	{"BUSY", broker.Busy, "a script runs in Redis: wait, or end it (SCRIPT KILL, FUNCTION KILL)"},
	{"OOM", broker.OutOfMemory, "Redis has as much memory as it may: raise maxmemory, or set an eviction policy"},
	{"READONLY", broker.ReadOnly, "the server is a replica, which takes no writes: give the primary, or the sentinels (redis-sentinel://)"},
	{"MISCONF", broker.ReadOnly, "Redis can't store its data and takes no writes: see its log, mostly for a disk that is full"},
	// Of clients alone, or with connections of the cluster.
	{"max number of clients", broker.TooManyClients, "raise maxclients in the configuration of Redis, and its limit of open files with it, or find out who holds the connections (CLIENT LIST)"},

	// What a greeting may get, which has no topics.
	{"Client sent AUTH, but no password", broker.OtherCause, needsNoPassword},
	{"wrong number of arguments for 'auth'", broker.OtherCause, "this Redis is older than 6 and has no users: leave the user out of the Redis URL, redis://:password@host"},
	{"This instance has cluster support disabled", broker.OtherCause, "the server is no part of a Redis Cluster: use redis:// in the URL"},
	{"DB index is out of range", broker.OtherCause, "correct the database in the Redis URL, or raise databases in the configuration of Redis"},
	{"SELECT is not allowed in cluster mode", broker.OtherCause, "a Redis Cluster has no databases: use redis-cluster:// in the URL, without one"},
}

// Hints of several answers.
const (
	needsNoPassword = "Redis asks for no password: leave it out of the Redis URL, or set requirepass there"
	isCluster       = "the server is part of a Redis Cluster: use redis-cluster:// in the URL"
)

// answerOf finds what an error of Redis tells. The first that fits holds.
func answerOf(text string) answer {
	text = strings.TrimPrefix(text, "ERR ")
	for _, a := range answers {
		if rest, ok := strings.CutPrefix(text, a.words); ok && (rest == "" || rest[0] == ' ') {
			return a
		}
	}
	return answer{cause: broker.OtherCause}
}

// causeOf is what an error tells. What is no answer of Redis is [broker.Unreachable].
func causeOf(err error) broker.Cause {
	var said goredis.Error
	if !errors.As(err, &said) {
		return broker.Unreachable
	}
	return answerOf(said.Error()).cause
}

// concernsAll reports whether an error is no matter of a channel or a key: Redis would say
// the same whatever it is asked for, or says nothing at all.
func concernsAll(err error) bool {
	switch causeOf(err) {
	case broker.NotLetIn, broker.Loading, broker.Busy, broker.TooManyClients, broker.Unreachable:
		return true
	case broker.Down:
		return !strings.Contains(err.Error(), "Hash slot not served")
	}
	return false
}

// isAlive reports whether the answer to a PING shows that Redis is there. A server that can't
// save its data to disk answers MISCONF, and serves all that a feed asks of it.
func isAlive(err error) bool { return err == nil || goredis.HasErrorPrefix(err, "MISCONF") }

// retryEvery is a beat of [patience].
const retryEvery = time.Second

// retry has what was refused asked for again in its time, until ctx ends.
func (s *server) retry(ctx context.Context) error {
	for broker.Sleep(ctx, retryEvery*9/10+rand.N(retryEvery/5)) {
		s.wants.beat()
		s.tellMended()
	}
	return nil
}

// refuseRead notes that Redis refuses the value of a topic.
func (s *server) refuseRead(of fetch, err error) {
	c := causeOf(err)
	s.counters[broker.FetchFailures].Add(1)
	s.refusals[c].Add(1)
	first := 0
	if s.wants.forbidden(of, c) {
		first = 1
	}
	s.tellRefused(c, fmt.Errorf("GETRANGE %s: %w", s.key.name(of.topic), err), of.topic, first)
}

// tellRefused logs that Redis refuses topics which it did not refuse before: a line for each cause,
// and not for each topic. What is refused again is none.
func (s *server) tellRefused(c broker.Cause, err error, topic string, first int) {
	if first == 0 {
		return
	}
	s.warned.Store(true)
	if s.refusedLog[c].now() {
		s.log.Warn("redis feed: topics are refused", "cause", c.Label(), "error", err, "topic", topic,
			"refused", s.wants.refusedNow()[c], "hint", s.cure(c, err))
	}
}

// tellKept logs that Redis does not let us end subscriptions.
func (s *server) tellKept(c broker.Cause, err error) {
	if s.keptLog.now() {
		s.log.Warn("redis feed: topics that nobody wants any more can't be unsubscribed", "cause", c.Label(), "error", err,
			"hint", s.cure(c, err))
	}
}

// tellMended logs that nothing is refused any more, if the log has said that something is.
func (s *server) tellMended() {
	if !s.warned.Load() || s.wants.refusedNow() != [broker.Causes]int64{} {
		return
	}
	s.warned.Store(false)
	if s.mendedLog.now() {
		s.log.Info("redis feed: no topic is refused any more")
	}
}

// cure says what an operator can do about topics that are refused.
func (s *server) cure(c broker.Cause, err error) string {
	if c != broker.NotPermitted {
		return hint(err)
	}
	return fmt.Sprintf("permit the Redis user the channels and keys of all topics: ACL SETUSER <user> &%s +%s +%s ~%s +getrange",
		s.channel.name("*"), s.verbs.subscribe, s.verbs.unsubscribe, s.key.name("*"))
}

// rarely is when to say something again that lasts, such as how many topics are refused: that each
// of them is, is no news. The zero value is ready, and may be used from any goroutine.
type rarely struct{ last atomic.Pointer[time.Time] } // With the monotonic clock: that of the day may be set back.

// sayEvery is the time between two lines about the same.
const sayEvery = 10 * time.Second

// now reports whether it is to be said now.
func (r *rarely) now() bool {
	last, now := r.last.Load(), time.Now()
	return (last == nil || now.Sub(*last) >= sayEvery) && r.last.CompareAndSwap(last, &now)
}
