// Package feed is where ticks come from: a Redis that others publish to, and, for
// demonstrations and load, the publishers themselves.
//
// [Redis] keeps a [topics.Table] up to date. [Publisher] writes the ticks of a
// [Source], the simulated [Market] or a recorded [Replay], into a Redis. [Embedded]
// is a Redis inside the process.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/topics"
)

// sweepEvery is how often topics that nobody wants any more are given up.
const sweepEvery = time.Second

// Redis is a feed of ticks from a Redis server: it subscribes to the channels of the
// topics that its table wants, publishes what comes into the table, and fetches the
// newest value of a topic whenever ticks of it may have been missed.
//
// Publishers have to SET a topic's key before they PUBLISH on its channel, or do
// both in a transaction. The other way round, a fetch between the two finds the
// older value, and a topic that then falls quiet keeps it.
//
// The URL's user needs SUBSCRIBE, UNSUBSCRIBE, PING and GET, and permission for the
// channel and the key of every topic.
type Redis struct {
	cfg     RedisConfig
	opts    *redis.Options
	channel template
	key     template
	table   *topics.Table
	log     *slog.Logger
	wants   *wants

	inspector  inspector
	refusedLog throttle
	fetchLog   throttle
	counters   counters
}

// counters has the fields of [Stats], each of which has one writer.
type counters struct {
	ticks, unwanted, gaps, repairs, refused, fetchFailures, connects atomic.Uint64
	connected                                                        atomic.Bool
	channels                                                         atomic.Int64
	lastError                                                        atomic.Pointer[string]
}

// Stats says what a [Redis] has done since it was made, and how it is.
type Stats struct {
	Ticks    uint64 // Messages that became the newest value of their topic.
	Unwanted uint64 // Messages of topics that nobody wanted any more.

	// Values dropped, received and fetched ones, by what was wrong with them.
	TooBig, NotUTF8, NotJSON uint64

	Gaps          uint64 // Connections that took topics over from an earlier one.
	Repairs       uint64 // Fetched values that were newer than the table's.
	FetchFailures uint64 // Topics whose fetch failed, each time it did.
	Refused       uint64 // SUBSCRIBE commands that Redis refused for lack of permission.
	Connects      uint64 // Connections that came to work.

	Connected     bool
	EverConnected bool
	Channels      int64  // Subscriptions that Redis has confirmed on this connection.
	Topics        int64  // Topics that the table wants, and some that are being given up.
	LastError     string // Why the feed was down last; it holds no credentials.
}

// NewRedis returns a feed into table, which is to have no other. It does not connect
// yet, see [Redis.Run].
func NewRedis(cfg RedisConfig, table *topics.Table, log *slog.Logger) (*Redis, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("redis feed: %w", err)
	}
	r := &Redis{cfg: cfg, table: table, log: log, wants: newWants(table)}
	r.opts, _ = cfg.options() // Valid, and so are the templates.
	r.channel, _ = newTemplate("channel", cfg.Channel)
	r.key, _ = newTemplate("key", cfg.Key)
	routeLog(log)
	return r, nil
}

// Run feeds the table until ctx ends, over as many connections as it takes. It
// returns nil, with every goroutine ended and every socket closed. It is to be called
// once.
func (r *Redis) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.drain(ctx) })
	r.reconnect(ctx, r.runLink)
	wg.Wait()
	return nil
}

// Stats may be called from any goroutine.
func (r *Redis) Stats() Stats {
	c := &r.counters
	s := Stats{
		Ticks:         c.ticks.Load(),
		Unwanted:      c.unwanted.Load(),
		TooBig:        r.inspector.counts[tooBig].Load(),
		NotUTF8:       r.inspector.counts[notUTF8].Load(),
		NotJSON:       r.inspector.counts[notJSON].Load(),
		Gaps:          c.gaps.Load(),
		Repairs:       c.repairs.Load(),
		FetchFailures: c.fetchFailures.Load(),
		Refused:       c.refused.Load(),
		Connects:      c.connects.Load(),
		Connected:     c.connected.Load(),
		Channels:      c.channels.Load(),
		Topics:        int64(r.wants.len()),
	}
	s.EverConnected = s.Connects > 0
	if e := c.lastError.Load(); e != nil {
		s.LastError = *e
	}
	return s
}

