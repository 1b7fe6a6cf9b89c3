// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Edge follows ticks from where they arrive at an edge to the first frame that has them. Any goroutine may use it.
type Edge struct {
	t *Tracer

	mu      sync.Mutex
	last    uint16
	pending [pendingMost]pending // By the number, of those that came last.
}

// pendingMost is how many ticks may wait for their first frame. With perSecond, that is 40 s.
const pendingMost = 4096

// pending is a tick that no client has yet. A number comes again after ten minutes.
type pending struct {
	number    uint16 // 0: none.
	ctx       context.Context
	topic     string
	arrived   time.Time
	committed time.Time
	flushed   time.Time // A loop may see a row before who has published it says so.
}

// Edge returns what follows ticks in an edge.
func (t *Tracer) Edge() *Edge { return &Edge{t: t} }

// Arrived takes a tick with a parent, and returns its number, by which the table, the loops and [Edge.Committed] know it; 0 if
// it is not followed.
func (e *Edge) Arrived(topic, parent string) (number uint16) {
	now := time.Now()
	ctx, ok := e.t.follow(parent, now)
	if !ok {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last++; e.last == 0 {
		e.last = 1
	}
	*e.at(e.last) = pending{number: e.last, ctx: ctx, topic: strings.Clone(topic), arrived: now}
	return e.last
}

func (e *Edge) at(number uint16) *pending { return &e.pending[number%pendingMost] }

// Committed says what became of a tick: it is the newest row of its topic, or it was not taken, and is followed no more.
func (e *Edge) Committed(number uint16, committed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.at(number)
	switch {
	case p.number != number || number == 0:
		return
	case !committed:
		*p = pending{}
		return
	}
	p.committed = time.Now()
	span := e.t.start(p.ctx, "table", trace.SpanKindConsumer, p.arrived, attribute.String("topic", p.topic))
	span.End(trace.WithTimestamp(p.committed))
	p.ctx = trace.ContextWithSpanContext(context.Background(), span.SpanContext())
	if !p.flushed.IsZero() {
		e.flush(p)
	}
}

// Flushed says that rows with these numbers were written to clients by a time. The first one who says so of a number counts.
func (e *Edge) Flushed(numbers []uint16, by time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, number := range numbers {
		p := e.at(number)
		if p.number != number || number == 0 || !p.flushed.IsZero() {
			continue
		}
		if p.flushed = by; !p.committed.IsZero() {
			e.flush(p)
		}
	}
}

// flush ends the last stage. The caller holds e.mu.
func (e *Edge) flush(p *pending) {
	if p.flushed.Before(p.committed) {
		p.flushed = p.committed
	}
	span := e.t.start(p.ctx, "flush", trace.SpanKindProducer, p.committed, attribute.String("topic", p.topic))
	span.End(trace.WithTimestamp(p.flushed))
	*p = pending{}
}

// Twice as many numbers as places: a row that is still to be sent is not taken for another one.
const _ = uint(math.MaxUint16 - 2*pendingMost)
