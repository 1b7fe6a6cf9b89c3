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

// answerCauses says with which words the errors of Redis begin, and what each tells. ERR before
// them is passed over.
var answerCauses = []struct {
	words string
	cause broker.Cause
}{
	{"NOPERM", broker.NotPermitted},
	{"NOAUTH", broker.NotLetIn},
	{"WRONGPASS", broker.NotLetIn},
	{"invalid password", broker.NotLetIn},
	{"AUTH", broker.NotLetIn}, // <password> called without any password configured.
	{"DENIED", broker.NotLetIn},
	{"WRONGTYPE", broker.WrongType},
	{"MOVED", broker.Elsewhere},
	{"ASK", broker.Elsewhere},
	{"TRYAGAIN", broker.Elsewhere},
	{"CROSSSLOT", broker.Elsewhere},
	{"LOADING", broker.Loading},
	{"MASTERDOWN", broker.Down},
	{"CLUSTERDOWN", broker.Down},
	{"BUSY", broker.Busy},
	{"OOM", broker.OutOfMemory},
	{"READONLY", broker.ReadOnly},
	{"MISCONF", broker.ReadOnly},
	{"max number of clients reached", broker.TooManyClients},
}

// causeOf is what an error tells. What is no answer of Redis is [broker.Unreachable].
func causeOf(err error) broker.Cause {
	var said goredis.Error
	if !errors.As(err, &said) {
		return broker.Unreachable
	}
	text := strings.TrimPrefix(said.Error(), "ERR ")
	for _, a := range answerCauses {
		if rest, ok := strings.CutPrefix(text, a.words); ok && (rest == "" || rest[0] == ' ') {
			return a.cause
		}
	}
	return broker.OtherCause
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
	for sleep(ctx, retryEvery*9/10+rand.N(retryEvery/5)) {
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
type rarely struct{ last atomic.Int64 }

// sayEvery is the time between two lines about the same.
const sayEvery = 10 * time.Second

// now reports whether it is to be said now.
func (r *rarely) now() bool {
	last, now := r.last.Load(), time.Now().UnixMilli()
	return now-last >= sayEvery.Milliseconds() && r.last.CompareAndSwap(last, now)
}
