// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"cmp"
	"slices"

	"tickedge/internal/topics"
)

// ranking is the part of a view that is ranked: the topics that fulfil its condition are candidates, and those are inside that
// come first when they are ranked, which is done at most every [rankEvery].
type ranking struct {
	candidates map[string]candidate
	unranked   bool      // They have changed since they were ranked.
	order      []string  // Of those inside. It is not changed, but replaced.
	orderedAt  uint64    // The position since when the order is so.
	best       []contest // Scratch.
}

type candidate struct {
	row *topics.Row
	by  Number
}

type contest struct {
	name string
	candidate
}

// nominate is put of a view that is ranked. The caller holds v.mu.
func (v *View) nominate(name string, row *topics.Row, stands bool, by Number) {
	if !stands {
		if _, stood := v.candidates[name]; stood {
			delete(v.candidates, name)
			v.unranked = true
		}
		return
	}
	v.candidates[name] = candidate{row, by}
	v.unranked = true
}

// before says which of two candidates comes first: below 0 is a.
func (v *View) before(a, b *contest) int {
	order := a.by.Compare(b.by)
	if v.spec.By.Descending {
		order = -order
	}
	return cmp.Or(order, cmp.Compare(a.name, b.name))
}

// rank ranks a view whose candidates have changed.
func (v *View) rank() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.unranked {
		return
	}
	v.unranked = false
	best := v.first()
	order := make([]string, len(best))
	for i := range best {
		order[i] = best[i].name
	}
	for _, name := range v.order {
		if !slices.Contains(order, name) {
			v.note(name, nil, false)
		}
	}
	for i := range best {
		v.note(best[i].name, best[i].row, true)
	}
	clear(best) // Rows that are not the newest any more are garbage.
	if !slices.Equal(order, v.order) {
		v.order, v.orderedAt = order, v.head.Load()+1
		v.head.Store(v.orderedAt)
	}
}

// first returns the candidates that come first, in order: the last of those that were taken is given up for one that comes
// before it. Few of many do.
func (v *View) first() []contest {
	best := v.best[:0]
	for name, c := range v.candidates {
		one := contest{name, c}
		if len(best) == v.spec.Top {
			if v.before(&one, &best[len(best)-1]) > 0 {
				continue
			}
			best = best[:len(best)-1]
		}
		i, _ := slices.BinarySearchFunc(best, &one, func(a contest, b *contest) int { return v.before(&a, b) })
		best = slices.Insert(best, i, one)
	}
	v.best = best
	return best
}
