// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"tickedge/internal/broker"
)

// Pair is two brokers to which the same ticks are published, as one [broker.Config]: a|b. Both are
// read all the time, and the value with the newer version counts. Values without a version are not taken.
type Pair [2]broker.Config

// Files implements [broker.Config].
func (p Pair) Files() int { return p[0].Files() + p[1].Files() }

// String implements [broker.Config].
func (p Pair) String() string { return p[0].String() + "|" + p[1].String() }

// Source implements [broker.Config]. The owner does not take values without a version.
func (p Pair) Source(owner broker.Owner, log *slog.Logger) (broker.Source, error) {
	return newPair(p, owner, log)
}

// List implements [broker.Lister]: what either lists.
func (p Pair) List(ctx context.Context, each func(topic string) bool) (all bool, err error) {
	all, more := true, true
	for _, half := range p {
		l, is := half.(broker.Lister)
		if !is {
			all = false
			continue
		}
		whole, failed := l.List(ctx, func(topic string) bool {
			more = each(topic)
			return more
		})
		all, err = all && whole && failed == nil, errors.Join(err, failed)
		if !more {
			return false, err
		}
	}
	return all, err
}

// Cure implements [broker.Lister].
func (p Pair) Cure(err error) (cure string) {
	for _, half := range p {
		if l, is := half.(broker.Lister); is && cure == "" {
			cure = l.Cure(err)
		}
	}
	return cure
}

// Cover implements [broker.Coverer]: both do, or none.
func (p *pair) Cover(prefixes []string) error {
	p.coverMu.Lock()
	defer p.coverMu.Unlock()
	for i, s := range p.of {
		if err := cover(s, prefixes); err != nil {
			if i > 0 {
				_ = cover(p.of[0], p.covered) // As before, which it could.
			}
			return err
		}
	}
	p.covered = slices.Clone(prefixes)
	return nil
}
