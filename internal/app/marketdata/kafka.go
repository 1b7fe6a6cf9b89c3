// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"errors"
	"fmt"

	"tickedge/internal/bars"
	"tickedge/internal/broker/kafka"
	"tickedge/internal/exchange"
	"tickedge/internal/history"
	"tickedge/internal/panics"
	"tickedge/internal/trade"
)

const (
	inKafka = "kafka"
	// partitions is how many a topic is made with that is not there.
	partitions = 16
	// barsMost bounds the bars that wait for Kafka. While there is no room they wait in their shards.
	barsMost  = 20_000
	barsBatch = 1000
)

// startKafka checks the topics, and has bars and the trades of exchanges written.
func (p *program) startKafka(ctx context.Context) error {
	c := p.cfg
	if c.kafka.URL == "" {
		return nil
	}
	var topics []kafka.Topic
	for _, name := range []string{c.kafkaTrades, c.kafkaBars} {
		if name != "" {
			topics = append(topics, kafka.Topic{Name: name, Partitions: partitions})
		}
	}
	p.log.Info("asking Kafka for its topics", "address", c.kafka.String())
	if err := c.kafka.Prepare(ctx, true, topics...); err != nil {
		return err
	}
	w := kafka.WriterConfig{Kafka: c.kafka, Bars: c.kafkaBars, Format: kafka.Format(c.kafkaFormat)}
	if !c.readsKafka() {
		w.Trades = c.kafkaTrades
	} else if err := kafka.CheckLoop(ctx, c.kafka, c.kafkaTrades, c.kafka, c.kafkaBars); err != nil {
		return err
	}
	writer, err := kafka.NewWriter(w, p.log)
	if err != nil {
		return err
	}
	p.writer = writer
	p.working.Go(func() { panics.Keep(p.work, panics.Feed, p.log, writer.Run) })
	queue := history.NewWriter(putBars(writer.Bars), history.WriterConfig{Most: barsMost, Batch: barsBatch, Log: p.log.With("store", "kafka")})
	p.write(queue, writer.Flush)
	return nil
}

// putBars stores bars in a log.
type putBars func(ctx context.Context, b []bars.Bar) error

// Put implements [history.Putter].
func (f putBars) Put(ctx context.Context, b []bars.Bar) error { return f(ctx, b) }

// partitionOwner makes the shards of the partitions that this process has.
type partitionOwner struct{ p *program }

// Assigned implements [kafka.Owner].
func (o partitionOwner) Assigned(ctx context.Context, number int32) (kafka.Shard, kafka.Position, error) {
	c := o.p.cfg
	s := newShard(o.p, fmt.Sprintf("%s.%s.%d", c.checkpointName, c.kafkaTrades, number))
	s.all, s.behind, s.patient = true, true, true
	s.stored = func(topic string, offset int64) {
		o.p.reader.Stored(number, kafka.Position{Topic: topic, Offset: offset})
	}
	if err := s.load(ctx); err != nil {
		return nil, kafka.Position{}, err
	}
	work, end := context.WithCancel(context.Background())
	k := &partition{p: o.p, s: s, end: end, ended: make(chan struct{})}
	o.p.own(s, true)
	o.p.working.Go(func() {
		defer close(k.ended)
		defer o.p.own(s, false)
		if k.err = s.run(work); k.err != nil {
			o.p.log.Error("a partition is not gone on with", "checkpoint", s.name, "error", k.err)
		}
	})
	return k, kafka.Position{Topic: s.topic, Offset: s.offset}, nil
}

// partition is the shard of a partition.
type partition struct {
	p     *program
	s     *shard
	end   context.CancelFunc
	ended chan struct{}
	err   error
	read  context.Context // Ends when the partition is read no more; nil before the first call.
}

var errPartitionEnded = errors.New("the shard of the partition has ended")

func (k *partition) send(ctx context.Context, it item) error {
	select {
	case k.s.in <- it:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-k.ended:
		if k.err != nil {
			return k.err
		}
		return errPartitionEnded
	}
}

// Trade implements [kafka.Shard], as do the other methods.
func (k *partition) Trade(ctx context.Context, t trade.Trade, next kafka.Position) error {
	k.read = ctx
	return k.send(ctx, item{kind: tradeItem, trade: t, at: next.Offset, source: next.Topic})
}

func (k *partition) Passed(ctx context.Context, next kafka.Position) error {
	k.read = ctx
	return k.send(ctx, item{kind: passedItem, at: next.Offset, source: next.Topic})
}

func (k *partition) Gap(from, to int64, why string) {
	k.p.log.Warn("records of Kafka were missed: bars of that time lack them", "checkpoint", k.s.name, "from", from, "to", to, "cause", why)
}

// CaughtUp waits as Trade does. Before the first trade there is room.
func (k *partition) CaughtUp() {
	ctx := k.read
	if ctx == nil {
		ctx = context.Background()
	}
	_ = k.send(ctx, item{kind: caughtUpItem, on: true})
}

func (k *partition) Revoked(ctx context.Context) {
	k.end()
	select {
	case <-k.ended:
	case <-ctx.Done():
	}
}

// Lost ends it without a checkpoint: another may have stored one already, and then it would be refused.
func (k *partition) Lost() {
	k.s.lost.Store(true)
	k.end()
	<-k.ended
}

// own notes that the process has a shard of a partition, or has it no more.
func (p *program) own(s *shard, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []*shard
	for _, has := range p.shards {
		if has != s {
			left = append(left, has)
		}
	}
	if on {
		left = append(left, s)
	}
	p.shards = left
}

// owned are the shards that the process has now.
func (p *program) owned() []*shard {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shards
}

// tradeWriter is in front of a router: what an inlet brings goes into Kafka too.
type tradeWriter struct {
	*router
	to *kafka.Writer
}

// Trade implements [exchange.Sink].
func (w tradeWriter) Trade(t trade.Trade) {
	if err := w.to.Trade(w.ctx, t, w.live); err != nil && w.ctx.Err() == nil {
		w.log.Error("a trade is not in Kafka", "symbol", t.Symbol.Name, "id", t.ID, "error", err)
	}
	w.router.Trade(t)
}

var _ exchange.Sink = tradeWriter{}
