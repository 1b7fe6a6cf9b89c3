// SPDX-License-Identifier: Apache-2.0

package historytest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/trade"
)

// Fake is a store in memory, simple enough to be right, that fails when a test wants that. The zero value is empty.
type Fake struct {
	// OnPut, if it is not nil, is called before a Put, with nothing locked; its error is that of Put.
	OnPut func(ctx context.Context, b []bars.Bar) error
	// OnBars is the same for Bars.
	OnBars func(q history.Query) error

	mu   sync.Mutex
	bars model
	puts int
}

// Puts is how many Puts there were that worked.
func (f *Fake) Puts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.puts
}

// Put implements [history.Store].
func (f *Fake) Put(ctx context.Context, list []bars.Bar) error {
	for i := range list {
		if err := history.Check(&list[i]); err != nil {
			return err
		}
	}
	if f.OnPut != nil {
		if err := f.OnPut(ctx, list); err != nil {
			return err
		}
	}
	kept := slices.Clone(list)
	for i := range kept {
		s := kept[i].Symbol
		kept[i].Symbol = Symbol(s.Name, s.PriceScale, s.SizeScale)
		kept[i].First, kept[i].Last, kept[i].Closed = trade.Key{}, trade.Key{}, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bars == nil {
		f.bars = make(model)
	}
	f.bars.put(kept)
	f.puts++
	return ctx.Err()
}

// Bars implements [history.Store].
func (f *Fake) Bars(ctx context.Context, q history.Query) ([]bars.Bar, error) {
	if f.OnBars != nil {
		if err := f.OnBars(q); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.Limit <= 0 || q.To <= q.From {
		return nil, ctx.Err()
	}
	return f.bars.bars(q), ctx.Err()
}

// All implements [history.Store].
func (f *Fake) All(_ context.Context, each func([]bars.Bar) error) error {
	f.mu.Lock()
	all := make([]bars.Bar, 0, len(f.bars))
	for _, b := range f.bars {
		all = append(all, b)
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b bars.Bar) int {
		return cmp.Or(cmp.Compare(a.Symbol.Name, b.Symbol.Name), cmp.Compare(a.Interval.Name, b.Interval.Name), cmp.Compare(a.Start, b.Start))
	})
	if len(all) == 0 {
		return nil
	}
	return each(all)
}

// Trim implements [history.Store].
func (f *Fake) Trim(_ context.Context, interval string, before int64) (n int64, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, b := range f.bars {
		if b.Interval.Name == interval && b.Start < before && n < 1000 {
			delete(f.bars, k)
			n++
		}
	}
	return n, nil
}

// Close implements [history.Store].
func (f *Fake) Close() error { return nil }

// String is for messages of tests.
func (f *Fake) String() string { return fmt.Sprintf("a fake store with %d bars", len(f.bars)) }
