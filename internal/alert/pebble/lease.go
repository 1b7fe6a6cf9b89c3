// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"slices"
	"sync"

	"tickedge/internal/alert"
)

var errOwner = errors.New("alerts: the owner of leases has no name: give it one")

// leases say who has which buckets. They end with the process: no other one has the folder.
type leases struct {
	mu     sync.Mutex
	owners map[string]int64 // Until when they are alive.
	of     [alert.Buckets]struct {
		owner string // Empty for nobody.
		until int64
	}
}

// Lease implements [alert.Store].
func (s *Store) Lease(ctx context.Context, owner string, now, term int64) (buckets []int, err error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if owner == "" {
		return nil, errOwner
	}
	return s.leases.lease(owner, now, term), nil
}

func (l *leases) lease(owner string, now, term int64) (buckets []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, until := range l.owners {
		if until <= now {
			delete(l.owners, name)
		}
	}
	if l.owners == nil {
		l.owners = make(map[string]int64)
	}
	l.owners[owner] = now + term
	share := (alert.Buckets + len(l.owners) - 1) / len(l.owners)
	for pass := range 2 { // What it has is first, what it takes comes to it.
		for b := range l.of {
			o := &l.of[b]
			switch mine := o.owner == owner; {
			case pass == 0 && mine && len(buckets) < share, pass == 1 && !mine && len(buckets) < share && (o.owner == "" || o.until <= now):
				o.owner, o.until = owner, now+term
				buckets = append(buckets, b)
			case pass == 0 && mine:
				o.owner = ""
			}
		}
	}
	slices.Sort(buckets)
	return buckets
}

// Release implements [alert.Store].
func (s *Store) Release(ctx context.Context, owner string) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	l := &s.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owners, owner)
	for b := range l.of {
		if l.of[b].owner == owner {
			l.of[b].owner = ""
		}
	}
	return nil
}
