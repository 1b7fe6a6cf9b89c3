// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"slices"

	"tickedge/internal/trade"
)

// ids are the ids of trades that are known, as runs without a gap: those of a source that numbers its trades
// are a run or a few, whatever the rate.
type ids struct {
	runs  []run // In order, with a gap between any two.
	floor int64 // Ids up to it were let go of: it can't be said whether they are known.
	since int64 // Trades up to this time were numbered otherwise, in Unix microseconds: their ids are not known any more.
}

// renumber lets go of all ids from before its source began to number anew, and reports whether a trade shows that
// it did: its id is not above the highest one, and its time is clearly after that of the run which has that one.
// No trade that was known by then is after since, so each that comes again is told by its time.
func (d *ids) renumber(id, time int64) bool {
	n := len(d.runs)
	if n == 0 || id > d.runs[n-1].hi || time <= d.runs[n-1].newest+trade.RenumberedAfter {
		return false
	}
	d.since, d.floor = max(d.since, d.runs[n-1].newest), 0
	d.expire(d.since + 1)
	return true
}

// run is the ids from lo to hi, 24 bytes.
type run struct {
	lo, hi int64
	newest int64 // The latest time of its trades, in Unix microseconds.
}

// find returns where an id is to be put, and whether it is known.
func (d *ids) find(id int64) (at int, known bool) {
	n := len(d.runs)
	if n == 0 || id > d.runs[n-1].hi {
		return n, false
	}
	at, _ = slices.BinarySearchFunc(d.runs, id, func(r run, id int64) int {
		if r.hi < id {
			return -1
		}
		return 1
	})
	return at, d.runs[at].lo <= id
}

// put adds an id at the place that find has returned. Of more than most runs, the lowest eighth gives way; those whose
// trades are all from before a time go first.
func (d *ids) put(at int, id, time int64, most int, before int64) {
	left := at > 0 && d.runs[at-1].hi == id-1
	right := at < len(d.runs) && d.runs[at].lo == id+1
	switch {
	case left && right:
		l, r := &d.runs[at-1], d.runs[at]
		l.hi, l.newest = r.hi, max(l.newest, r.newest, time)
		d.runs = slices.Delete(d.runs, at, at+1)
	case left:
		r := &d.runs[at-1]
		r.hi, r.newest = id, max(r.newest, time)
	case right:
		r := &d.runs[at]
		r.lo, r.newest = id, max(r.newest, time)
	default:
		if len(d.runs) == cap(d.runs) || len(d.runs) >= most {
			d.expire(before)
			at, _ = d.find(id)
		}
		d.runs = slices.Insert(d.runs, at, run{id, id, time})
		if len(d.runs) > most {
			leave := max(most/8, 1) // Many at once, as all others are moved.
			d.floor = max(d.floor, d.runs[leave-1].hi)
			d.runs = slices.Delete(d.runs, 0, leave)
		}
	}
}

// expire lets go of runs whose trades are all from before a time: their like are late.
func (d *ids) expire(before int64) {
	d.runs = slices.DeleteFunc(d.runs, func(r run) bool { return r.newest < before })
}
