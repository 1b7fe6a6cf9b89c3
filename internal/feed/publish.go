// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"tickedge/internal/broker"
)

// router is the route from topics to sources: the first with a pattern that matches, or the last.
type router [][]string

func (c Config) router() (r router) {
	for _, s := range c {
		r = append(r, s.Patterns)
	}
	return r
}

func (r router) route(topic string) int {
	last := len(r) - 1
	for i := range last {
		for _, p := range r[i] {
			if match(p, topic) {
				return i
			}
		}
	}
	return last
}

// Of is the part of a configuration that has a topic, as one that has all topics.
func (c Config) Of(topic string) Config {
	if len(c) == 0 {
		return nil
	}
	s := c[c.router().route(topic)]
	s.Patterns = nil
	return Config{s}
}

// publisher writes each tick into the broker that has its topic.
type publisher struct {
	router
	to []broker.Publisher
}

// NewPublisher returns a publisher into the brokers of cfg, each of the topics that it has there. One that
// is away holds up the ticks that are published together with its own: who writes into several at a time, and
// must not wait, has an [Outbox]. Its connections close when ctx ends.
func NewPublisher(ctx context.Context, cfg Config, log *slog.Logger) (broker.Publisher, error) {
	to, err := cfg.publishers(ctx, log)
	switch {
	case err != nil:
		return nil, err
	case len(to) == 1:
		return to[0], nil
	}
	return &publisher{cfg.router(), to}, nil
}

func (c Config) publishers(ctx context.Context, log *slog.Logger) ([]broker.Publisher, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	var brokers []broker.Config
	for _, s := range c {
		brokers = append(brokers, s.Broker)
	}
	return publishers(ctx, brokers, log)
}

// publishers are those into each of brokers.
func publishers(ctx context.Context, brokers []broker.Config, log *slog.Logger) (to []broker.Publisher, err error) {
	for _, b := range brokers {
		p, err := b.Publisher(ctx, log)
		if err != nil {
			for _, p := range to {
				p.Close()
			}
			return nil, err
		}
		to = append(to, p)
	}
	return to, nil
}

// Publish implements [broker.Publisher]: all brokers at the same time.
func (p *publisher) Publish(ctx context.Context, ticks []broker.Tick) bool {
	parts, from := make([][]broker.Tick, len(p.to)), make([][]int, len(p.to))
	for i, t := range ticks {
		of := p.route(t.Topic)
		parts[of], from[of] = append(parts[of], t), append(from[of], i)
	}
	all := make([]bool, len(p.to))
	var wg sync.WaitGroup
	for i, part := range parts {
		if all[i] = len(part) == 0; !all[i] {
			wg.Go(func() { all[i] = p.to[i].Publish(ctx, part) })
		}
	}
	wg.Wait()
	done := true
	for i, part := range parts {
		done = done && all[i]
		for k, t := range part {
			ticks[from[i][k]].Fate = t.Fate
		}
	}
	return done
}

// Connected implements [broker.Publisher]: all are.
func (p *publisher) Connected() bool {
	for _, to := range p.to {
		if !to.Connected() {
			return false
		}
	}
	return true
}

// Close implements [broker.Publisher].
func (p *publisher) Close() {
	for _, to := range p.to {
		to.Close()
	}
}

// Outbox is a [broker.Queue] in front of each broker of a feed, so that none holds up another.
type Outbox struct {
	router
	to     []broker.Publisher
	queues []*broker.Queue
}

// NewOutbox returns an outbox in which at most so many topics of each broker wait. The connections close
// when ctx ends.
func NewOutbox(ctx context.Context, cfg Config, log *slog.Logger, maxTopics int) (*Outbox, error) {
	to, err := cfg.publishers(ctx, log)
	if err != nil {
		return nil, err
	}
	o := &Outbox{router: cfg.router(), to: to}
	for _, p := range to {
		o.queues = append(o.queues, broker.NewQueue(p, maxTopics))
	}
	return o, nil
}

// Put is that of the [broker.Queue] in front of the topic's broker.
func (o *Outbox) Put(t broker.Tick, done func(broker.Fate)) error {
	return o.queues[o.route(t.Topic)].Put(t, done)
}

// Run publishes until ctx ends, see [broker.Queue]. It is called once, and closes the publishers at last.
func (o *Outbox) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, q := range o.queues {
		wg.Go(func() { q.Run(ctx) })
	}
	wg.Wait()
	for _, p := range o.to {
		p.Close()
	}
}

// Stats is the sum of all queues. It is connected when all are.
func (o *Outbox) Stats() (all broker.QueueStats) {
	all.Connected = true
	for _, q := range o.queues {
		s := q.Stats()
		all.Waiting += s.Waiting
		all.Taken += s.Taken
		all.Outdated += s.Outdated
		all.Superseded += s.Superseded
		all.Flawed += s.Flawed
		all.Refused += s.Refused
		all.Denied += s.Denied
		all.Connected = all.Connected && s.Connected
	}
	return all
}
