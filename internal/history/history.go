// SPDX-License-Identifier: Apache-2.0

// Package history keeps bars that are closed, and answers requests for them. The stores have packages of
// their own below this one.
package history

import (
	"context"

	"tickedge/internal/bars"
)

// Store keeps closed bars. Any goroutine may use it.
type Store interface {
	// Put stores bars, all or none of them. A bar that is there is overwritten unless it has a higher Rev, so
	// the same bars may be put again.
	Put(ctx context.Context, b []bars.Bar) error
	// Bars returns at most limit bars of a symbol and interval with from <= Start < to, in Unix milliseconds,
	// the newest ones if there are more, in the order of their starts.
	Bars(ctx context.Context, q Query) ([]bars.Bar, error)
	// Trim deletes the bars of an interval that began before a time, in Unix milliseconds, a bounded number
	// at a time, and returns how many that were; 0 when there are no more.
	Trim(ctx context.Context, interval string, before int64) (int64, error)
	Close() error
}

// Query says which bars are wanted.
type Query struct {
	Symbol   string
	Interval string
	From, To int64
	Limit    int
}
