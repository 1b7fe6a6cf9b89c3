// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"hash/maphash"
	"sync"
	"time"
)

// PrefixLimit is a rate that each prefix has, whichever of its conns uses it. Nil is no
// limit. Its methods may be called from any goroutine; they wait for nothing but a lock
// held for some 100 ns, and allocate nothing. The zero Prefix, nobody, is not limited. The
// times of several loops need not be in order.
//
// Memory: 1 MiB, for 65,536 prefixes whose bucket is not full. If more come, those are
// forgotten whose buckets are the closest to full, as in [Guard].
type PrefixLimit struct {
	meter
	start  time.Time
	seed   maphash.Seed
	shards [shardCount]recents
}

// recents is a part of the prefixes that came lately.
type recents struct {
	sync.Mutex
	sets [][ways]visitor
}

// NewPrefixLimit makes a limit whose time begins at start. It is nil if r is the zero Rate.
// It panics if r is out of range, see [Rate.Valid].
func NewPrefixLimit(r Rate, start time.Time) *PrefixLimit {
	if r == (Rate{}) {
		return nil
	}
	l := &PrefixLimit{meter: newMeter(r), start: start, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].sets = make([][ways]visitor, setsPerShard)
	}
	return l
}

// Take uses one event of a prefix. It reports false, and changes nothing, if the prefix
// has none left.
func (l *PrefixLimit) Take(src Prefix, now time.Time) bool {
	if l == nil || src == 0 {
		return true
	}
	at, full, clock := l.look(src, now)
	defer at.Unlock()
	after, ok := l.add(full, clock)
	if ok {
		at.keep(src, after)
	}
	return ok
}

// Has reports whether a prefix has anything left.
func (l *PrefixLimit) Has(src Prefix, now time.Time) bool {
	if l == nil || src == 0 {
		return true
	}
	at, full, clock := l.look(src, now)
	defer at.Unlock()
	return full < clock+l.burst
}

// Spend uses n events of a prefix, whether it has them or not: what is used that was not
// there has to come in before the prefix has something left again. It is for what is known
// only when it is done. A caller that asks [PrefixLimit.Has] before spends too much once per loop.
func (l *PrefixLimit) Spend(src Prefix, n int, now time.Time) {
	if l == nil || src == 0 || n <= 0 {
		return
	}
	at, full, clock := l.look(src, now)
	defer at.Unlock()
	at.keep(src, max(full, clock)+uint64(n)*unit)
}

// place is where a prefix is kept, with the lock of its part held.
type place struct {
	*recents
	*visitor
}

func (p place) keep(src Prefix, full uint64) { *p.visitor = visitor{src, full} }

// Return gives one event of a prefix back that was taken and turned out to be free.
func (l *PrefixLimit) Return(src Prefix) {
	if l == nil || src == 0 {
		return
	}
	at, full, _ := l.look(src, l.start)
	defer at.Unlock()
	if at.prefix == src && full > 0 {
		at.keep(src, full-min(full, unit))
	}
}

// look finds a prefix's place, and when its bucket is full by l's clock, which is read too.
// The caller unlocks the place.
func (l *PrefixLimit) look(src Prefix, now time.Time) (_ place, full, clock uint64) {
	hash := maphash.Comparable(l.seed, src)
	r := &l.shards[hash%shardCount]
	r.Lock()
	v := find(&r.sets[hash/shardCount%setsPerShard], src)
	if v.prefix == src {
		full = v.full
	}
	return place{r, v}, full, l.clock(now.Sub(l.start))
}
