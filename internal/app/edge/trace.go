// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"tickedge/internal/app"
	"tickedge/internal/feed"
	"tickedge/internal/panics"
	"tickedge/internal/tracing"
)

// traces is what follows ticks. Without -trace-endpoint there is nothing, and neither the feed nor a loop knows of it.
type traces struct {
	tracer *tracing.Tracer
	ticks  *tracing.Edge
}

// startTracing has spans exported.
func (e *edge) startTracing() error {
	t := tracing.New(e.cfg.trace, "edge", app.BuildVersion().Version, e.log)
	if t == nil {
		return nil
	}
	e.traces = traces{t, t.Edge()}
	e.cfg.loop.Traced = e.traces.ticks.Flushed
	e.working.Go(func() { panics.Keep(e.work, panics.Traces, e.log, t.Run) })
	return nil
}

// from has the ticks of a feed followed.
func (t traces) from(f *feed.Feed) {
	if t.ticks != nil {
		f.Trace(t.ticks)
	}
}

// spans reads a metric of the tracer, where there is one.
func spans(read func(st tracing.Stats) map[string]uint64) func(*scrape, sink) {
	return func(s *scrape, to sink) {
		if s.traces.tracer != nil {
			to.each(read(s.traces.tracer.Stats()))
		}
	}
}
