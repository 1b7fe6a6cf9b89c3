// SPDX-License-Identifier: Apache-2.0

// Package history keeps bars that are closed, and answers requests for them. The stores have packages of
// their own below this one.
//
//	history.go    Store: what a store does
//	writer.go     Writer: the queue in front of one
//	hot.go        Hot: the newest bars in memory
//	retention.go  how long bars are kept
//	backup.go     Backup and Restore, in a portable form
//	live.go       what the bars that are being made add to an answer
//	server.go     GET /history/{symbol}
//	blocks.go     bars that many pages have, packed once
package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"tickedge/internal/bars"
	"tickedge/internal/topics"
	"tickedge/internal/trade"
)

// Store keeps closed bars. Any goroutine may use it.
//
// The symbols of bars that it returns have a name and scales, and nothing else: those that a bar was stored
// with. So a table of symbols whose scales have changed reads what was stored before. First and Last of a bar
// are not kept.
type Store interface {
	// Put stores bars, all or none of them. A bar that is there is overwritten unless it is [Newer], so the same
	// bars may be put again, and in any order. Bars that [Check] refuses are an error.
	Put(ctx context.Context, b []bars.Bar) error
	// Bars returns at most limit bars of a symbol and interval with from <= Start < to, in Unix milliseconds,
	// the newest ones if there are more, in the order of their starts.
	Bars(ctx context.Context, q Query) ([]bars.Bar, error)
	// All calls f with all bars as they were at one moment, those of one series (symbol and interval) together
	// and in the order of their starts. f may use what it is given until it returns. The error is that of f, if
	// it has one.
	All(ctx context.Context, f func([]bars.Bar) error) error
	// Trim deletes the bars of an interval that began before a time, in Unix milliseconds, a bounded number
	// at a time, and returns how many that were, which may be estimated if they are many; 0 when there are no more.
	Trim(ctx context.Context, interval string, before int64) (int64, error)
	Close() error
}

// Query says which bars are wanted.
type Query struct {
	Symbol   string
	Interval string
	From, To int64
	Limit    int // 0 and below is none: no bars.
}

// ErrNewer is in the error of opening a store that a newer version of the program has written.
var ErrNewer = errors.New("it was written by a newer version of this program: use that one, or another place")

// Newer reports whether a is a newer state of a bar than b: it has more trades, or as many and was changed more often. Trades
// are only ever added, while a process that goes on from an older state may count changes anew.
func Newer(a, b *bars.Bar) bool {
	return cmp.Or(cmp.Compare(a.Count, b.Count), cmp.Compare(a.Rev, b.Rev)) > 0
}

// startMax is the end of the year 9999, in Unix milliseconds.
const startMax = 253402300799_999

// Check returns what is wrong with a bar that is to be stored, or nil.
func Check(b *bars.Bar) error {
	switch {
	case b.Symbol == nil || b.Interval == nil:
		return errors.New("the bar has no symbol or no interval")
	case !topics.ValidName(b.Symbol.Name):
		return fmt.Errorf("%q is no name of a symbol: want %s", b.Symbol.Name, topics.NameRule)
	case b.Symbol.PriceScale > trade.ScaleMax || b.Symbol.SizeScale > trade.ScaleMax:
		return fmt.Errorf("%s: a scale is above %d", b.Symbol.Name, trade.ScaleMax)
	case b.Start > startMax:
		return fmt.Errorf("%s: a bar begins after the year 9999", b.Symbol.Name)
	case b.Start < 0 || b.Count < 0 || b.Rev < 0:
		return fmt.Errorf("%s: the start, count or revision of a bar is below 0", b.Symbol.Name)
	case b.Low <= 0 || b.Low > min(b.Open, b.Close) || b.High < max(b.Open, b.Close):
		return fmt.Errorf("%s: the prices of a bar are not low <= open, close <= high, all above 0", b.Symbol.Name)
	}
	return nil
}
