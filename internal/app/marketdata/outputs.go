// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"tickedge/internal/bars"
	"tickedge/internal/broker"
	"tickedge/internal/checkpoint"
	"tickedge/internal/feed"
	"tickedge/internal/tracing"
)

// barSink takes bars that were closed or revised: the history, or a log.
type barSink interface {
	// Put takes a bar, and reports whether there was room for it. It does not wait.
	Put(b *bars.Bar) bool
	// Flush returns when all that was put before is stored, or ctx ends.
	Flush(ctx context.Context) error
}

// outputs is where shards tell what they have. Any goroutine may use it.
type outputs struct {
	log         *slog.Logger
	outbox      *feed.Outbox // Nil without a broker.
	clock       broker.Clock
	bars        []barSink
	checkpoints checkpoint.Store
	tracer      *tracing.Tracer // Nil if nothing is traced.

	unput atomic.Uint64 // Values that could not be put on their way into the broker.
}

// bar hands a bar to the history and to the log, or to none of them.
func (o *outputs) bar(b *bars.Bar) bool {
	for _, to := range o.bars {
		if !to.Put(b) {
			return false // Who has it gets it again, and it is the same.
		}
	}
	return true
}

// flush waits until all bars are stored that were told before.
func (o *outputs) flush(ctx context.Context) error {
	var errs []error
	for _, to := range o.bars {
		errs = append(errs, to.Flush(ctx))
	}
	return errors.Join(errs...)
}

// publish puts a value on its way. Newer ones of its topic take its place as long as the broker is away. It is false where
// there is no room, which is so only if the broker is away and there are more topics than the outbox was made for. done may be
// nil, and is called in any case.
func (o *outputs) publish(t broker.Tick, value []byte, done func(broker.Fate)) bool {
	if o.outbox == nil {
		return true
	}
	t.Value = value
	err := o.outbox.Put(t, done)
	if err != nil && done != nil {
		done(broker.Unknown)
	}
	switch {
	case err == nil:
	case errors.Is(err, broker.ErrQueueFull):
		o.unput.Add(1)
		return false
	default:
		o.unput.Add(1)
		o.log.Error("a value can't be published", "topic", t.Topic, "error", err)
	}
	return true
}
