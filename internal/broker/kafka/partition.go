// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What was fetched of a partition and its shard has not taken. Above either it is not fetched any more until half
// is gone; one fetch more may be on its way (fetchPartMax).
const (
	partAhead = 5000
	partBytes = 4 << 20
)

// part is one partition that this process has. The client puts records in, and a goroutine hands them to the
// shard.
type part struct {
	r         *Reader
	partition int32
	shard     Shard
	position  Position // That it was assigned with; its topic is that of what is read now.
	until     int64    // What was there when it was assigned is before it.
	first     *gap     // What was missing when it was assigned.

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // Closed when run has returned.
	wake   chan struct{} // Has an element when run has to look.

	mu      sync.Mutex
	queue   []batch
	records int
	bytes   int
	paused  bool
	fetched int64 // Behind what was put in.

	next      atomic.Int64 // Behind what the shard has taken.
	behind    atomic.Bool  // It has not caught up.
	stored    atomic.Int64 // What Stored was told.
	committed atomic.Int64
}

type batch struct {
	records []*kgo.Record
	bytes   int
	start   int64 // Where the partition began when it was fetched.
}

type gap struct {
	from, to int64
	why      string
}

const retention = "they are older than the topic keeps them"

// begin says where it goes on, of a topic whose partition has records from start to end.
func (p *part) begin(topic string, start, end int64) {
	at := p.position
	from := at.Offset
	switch {
	case at == Position{}:
		from = start
	case at.Topic != "" && topic != "" && at.Topic != topic:
		from, p.first = start, &gap{start, start, "the topic was made anew"}
	case at.Offset < start:
		from, p.first = start, &gap{at.Offset, start, retention}
	case at.Offset > end:
		from, p.first = end, &gap{end, at.Offset, "Kafka has lost records that were read already"}
	}
	p.position, p.until, p.fetched = Position{topic, from}, end, from
	p.next.Store(from)
	p.behind.Store(true)
	p.ctx, p.cancel = context.WithCancel(context.Background())
}

// ahead is behind what was fetched.
func (p *part) ahead() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched
}

// put takes what was fetched, and waits for nothing.
func (p *part) put(f kgo.FetchPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := f.Records
	for len(records) > 0 && records[0].Offset < p.fetched { // It has those.
		records = records[1:]
	}
	if len(records) == 0 {
		return
	}
	b := batch{records: records, start: f.LogStartOffset}
	for _, r := range records {
		b.bytes += len(r.Key) + len(r.Value)
	}
	p.fetched = records[len(records)-1].Offset + 1
	p.queue = append(p.queue, b)
	p.records, p.bytes = p.records+len(records), p.bytes+b.bytes
	if !p.paused && (p.records > partAhead || p.bytes > partBytes) {
		p.paused = true
		p.r.client.PauseFetchPartitions(p.r.of(p.partition))
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *part) take() (b batch, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return b, false
	}
	b, p.queue[0] = p.queue[0], batch{}
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return b, true
}

// taken notes that the shard has a batch.
func (p *part) taken(b batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records, p.bytes = p.records-len(b.records), p.bytes-b.bytes
	if p.paused && p.records <= partAhead/2 && p.bytes <= partBytes/2 {
		p.resume()
	}
}

func (p *part) resume() {
	p.paused = false
	p.r.client.ResumeFetchPartitions(p.r.of(p.partition))
}

func (p *part) isPaused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused
}

// end returns when the shard is called no more.
func (p *part) end() {
	p.cancel()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = nil
	if p.paused {
		p.resume()
	}
}

func (p *part) run() {
	defer close(p.done)
	if g := p.first; g != nil {
		p.missed(*g)
	}
	for p.ctx.Err() == nil {
		if p.behind.Load() && p.next.Load() >= p.until {
			p.behind.Store(false)
			p.shard.CaughtUp()
		}
		b, ok := p.take()
		if !ok {
			select {
			case <-p.ctx.Done():
			case <-p.wake:
			}
			continue
		}
		if err := p.handle(b); err != nil {
			if p.ctx.Err() == nil {
				p.r.stop(fmt.Errorf("partition %d of kafka topic %s: %w", p.partition, p.r.c.Topic, err))
			}
			return
		}
		p.taken(b)
	}
}

func (p *part) missed(g gap) {
	p.r.gaps.Add(1)
	p.r.missed.Add(uint64(g.to - g.from))
	p.r.log.Warn("trades in kafka are missed", "topic", p.r.c.Topic, "partition", p.partition, "from", g.from, "to", g.to, "why", g.why)
	p.shard.Gap(g.from, g.to, g.why)
}

// handle hands the records of a batch to the shard.
func (p *part) handle(b batch) error {
	passed := false // Some records were no trades since the last one that was.
	for _, r := range b.records {
		next := p.next.Load()
		if r.Offset > next && b.start > next {
			p.missed(gap{next, min(b.start, r.Offset), retention})
		}
		after := Position{p.position.Topic, r.Offset + 1}
		passed = true
		if !r.Attrs.IsControl() {
			if t, err := decodeTrade(r, p.r.c.Table, p.r.now()); err != nil {
				p.flawed(r, err)
			} else if err := p.shard.Trade(p.ctx, t, after); err != nil {
				return err
			} else {
				passed = false
				p.r.trades.Add(1)
			}
		}
		p.next.Store(after.Offset)
	}
	if passed {
		return p.shard.Passed(p.ctx, Position{p.position.Topic, p.next.Load()})
	}
	return nil
}

func (p *part) flawed(r *kgo.Record, err error) {
	p.r.flawed.Add(1)
	if errors.Is(err, errUnknown) {
		p.r.unknown.Add(1)
	}
	p.r.log.Warn("a record of kafka is skipped", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
}
