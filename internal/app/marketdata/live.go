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
	case s.in <- item{kind: callItem, call: func(*shard) { f(); close(done) }}:
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

// recent returns the bars of a series that may still change, or that the history may not have yet, and the version of the
// newest value of its topic: what is published later has a higher one, and shows at least as much.
func (s *shard) recent(symbol *trade.Symbol, interval string) (list []bars.Bar, revs, ver int64, ok bool) {
	k, ok := s.engine.Series(symbol, interval)
	if !ok || s.behind {
		return nil, 0, 0, false
	}
	return k.AppendBars(nil, 0), k.Revs(), s.vers[klineTopic(interval, symbol.Name)], true
}
