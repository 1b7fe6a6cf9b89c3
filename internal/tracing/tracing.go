// SPDX-License-Identifier: Apache-2.0

// Package tracing follows a few trades on their way from an exchange to the first client: spans of OpenTelemetry, which a
// collector gets by OTLP over HTTP. It alone knows otel. Whether a trade is followed is decided before there is a span, and what
// is not followed costs nothing but a look at a string.
//
//	tracing.go   Tracer: what starts spans
//	config.go    what an operator may set
//	parent.go    parents of traces, as W3C Trace Context has them
//	market.go    the stages of marketdata: exchange, marketdata, broker
//	edge.go      the stages of an edge: table, flush
//	exporter.go  spans on their way to the collector
//	otlp.go      spans as JSON
package tracing

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer starts spans and has them exported. Any goroutine may use it.
type Tracer struct {
	oneIn  uint64
	spans  trace.Tracer
	export *exporter

	trades   atomic.Uint64 // That came without a parent.
	flawed   atomic.Uint64
	limited  atomic.Uint64
	begun    limit // Traces that begin here,
	followed limit // and those that go on here.
}

// Stats counts what a [Tracer] has done.
type Stats struct {
	Exported uint64 // Spans that the collector has taken.
	Dropped  uint64 // Spans that found the queue full.
	Failed   uint64 // Spans that the collector did not take, or was away for.
	Limited  uint64 // Trades and ticks that were not followed, as too many were to be.
	Flawed   uint64 // Parents that are none.
}

// New returns the tracer of a service, or nil if tracing is off. The config has to be valid.
func New(c Config, service, version string, log *slog.Logger) *Tracer {
	if !c.On() {
		return nil
	}
	e := newExporter(c, log)
	provider := sdktrace.NewTracerProvider(
		// Who starts a span has decided. What the environment says to libraries of otel is not asked.
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithRawSpanLimits(sdktrace.NewSpanLimits()),
		sdktrace.WithSpanProcessor(e),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service), attribute.String("service.version", version))),
	)
	return &Tracer{oneIn: uint64(c.OneIn), spans: provider.Tracer(scope), export: e}
}

// scope is the name of what makes the spans.
const scope = "tickedge"

// Run exports until ctx ends, and then for a little while what is left.
func (t *Tracer) Run(ctx context.Context) { t.export.run(ctx) }

// Stats says what was done.
func (t *Tracer) Stats() Stats {
	return Stats{
		Exported: t.export.exported.Load(), Dropped: t.export.dropped.Load(), Failed: t.export.failed.Load(),
		Limited: t.limited.Load(), Flawed: t.flawed.Load(),
	}
}

// Spans and Ignored are the counters as operators see them, by a label.
func (s Stats) Spans() map[string]uint64 {
	return map[string]uint64{"exported": s.Exported, "dropped": s.Dropped, "failed": s.Failed}
}

func (s Stats) Ignored() map[string]uint64 {
	return map[string]uint64{"limit": s.Limited, "flawed": s.Flawed}
}

// follow reads the parent of what is to be followed. It is false for what is not: without a parent, with one that says that it
// is not sampled, and beyond the limit.
func (t *Tracer) follow(parent string, now time.Time) (ctx context.Context, ok bool) {
	p, err := parseParent(parent)
	switch {
	case err != nil:
		t.flawed.Add(1)
		return nil, false
	case !p.IsSampled():
		return nil, false
	case !t.followed.take(now):
		t.limited.Add(1)
		return nil, false
	}
	return trace.ContextWithRemoteSpanContext(context.Background(), p), true
}

// start begins a span of a stage.
func (t *Tracer) start(ctx context.Context, stage string, kind trace.SpanKind, at time.Time, attrs ...attribute.KeyValue) trace.Span {
	_, span := t.spans.Start(ctx, stage, trace.WithTimestamp(at), trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	return span
}

// perSecond bounds the trades that are begun to be followed in a second, and those that are gone on with: who publishes every
// value with a parent has few of them followed, and not a span per tick.
const perSecond = 100

// limit is how many there were in a second.
type limit struct {
	mu     sync.Mutex
	second int64
	n      int
}

func (l *limit) take(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.second {
		l.second, l.n = second, 0
	}
	l.n++
	return l.n <= perSecond
}
