// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assigned makes shards of the partitions that the group has given to this member, and says where they go on.
// What the group has committed is not asked. It is called by the client.
func (r *Reader) assigned(ctx context.Context, all map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-r.ready
	mine := all[r.c.Topic]
	if len(mine) == 0 {
		return all, nil
	}
	var made []*part
	for _, partition := range slices.Sorted(maps.Keys(mine)) {
		r.mu.Lock()
		p := r.parts[partition]
		r.mu.Unlock()
		if p == nil {
			p = &part{r: r, partition: partition, wake: make(chan struct{}, 1), done: make(chan struct{})}
			if err := r.retry(ctx, "a checkpoint can't be loaded", func() (err error) {
				p.shard, p.position, err = r.owner.Assigned(ctx, partition)
				return err
			}); err != nil {
				r.forget(made)
				return nil, err
			}
			made = append(made, p)
		} else { // It is its own already: nothing that it has is fetched again.
			mine[partition] = kgo.NewOffset().At(p.ahead())
		}
	}
	var log logs
	if err := r.retry(ctx, "the offsets of a topic can't be asked for", func() (err error) {
		log, err = r.logs(ctx)
		return err
	}); err != nil {
		r.forget(made)
		return nil, err
	}
	for _, p := range made {
		p.begin(log.id, log.start[p.partition], log.end[p.partition])
		mine[p.partition] = kgo.NewOffset().At(p.fetched)
		r.taken.Add(1)
		r.mu.Lock()
		r.parts[p.partition] = p
		r.mu.Unlock()
		go p.run()
	}
	return all, nil
}

func (r *Reader) forget(made []*part) {
	for _, p := range made {
		p.shard.Lost()
	}
}

// retry tries until it works or ctx ends.
func (r *Reader) retry(ctx context.Context, what string, try func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			r.failure(what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// logs is what a topic's partitions hold: the offsets of the first record, and behind the last one that is
// decided.
type logs struct {
	id         string
	start, end map[int32]int64
}

func (r *Reader) logs(ctx context.Context) (logs, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.c.Kafka.Timeout, DefaultTimeout))
	defer cancel()
	l := logs{start: make(map[int32]int64), end: make(map[int32]int64)}
	d, err := describe(ctx, r.admin, r.c.Topic)
	if err != nil {
		return l, err
	}
	if d.ID != (kadm.TopicID{}) {
		l.id = fmt.Sprintf("%x", d.ID[:])
	}
	start, err := r.admin.ListStartOffsets(ctx, r.c.Topic)
	if err != nil {
		return l, err
	}
	end, err := r.admin.ListCommittedOffsets(ctx, r.c.Topic)
	if err != nil {
		return l, err
	}
	for partition := range d.Partitions {
		s, ok1 := start.Lookup(r.c.Topic, partition)
		e, ok2 := end.Lookup(r.c.Topic, partition)
		switch {
		case !ok1 || !ok2:
			return l, fmt.Errorf("partition %d is missing in the answer", partition)
		case s.Err != nil:
			return l, s.Err
		case e.Err != nil:
			return l, e.Err
		}
		l.start[partition], l.end[partition] = s.Offset, e.Offset
	}
	return l, nil
}

// give ends partitions that are this member's no more: their shards store their checkpoints, unless the
// partitions were lost. It is called by the client, and no record is dispatched meanwhile.
func (r *Reader) give(partitions []int32, lost bool) {
	var parts []*part
	r.mu.Lock()
	for _, partition := range partitions {
		if p := r.parts[partition]; p != nil {
			parts = append(parts, p)
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), r.c.Rebalance)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(func() {
			p.end()
			if lost {
				p.shard.Lost()
			} else {
				p.shard.Revoked(ctx)
			}
		})
	}
	all.Wait()
	if lost {
		r.lost.Add(uint64(len(parts)))
	} else {
		r.revoked.Add(uint64(len(parts)))
		r.commit(ctx, parts)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range parts {
		delete(r.parts, p.partition)
	}
}

// Stored tells how far the checkpoint of a partition's shard has come, which Kafka is told for those who
// look at the lag of the group. Any goroutine may call it, up to the end of Revoked.
func (r *Reader) Stored(partition int32, next Position) {
	r.mu.Lock()
	p := r.parts[partition]
	r.mu.Unlock()
	if p != nil {
		p.stored.Store(next.Offset)
	}
}

// commit tells Kafka how far checkpoints have come. Nobody goes on from that: where it fails it is told later.
func (r *Reader) commit(ctx context.Context, parts []*part) {
	offsets := make(map[int32]kgo.EpochOffset)
	for _, p := range parts {
		if stored := p.stored.Load(); stored > p.committed.Load() {
			offsets[p.partition] = kgo.EpochOffset{Epoch: -1, Offset: stored}
		}
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.c.Kafka.Timeout, DefaultTimeout))
	defer cancel()
	var failed error
	r.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{r.c.Topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err != nil {
				return
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						failed = err
					}
				}
			}
		})
	if failed != nil {
		if ctx.Err() == nil {
			r.failure("offsets can't be committed", failed)
		}
		return
	}
	for _, p := range parts {
		if at, ok := offsets[p.partition]; ok {
			p.committed.Store(at.Offset)
		}
	}
}

// follow commits what was stored, and looks at the lag, at regular times.
func (r *Reader) follow(ctx context.Context) {
	t := time.NewTicker(r.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		parts := r.snapshot()
		if len(parts) == 0 {
			r.lag.Store(0)
			continue
		}
		r.commit(ctx, slices.Collect(maps.Values(parts)))
		log, err := r.logs(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.failure("the lag can't be asked for", err)
			}
			continue
		}
		lag := int64(0)
		for _, p := range parts {
			lag += max(0, log.end[p.partition]-p.next.Load())
		}
		r.lag.Store(lag)
	}
}
