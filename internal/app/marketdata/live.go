// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/trade"
)

// liveWait bounds how long a request waits for a shard.
const liveWait = 2 * time.Second

// call runs f in the goroutine of a shard. It is false if the shard did not come to it in time.
func (s *shard) call(ctx context.Context, f func()) bool {
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	done := make(chan struct{})
	select {
	case s.calls <- func() { f(); close(done) }:
	case <-ctx.Done():
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// finish tells a shard, behind all that was sent to it, that nothing more comes, and waits until it has taken that, or ctx ends.
func (s *shard) finish(ctx context.Context) {
	done := make(chan struct{})
	select {
	case s.in <- item{kind: wholeItem, done: done}:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// series is what a shard has of a symbol and interval. ok is false if it has none that may be told.
type series struct {
	bars      []bars.Bar
	revs, ver int64
	ok        bool
}

// recent returns the bars of a series that may still change, or that the history may not have yet, and the version of the
// newest value of its topic: what is published later has a higher one, and shows at least as much. What the topic does not tell
// meanwhile is not told here.
func (s *shard) recent(symbol *trade.Symbol, interval string) series {
	k, ok := s.engine.Series(symbol, interval)
	if !ok || s.behind || s.fills[symbol] > 0 {
		return series{}
	}
	return series{k.AppendBars(nil, 0), k.Revs(), s.vers[bars.Topic(interval, symbol.Name)], true}
}
