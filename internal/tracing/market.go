// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"tickedge/internal/trade"
)

// Sample decides of a trade that comes in without a parent whether it is followed, and gives it one then. The stage exchange
// lasts from the time that the exchange gave it until it was received. One that has a parent keeps it.
func (t *Tracer) Sample(tr *trade.Trade) {
	if tr.Trace != "" || t.oneIn == 0 || (t.trades.Add(1)-1)%t.oneIn != 0 {
		return
	}
	now := time.Now()
	if !t.begun.take(now) {
		t.limited.Add(1)
		return
	}
	received := now
	if tr.Received > 0 {
		received = time.UnixMicro(tr.Received)
	}
	begun := received // Their clock may be ahead.
	if at := time.UnixMicro(tr.Time); at.Before(received) {
		begun = at
	}
	span := t.start(context.Background(), "exchange", trace.SpanKindConsumer, begun,
		attribute.String("symbol", tr.Symbol.Name), attribute.String("source", tr.Source), attribute.Int64("trade.id", tr.ID))
	tr.Trace = formatParent(span)
	span.End(trace.WithTimestamp(received))
}

// Publish is for a value that is about to be published, whose newest followed trade has a parent and was received at a time: the
// stage marketdata ends, and broker begins. The value is to carry the parent that is returned, "" for none, and ended is to be
// called when the broker has taken it, or has not.
func (t *Tracer) Publish(parent, topic string, received time.Time) (carry string, ended func(taken bool)) {
	now := time.Now()
	ctx, ok := t.follow(parent, now)
	if !ok {
		return "", nil
	}
	if received.After(now) {
		received = now
	}
	of := attribute.String("topic", topic)
	span := t.start(ctx, "marketdata", trace.SpanKindInternal, received, of)
	span.End(trace.WithTimestamp(now))
	sent := t.start(trace.ContextWithSpanContext(ctx, span.SpanContext()), "broker", trace.SpanKindProducer, now, of)
	return formatParent(sent), func(taken bool) {
		sent.SetAttributes(attribute.Bool("taken", taken))
		sent.End()
	}
}
