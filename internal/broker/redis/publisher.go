// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/resp"
)

// Publisher writes ticks into Redis. For each it sets the key of the topic and publishes on its
// channel, or adds an entry to the stream of [ModeStream], in this order and in one transaction.
// So who fetches a value after a message gets that value or a newer one, and no other publisher
// of the topic comes between the two.
//
// The ticks of a batch share their transaction: MULTI and EXEC around every tick made
// tickgen a third slower and cost Redis half as much CPU again, a script more than that.
// Ticks with versions go through a script, as many as come together at once.
type Publisher struct {
	cfg     Config
	up      *upstream
	channel template
	key     template
	log     *slog.Logger
	client  goredis.UniversalClient

	connected atomic.Bool // The last transaction went through.
	down      bool        // The last transaction failed, and that was logged.

	refusals   broker.Refusals
	refusedLog rarely
}

// Publisher implements [broker.Config].
func (c Config) Publisher(ctx context.Context, log *slog.Logger) (broker.Publisher, error) {
	return NewPublisher(ctx, c, log)
}

// NewPublisher returns a publisher whose connections close when ctx ends. It does not connect yet.
func NewPublisher(ctx context.Context, cfg Config, log *slog.Logger) (*Publisher, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	p := &Publisher{cfg: cfg, log: log}
	p.up, _ = cfg.upstream() // Valid, and so are the templates.
	p.channel, _ = newTemplate("channel", cfg.Channel)
	p.key, _ = newTemplate("key", cfg.Key)
	var err error
	if p.client, err = p.up.client(ctx); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	return p, nil
}

// Close is to be called when nothing is published any more.
func (p *Publisher) Close() { p.client.Close() }

// Connected implements [broker.Publisher], as does Publish.
func (p *Publisher) Connected() bool { return p.connected.Load() }

func (p *Publisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	return p.refusals.Publish(ticks, func(ticks []broker.Tick) bool { return p.publish(ctx, ticks) })
}

func (p *Publisher) publish(ctx context.Context, ticks []broker.Tick) bool {
	address := cmp.Or(strings.Join(p.up.addrs, ","), p.up.opts.Addr)
	var wait broker.Backoff
	for again := false; ; again = true {
		err := p.write(ctx, ticks, again)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			break
		}
		if c, ok := p.client.(*goredis.ClusterClient); ok {
			c.ReloadState(ctx) // From a primary that is dead, go-redis does not go on to the new one.
		}
		d := wait.Next()
		p.connected.Store(false)
		if !p.down { // Said once per outage.
			p.down = true
			p.log.Error("publisher down", "address", address, "error", err, "hint", hint(err), "retry_in", d.Round(time.Millisecond))
		}
		if !broker.Sleep(ctx, d) {
			return false
		}
	}
	p.down = false
	if !p.connected.Swap(true) {
		p.log.Info("publisher up", "address", address)
	}
	return true
}

// client returns a client of the servers of a publisher. Its connections close when ctx ends.
func (u *upstream) client(ctx context.Context) (goredis.UniversalClient, error) {
	own, err := u.at("", u.opts)
	if err != nil {
		return nil, err
	}
	own.Dialer = dialer(ctx, own)
	own.CredentialsProvider = u.credentials // It makes connections for as long as it lasts.
	var c goredis.UniversalClient
	switch u.kind {
	case sentinel:
		// To sentinels go-redis speaks RESP3, whatever the protocol is to be.
		own.Dialer = filtered(bareDialer(ctx, own), resp.Follower{Newer: true})
		c = goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: u.master, SentinelAddrs: u.addrs, SentinelUsername: u.sentinelOpts.Username, SentinelPassword: u.sentinelOpts.Password,
			CredentialsProvider: own.CredentialsProvider, DB: own.DB, Dialer: own.Dialer, DialerRetries: own.DialerRetries,
			DialTimeout: own.DialTimeout, ReadTimeout: own.ReadTimeout, WriteTimeout: own.WriteTimeout, ContextTimeoutEnabled: true,
			MaxRetries: own.MaxRetries, Protocol: own.Protocol, DisableIdentity: true,
		})
	case sharded:
		// It follows slots that move by itself, and is tried again after anything else.
		scout := &scout{ctx: ctx, upstream: u}
		c = goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: u.addrs, CredentialsProvider: own.CredentialsProvider, DialerRetries: own.DialerRetries,
			ClusterSlots: scout.slots, Dialer: filtered(scout.dialer(own), resp.Follower{}),
			DialTimeout: own.DialTimeout, ReadTimeout: own.ReadTimeout, WriteTimeout: own.WriteTimeout, ContextTimeoutEnabled: true,
			Protocol: own.Protocol, DisableIdentity: true, MaintNotificationsConfig: own.MaintNotificationsConfig,
		})
	default:
		c = goredis.NewClient(own)
	}
	c.AddHook(lasting{u})
	return c, nil
}
