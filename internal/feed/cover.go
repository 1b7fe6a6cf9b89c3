// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"errors"
	"slices"
	"strings"

	"tickedge/internal/broker"
)

// Cover has the ticks of all topics that begin with one of the prefixes ("" is all) come from the sources that take them,
// wanted or not, beside those that are wanted. It replaces what was covered before; none ends it. An error is that of the
// first source which can't do it, in words for a client; then all is as it was. Any goroutine may call it; it doesn't
// wait for brokers.
func (f *Feed) Cover(prefixes []string) error {
	f.coverMu.Lock()
	defer f.coverMu.Unlock()
	to := f.spread(prefixes)
	for i, s := range f.sources {
		if slices.Equal(to[i], s.covered) {
			continue
		}
		if len(f.sources) > 1 {
			s.strays.Store(true) // For ever: what it was to bring may come late.
		}
		if err := cover(s.Source, to[i]); err != nil {
			for _, told := range f.sources[:i] {
				_ = cover(told.Source, told.covered) // It could before.
			}
			return err
		}
	}
	for i, s := range f.sources {
		s.covered = to[i]
	}
	return nil
}

// errNoCover is the error of a source that is no [broker.Coverer].
var errNoCover = errors.New("its broker brings topics by their names alone")

// cover has a source cover prefixes, if it is one that can.
func cover(s broker.Source, prefixes []string) error {
	if c, can := s.(broker.Coverer); can {
		return c.Cover(prefixes)
	}
	if len(prefixes) == 0 {
		return nil
	}
	return errNoCover
}

// spread says which source is to cover what.
func (r router) spread(prefixes []string) [][]string {
	to := make([][]string, len(r))
	for _, prefix := range broker.NewPrefixes(prefixes) {
		for i, patterns := range r {
			parts, all := within(patterns, prefix)
			to[i] = append(to[i], parts...)
			if all { // Nothing is left for the others.
				break
			}
		}
	}
	for i := range to {
		to[i] = broker.NewPrefixes(to[i])
	}
	return to
}

// within says how the topics begin that begin with a prefix and match one of the patterns of a source, of which the last
// has none, and whether those are all that begin with the prefix.
func within(patterns []string, prefix string) (parts []string, all bool) {
	if len(patterns) == 0 {
		return []string{prefix}, true
	}
	for _, p := range patterns {
		head, rest, star := strings.Cut(p, "*")
		switch {
		case strings.HasPrefix(head, prefix):
			parts = append(parts, head)
		case star && strings.HasPrefix(prefix, head):
			parts = append(parts, prefix)
		default:
			continue
		}
		if star && rest == "" && strings.HasPrefix(prefix, head) {
			return []string{prefix}, true
		}
	}
	return parts, false
}
