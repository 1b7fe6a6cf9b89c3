// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"bytes"
	"slices"
)

// chunk is some bars that are closed and were told, packed: a quarter of their memory, and ready for snapshots.
type chunk struct {
	packed      []byte
	first, last int64 // Their starts.
	end         int64 // Of the last.
	close       int64
}

const (
	chunkBars = 64
	// thawed is how long before the mark bars are not packed, in milliseconds: most trades that are late go
	// there, and prices look five minutes back.
	thawed = 6 * 60_000
)

// freeze packs bars that began before a time and are not to be told.
func (s *series) freeze(e *Engine, before int64) {
	for {
		live := s.live()
		if s.opened() < chunkBars+2 || live[chunkBars-1].start >= before {
			return
		}
		w, last := packer{e.packed[:0]}, slot{}
		for i := range live[:chunkBars] {
			if live[i].dirty {
				return
			}
			w.slot(&live[i], &last, s.interval.unit())
			last = live[i]
		}
		e.packed = w.b
		s.old = append(s.old, chunk{
			packed: bytes.Clone(w.b), first: live[0].start, last: last.start, end: s.next(last.start), close: last.close,
		})
		s.cut(chunkBars)
	}
}

// thaw unpacks the bars from that which begins at start on.
func (s *series) thaw(start int64) {
	n := len(s.old)
	if n == 0 || s.old[n-1].last < start {
		return
	}
	for n > 0 && s.old[n-1].last >= start {
		n--
	}
	into := s.insert(0, chunkBars*(len(s.old)-n))
	for _, c := range s.old[n:] {
		r, last := unpacker{b: c.packed}, slot{}
		for i := range chunkBars {
			into[i] = r.slot(&last, s.interval.unit())
			last = into[i]
		}
		into = into[chunkBars:]
	}
	s.old = slices.Delete(s.old, n, len(s.old))
}

// cut lets go of the first bars of live.
func (s *series) cut(n int) {
	s.head += n
	if live := s.live(); cap(s.slots) > 1024 && cap(s.slots) > 4*len(live) { // Many were there for a while.
		s.slots, s.head = append(make([]slot, 0, 2*len(live)), live...), 0
		return
	}
	if s.head > len(s.slots)/2 {
		s.slots = s.slots[:copy(s.slots, s.slots[s.head:])]
		s.head = 0
	}
}
