// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"tickedge/internal/trade"
)

// ReaderConfig says what is read.
type ReaderConfig struct {
	Kafka Config
	Topic string // Of trades, in either format.
	Group string // Whose members share the partitions: all processes of one service.
	// Session is how long a member may be silent before its partitions go to others, and Rebalance how long it
	// may take to give some up: a checkpoint has to be stored within it. The defaults are 15 s and 60 s.
	Session, Rebalance time.Duration
	Table              *trade.Table
}

// Position is how far a partition has been read, for the checkpoint of its shard.
type Position struct {
	// Topic is the id of the topic, which another one of its name does not have. It is empty where the
	// brokers have none (Kafka before 2.8).
	Topic string
	// Offset is that of the next record. The zero Position is the beginning.
	Offset int64
}

// Owner makes the shards of partitions.
type Owner interface {
	// Assigned returns the shard of a partition that this process has from now on, and where it goes on: what
	// its checkpoint says. It is called one partition after the other, and has ReaderConfig.Rebalance for all. If it
	// fails it is called again until ctx ends, which it does when the partition goes elsewhere.
	Assigned(ctx context.Context, partition int32) (Shard, Position, error)
}

// Shard takes the trades of one partition, from a goroutine of its own, one call after the other. An error of Trade or
// Passed ends the reader: the shard can't go on. While they wait the partition is not read further than [partAhead].
type Shard interface {
	// Trade takes a trade that was checked. next is the position behind it. It waits while there is no room, until ctx ends.
	Trade(ctx context.Context, t trade.Trade, next Position) error
	// Passed tells that the partition was read up to a position, without trades at its end.
	Passed(ctx context.Context, next Position) error
	// Gap tells that records from an offset to another, which is not included, are missed for good.
	Gap(from, to int64, why string)
	// CaughtUp tells, once, that all has come that was in the partition when it was assigned. Nothing is to be told
	// to anybody before.
	CaughtUp()
	// Revoked tells that the partition goes to another process when this returns: its checkpoint has to be
	// stored by then. No other call comes after it.
	Revoked(ctx context.Context)
	// Lost tells that the partition may be another's already: nothing is to be stored or told any more. No
	// other call comes after it.
	Lost()
}

// ReaderStats says what a [Reader] has done, and how it is.
type ReaderStats struct {
	Partitions int // That it has now.
	Behind     int // Of these, those that have not caught up.
	Paused     int // Of these, those that are not fetched because their shards are full.
	// Lag is how many records there are, in all of its partitions, that its shards have not taken. It is as old as 10 s.
	Lag       int64
	Trades    uint64
	Flawed    uint64 // Records that were skipped.
	Unknown   uint64 // Of these, those whose symbol is not in the table.
	Gaps      uint64
	Missed    uint64 // Records in gaps.
	Taken     uint64 // Times that a partition was assigned.
	Revoked   uint64 // Times that one was given up.
	Lost      uint64 // Times that one was lost: this process was not heard of for too long.
	Failures  uint64 // Of fetches, commits and requests of offsets.
	LastError string
}

// Reader reads the trades of a topic as a member of a group. Partitions are shared evenly, and few of them
// move when a member comes or goes (cooperative-sticky).
type Reader struct {
	c      ReaderConfig
	opts   []kgo.Opt
	owner  Owner
	log    *slog.Logger
	client *kgo.Client
	admin  *kadm.Client
	ready  chan struct{} // Closed when client and admin are there: the client calls back before that.
	now    func() int64
	stop   context.CancelCauseFunc // Ends Run with the error of a shard.
	every  time.Duration           // See follow.

	mu    sync.Mutex
	parts map[int32]*part

	trades, flawed, unknown, gaps, missed, taken, revoked, lost, failures atomic.Uint64
	lag                                                                   atomic.Int64
	lastError                                                             atomic.Pointer[string]
}