// drain carries the table's changes to r.wants, whatever state Redis is in: until it
// has, topics that were given up count against the table's maximum.
func (r *Redis) drain(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var changes []topics.Change
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-sweep.C:
			r.table.Sweep(now)
			r.table.Watch(now.UnixMilli())
		case <-r.table.Changed():
			changes = r.table.Changes(changes[:0])
			r.wants.apply(changes)
			clear(changes) // The names must not outlive their topics here.
		}
	}
}

// reconnect runs one link after the other until ctx ends. A link calls up when its
// connection works.
//
// A link that worked for less than backoffMax does not count as a success: to
// subscribe to everything ten times a second would be what finally kills a Redis that
// cuts us off for our backlog.
func (r *Redis) reconnect(ctx context.Context, runLink func(context.Context, func()) error) {
	var (
		wait  backoff
		down  time.Time // When the outage began; zero while there is none.
		upped time.Time // When this link came to work; zero while it has not.
	)
	up := func() {
		upped = time.Now()
		r.counters.connects.Add(1)
		r.counters.connected.Store(true)
		r.table.SetFeed(0, true, upped.UnixMilli())
		attrs := []any{"address", r.opts.Addr}
		if !down.IsZero() {
			attrs = append(attrs, "outage", time.Since(down).Round(time.Millisecond))
		}
		r.log.Info("redis feed up", attrs...)
		down = time.Time{}
	}
	for ctx.Err() == nil {
		upped = time.Time{}
		err := runLink(ctx, up)
		r.counters.connected.Store(false)
		r.table.SetFeed(0, false, time.Now().UnixMilli())
		r.counters.channels.Store(0)
		r.wants.reset()
		if ctx.Err() != nil {
			return
		}
		if !upped.IsZero() && time.Since(upped) >= backoffMax {
			wait.reset()
		}
		text := err.Error()
		r.counters.lastError.Store(&text)
		d := wait.next()
		if down.IsZero() {
			down = time.Now()
			r.log.Error("redis feed down", "address", r.opts.Addr, "error", err,
				"hint", hint(err), "retry_in", d.Round(time.Millisecond))
		} else {
			r.log.Debug("redis feed still down", "address", r.opts.Addr, "error", err,
				"retry_in", d.Round(time.Millisecond))
		}
		sleep(ctx, d)
	}
}

// receive takes one message or confirmation from Redis. It waits for nothing.
func (r *Redis) receive(m any) (gap bool) {
	switch m := m.(type) {
	case *redis.Message:
		topic, ok := r.channel.topic(m.Channel)
		switch {
		case !ok:
			r.counters.unwanted.Add(1)
		case !r.inspector.passes(r.log, topic, m.Payload):
		case r.table.Publish(topic, m.Payload, topics.Meta{At: time.Now().UnixMilli()}) == topics.Committed:
			r.counters.ticks.Add(1)
		default:
			r.counters.unwanted.Add(1)
		}
	case *redis.Subscription:
		r.counters.channels.Store(int64(m.Count))
		if m.Kind != subscribe {
			return false
		}
		if topic, ok := r.channel.topic(m.Channel); ok {
			return r.wants.confirm(topic)
		}
	}
	return false
}

// refuse deals with an error in place of a confirmation. Those that concern some
// topics only must not end the connection: clients choose the topics, and one could
// end the feed of all others with a name that Redis does not permit.
func (r *Redis) refuse(err error) error {
	if !redis.IsPermissionError(err) {
		return err
	}
	r.counters.refused.Add(1)
	r.wants.refused()
	if swallowed, ok := r.refusedLog.allow(); ok {
		r.log.Warn("redis feed: subscription refused", "error", err, "swallowed", swallowed,
			"hint", fmt.Sprintf("permit the Redis user the channels of all topics: ACL SETUSER <user> &%s +subscribe",
				r.channel.name("*")))
	}
	return nil
}

// errSilent is the error of a connection on which nothing came for too long.
var errSilent = errors.New("nothing was received within the timeout, pongs included")
