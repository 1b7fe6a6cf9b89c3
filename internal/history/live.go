// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"slices"

	"tickedge/internal/bars"
)

// Live is what makes bars of trades. Any goroutine may call it.
type Live interface {
	// Open returns what it has of a series at one moment; ok is false if it does not make bars of it. It must not wait for
	// longer than ctx.
	Open(ctx context.Context, symbol, interval string) (s LiveSeries, ok bool)
}

// LiveSeries is one series at one moment: what the topic kline:<interval>:<symbol> shows. All of it, and Ver, are of the
// same moment.
type LiveSeries struct {
	// Closed are bars that are closed, of which the store may not know yet: at least those that the topic shows beside the
	// open one, whether or not they were given to a [Writer].
	Closed []bars.Bar
	Open   *bars.Bar // Nil if there is no open bar.
	Revs   int64     // How often bars of the series were revised, as the topic says.
	// Ver is the version of the topic's value that says the same. Whatever changes later has a higher one. 0 is unknown.
	Ver int64
}

// A client has each bar once, and none is missing between history and the topic, as what is asked last knows the most:
// first Live, then the bars that wait for the store, then the store. A bar that moves from one to the next meanwhile is
// found in both, and counts once. What is newer than the moment of Live is left out: it has a higher version, and the topic
// will tell it.

// merge returns the bars of all lists, each in the order of starts, once and in its newest state, that begin from a time on
// and before another. What it returns may be a part of a list: it is to be read only.
func merge(from, to int64, lists ...[]bars.Bar) []bars.Bar {
	lists = slices.DeleteFunc(slices.Clone(lists), func(l []bars.Bar) bool { return len(l) == 0 })
	var all []bars.Bar
	for i, list := range lists {
		if !rising(list) {
			list = ordered(list)
		}
		if i == 0 {
			all = list
		} else {
			all = merged(all, list)
		}
	}
	return within(all, from, to)
}

// within returns those of some bars that begin from a time on and before another.
func within(all []bars.Bar, from, to int64) []bars.Bar {
	for len(all) > 0 && all[0].Start < from {
		all = all[1:]
	}
	for len(all) > 0 && all[len(all)-1].Start >= to {
		all = all[:len(all)-1]
	}
	return slices.Clip(all)
}

// merged returns the bars of two lists that rise. Of two states of one bar it has a's, unless that of b is newer. Mostly b is
// short, and says what a has: then nothing is copied.
func merged(a, b []bars.Bar) []bars.Bar {
	if !adds(a, b) {
		return a
	}
	all := make([]bars.Bar, 0, len(a)+len(b))
	for i := range b {
		n, both := at(a, b[i].Start)
		all, a = append(all, a[:n]...), a[n:]
		newest := &b[i]
		if both {
			if !Newer(newest, &a[0]) {
				newest = &a[0]
			}
			a = a[1:]
		}
		all = append(all, *newest)
	}
	return append(all, a...)
}

// adds reports whether b has a bar that a has not, or a newer state of one.
func adds(a, b []bars.Bar) bool {
	for i := range b {
		if n, has := at(a, b[i].Start); !has || Newer(&b[i], &a[n]) {
			return true
		}
	}
	return false
}

// at returns where the bar of a start is in a list that rises, or would be.
func at(all []bars.Bar, start int64) (i int, has bool) {
	return slices.BinarySearchFunc(all, start, func(b bars.Bar, start int64) int { return cmp.Compare(b.Start, start) })
}

// ordered returns a copy of bars in the order of their starts, each once and in its newest state.
func ordered(list []bars.Bar) []bars.Bar {
	all := slices.Clone(list)
	slices.SortStableFunc(all, func(a, b bars.Bar) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Count, b.Count), cmp.Compare(a.Rev, b.Rev))
	})
	kept := all[:0]
	for _, b := range all {
		if n := len(kept); n > 0 && kept[n-1].Start == b.Start {
			kept = kept[:n-1]
		}
		kept = append(kept, b)
	}
	return kept
}

// rising reports whether each bar begins after the one before.
func rising(all []bars.Bar) bool {
	for i := 1; i < len(all); i++ {
		if all[i].Start <= all[i-1].Start {
			return false
		}
	}
	return true
}
