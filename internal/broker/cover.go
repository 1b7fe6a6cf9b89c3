// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"slices"
	"strings"

	"tickedge/internal/topics"
)

// Coverer is a [Source] that can bring the ticks of all topics whose names begin with a prefix, wanted or not.
type Coverer interface {
	// Cover has the source bring, from some time soon on, the ticks of all topics that begin with one of the
	// prefixes ("" is all) to [Owner.Tick], beside those of Apply. It replaces what was covered before; none ends it.
	// The error says in words for a client why the source can't do it at all; then nothing has changed. Any goroutine
	// may call it; it doesn't wait for the broker.
	//
	// What holds for wanted topics stays as it is. One that is covered too is told once a tick: by its own
	// subscription, from when it is wanted. Of topics that are covered alone nothing is fetched, and nothing is told but
	// ticks; a name may be none that can be wanted. While a cover can't be had the source tries again, and is up.
	Cover(prefixes []string) error
}

// Prefixes are those of topics, in order. None of them begins with another.
type Prefixes []string

// NewPrefixes returns those that cover the same topics. What no topic's name can begin with is left out.
func NewPrefixes(of []string) (p Prefixes) {
	sorted := slices.Clone(of)
	slices.Sort(sorted)
	for _, prefix := range sorted {
		known := len(p) > 0 && strings.HasPrefix(prefix, p[len(p)-1])
		if !known && (prefix == "" || topics.ValidName(prefix)) {
			p = append(p, strings.Clone(prefix))
		}
	}
	return p
}

// Cover reports whether a topic begins with one of them.
func (p Prefixes) Cover(topic string) bool {
	// Of those up to the topic in order only the last can be its beginning: what stands between the two would begin with it.
	at, found := slices.BinarySearch(p, topic)
	return found || at > 0 && strings.HasPrefix(topic, p[at-1])
}
