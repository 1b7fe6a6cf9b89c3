// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/bars"
	"tickedge/internal/broker"
	"tickedge/internal/exchange"
	"tickedge/internal/panics"
	"tickedge/internal/tracing"
	"tickedge/internal/trade"
)

// startTracing has a few trades followed, if there is somewhere to tell of them.
func (p *program) startTracing(context.Context) error {
	t := tracing.New(p.cfg.trace, "marketdata", app.BuildVersion().Version, p.log)
	if p.out.tracer = t; t != nil {
		p.working.Go(func() { panics.Keep(p.work, panics.Traces, p.log, t.Run) })
	}
	return nil
}

// sampled has it decided in front of a sink which trades are followed.
func (p *program) sampled(to exchange.Sink) exchange.Sink {
	if p.out.tracer == nil {
		return to
	}
	return sampler{to, p.out.tracer}
}

type sampler struct {
	exchange.Sink
	tracer *tracing.Tracer
}

// Trade implements [exchange.Sink].
func (s sampler) Trade(t trade.Trade) {
	s.tracer.Sample(&t)
	s.Sink.Trade(t)
}

// trace has a price carry the trace of a trade in it, if it has one. ended is what is to be called when the broker has it.
func (s *shard) trace(p bars.Price, t *broker.Tick) (ended func(broker.Fate)) {
	parent, received := p.Trace()
	if s.out.tracer == nil || s.out.outbox == nil || parent == "" {
		return nil
	}
	carry, done := s.out.tracer.Publish(parent, t.Topic, time.UnixMicro(received))
	if carry == "" {
		return nil
	}
	t.Trace, s.value = carry, broker.WithParent(s.value, carry)
	return func(f broker.Fate) { done(f == broker.Taken) }
}

// spans reads a metric of the tracer, where there is one.
func spans(read func(st tracing.Stats) map[string]uint64) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, put func(float64, ...string)) {
		if s.out.tracer == nil {
			return
		}
		for label, n := range read(s.out.tracer.Stats()) {
			put(float64(n), label)
		}
	}
}