// NewReader returns a reader, which does not connect before it is run.
func NewReader(c ReaderConfig, owner Owner, log *slog.Logger) (*Reader, error) {
	opts, err := c.Kafka.options()
	if err := errors.Join(err, checkTopic("topic", c.Topic), checkTopic("group", c.Group)); err != nil {
		return nil, err
	}
	c.Session, c.Rebalance = cmp.Or(c.Session, 15*time.Second), cmp.Or(c.Rebalance, time.Minute)
	if c.Session < time.Second || c.Rebalance < c.Session {
		return nil, fmt.Errorf("kafka session is %v and rebalance %v, want at least 1s, and the second no less than the first",
			c.Session, c.Rebalance)
	}
	r := &Reader{c: c, owner: owner, log: log, parts: make(map[int32]*part), ready: make(chan struct{}), every: 5 * time.Second,
		now: func() int64 { return time.Now().UnixMicro() }}
	r.opts = append(opts,
		kgo.ConsumerGroup(c.Group), kgo.ConsumeTopics(c.Topic),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(c.Session), kgo.RebalanceTimeout(c.Rebalance), kgo.HeartbeatInterval(c.Session/5),
		kgo.BlockRebalanceOnPoll(), kgo.DisableAutoCommit(),
		kgo.AdjustFetchOffsetsFn(r.assigned),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {}), // So that polls don't run beside it.
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { r.give(m[c.Topic], false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { r.give(m[c.Topic], true) }),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetchMax), kgo.FetchMaxPartitionBytes(fetchPartMax), kgo.MaxConcurrentFetches(3),
		kgo.FetchMaxWait(time.Second), kgo.MaxDecompressBatchBytes(inflatedMax))
	return r, nil
}

// Run reads until ctx ends, and then gives up its partitions: it returns when their checkpoints are stored.
// It returns early only with an error that trying again would not mend, or that of a shard. It is called once.
func (r *Reader) Run(ctx context.Context) error {
	client, err := kgo.NewClient(r.opts...)
	if err != nil {
		return err
	}
	stopped, stop := context.WithCancelCause(ctx)
	r.client, r.admin, r.stop = client, kadm.NewClient(client), stop
	close(r.ready)
	var all sync.WaitGroup
	all.Go(func() { r.follow(stopped) })
	r.poll(stopped)
	stop(nil)
	all.Wait()
	client.CloseAllowingRebalance() // Leaving the group calls give.
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(stopped)
}

// pollMax bounds the records that are taken from the client at a time.
const pollMax = 1000

func (r *Reader) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := r.client.PollRecords(ctx, pollMax)
		fetches.EachError(func(topic string, partition int32, err error) {
			if !errors.Is(err, context.Canceled) {
				r.failure("kafka can't be read", err, "topic", topic, "partition", partition)
			}
		})
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { r.dispatch(p.FetchPartition) })
		r.client.AllowRebalance()
	}
}

func (r *Reader) dispatch(f kgo.FetchPartition) {
	r.mu.Lock()
	p := r.parts[f.Partition]
	r.mu.Unlock()
	if p != nil && len(f.Records) > 0 {
		p.put(f)
	}
}

func (r *Reader) of(partition int32) map[string][]int32 {
	return map[string][]int32{r.c.Topic: {partition}}
}

func (r *Reader) failure(what string, err error, args ...any) {
	r.failures.Add(1)
	text := err.Error()
	r.lastError.Store(&text)
	r.log.Warn(what, append(args, "err", err)...)
}

// snapshot returns the partitions that it has.
func (r *Reader) snapshot() map[int32]*part {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.parts)
}

// Stats says how the reader is. Any goroutine may call it.
func (r *Reader) Stats() ReaderStats {
	s := ReaderStats{
		Lag: r.lag.Load(), Trades: r.trades.Load(), Flawed: r.flawed.Load(), Unknown: r.unknown.Load(),
		Gaps: r.gaps.Load(), Missed: r.missed.Load(), Taken: r.taken.Load(), Revoked: r.revoked.Load(),
		Lost: r.lost.Load(), Failures: r.failures.Load(),
	}
	if e := r.lastError.Load(); e != nil {
		s.LastError = *e
	}
	for _, p := range r.snapshot() {
		s.Partitions++
		if p.behind.Load() {
			s.Behind++
		}
		if p.isPaused() {
			s.Paused++
		}
	}
	return s
}
