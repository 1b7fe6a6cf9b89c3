// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/topics"
)

// tombsMin bounds how many names a view keeps of topics that are not inside any more, unless more are inside. Who has not
// heard of those that it has forgotten gets all that is inside. Only tests change it.
var tombsMin = 1024

// slackMin is by how much the log of a view is longer than its members when it is made short again.
const slackMin = 64

// View is one screen, for all who have asked for it. Its methods may be called from any goroutine.
//
// Invariants: the last entry of the log of each member is the one with its seq, and seqs rise in the log. Members whose seq
// is at most floor are inside.
type View struct {
	spec Spec
	key  string

	// Of the registry, under its lock.
	cover *cover
	refs  int
	idle  time.Time // Since when nobody has it, while refs is 0.

	ready atomic.Bool   // What is inside has been looked at.
	head  atomic.Uint64 // The seq of the newest change. It begins with 1.

	mu      sync.Mutex
	floor   uint64
	members []member
	free    []uint32
	index   map[string]uint32 // Of members, by name.
	inside  int
	log     []change

	ranking
}

// member is a topic that is inside, or was.
type member struct {
	name   string
	row    *topics.Row // Of what is inside: the one that made it so.
	seq    uint64      // When that changed.
	inside bool
}

type change struct {
	seq    uint64
	member uint32
}

func newView(spec Spec, key string) *View {
	v := &View{spec: spec, key: key, index: make(map[string]uint32)}
	v.head.Store(1)
	if spec.Top > 0 {
		v.candidates = make(map[string]candidate)
	}
	return v
}

// Spec is what was asked for. It is not to be changed.
func (v *View) Spec() *Spec { return &v.spec }

// Ready reports whether the view has looked at all topics once: before, it has nothing to tell.
func (v *View) Ready() bool { return v.ready.Load() }

// Head is the position of who has heard of everything.
func (v *View) Head() uint64 { return v.head.Load() }

// put notes whether a topic is inside with a row. by is what it is ranked by, if it has that.
func (v *View) put(name string, row *topics.Row, inside bool, by Number, ranked bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.spec.Top > 0 {
		v.nominate(name, row, inside && ranked, by)
		return
	}
	v.note(name, row, inside)
}

// note is put for what is not to be ranked any more. The caller holds v.mu.
func (v *View) note(name string, row *topics.Row, inside bool) {
	i, known := v.index[name]
	if !known {
		if !inside {
			return
		}
		i = v.add(name)
	}
	m := &v.members[i]
	if m.inside == inside && (m.row == row || !inside) {
		return
	}
	switch {
	case inside && !m.inside:
		v.inside++
	case !inside:
		v.inside--
		row = nil
	}
	m.row, m.inside, m.seq = row, inside, v.head.Load()+1
	v.log = append(v.log, change{m.seq, i})
	if len(v.log) >= 2*len(v.index)+slackMin {
		v.shorten()
	}
	v.head.Store(m.seq)
}

func (v *View) add(name string) uint32 {
	var i uint32
	if n := len(v.free); n > 0 {
		i = v.free[n-1]
		v.free = v.free[:n-1]
	} else {
		i = uint32(len(v.members))
		v.members = append(v.members, member{})
	}
	v.members[i] = member{name: name}
	v.index[name] = i
	return i
}

// shorten leaves the newest change of each member in the log, and forgets the oldest of those that are not inside if there
// are too many.
func (v *View) shorten() {
	kept, forget := v.log[:0], 0
	if tombs := len(v.index) - v.inside; tombs > max(tombsMin, v.inside) {
		forget = tombs / 2
	}
	for _, c := range v.log {
		m := &v.members[c.member]
		switch {
		case m.seq != c.seq:
		case !m.inside && forget > 0:
			forget--
			v.floor = c.seq
			delete(v.index, m.name)
			*m = member{}
			v.free = append(v.free, c.member)
		default:
			kept = append(kept, c)
		}
	}
	v.log = kept
}

// Place is how far somebody has heard of a view. The zero value is that of who has heard nothing.
type Place struct {
	at      uint64 // The changes up to here.
	ordered uint64 // The order of this position.
	floor   uint64 // The view's, when all that is inside began to be told: what was forgotten before is nothing to it.
}

// Piece is some of what has changed.
type Piece struct {
	Full  bool          // It is all that is inside, or begins that: what was told before is forgotten.
	More  bool          // There is more to fetch.
	Rows  []*topics.Row // Inside, and changed.
	Out   []string      // Not inside any more, if they were.
	Order []string      // The names in order, if that has changed. It is not to be changed.
}

// nameCost is what a name has around it in a message, and rowCost a row.
const nameCost, rowCost = 3, 1

// Changes fetches what has changed since a place, which moves on: as much as fits into most bytes of a message, and
// one row or name at least. It is to be called again while there is more.
func (v *View) Changes(at *Place, most int, p *Piece) {
	p.Rows, p.Out, p.Order, p.More = p.Rows[:0], p.Out[:0], nil, false
	v.mu.Lock()
	defer v.mu.Unlock()
	p.Full = at.at == 0 || max(at.at, at.floor) < v.floor
	if p.Full {
		*at = Place{floor: v.floor}
	}
	size := 0
	for i := v.after(at.at); i < len(v.log); i++ {
		c := v.log[i]
		m := &v.members[c.member]
		if m.seq != c.seq || !m.inside && p.Full {
			continue
		}
		cost := len(m.name) + nameCost
		if m.inside {
			cost = len(m.row.JSON()) + rowCost
		}
		if size += cost; size > most && size > cost {
			p.More = true
			return
		}
		if m.inside {
			p.Rows = append(p.Rows, m.row)
		} else {
			p.Out = append(p.Out, m.name)
		}
		at.at = c.seq
	}
	at.at = v.head.Load()
	if v.spec.Top > 0 && at.ordered < v.orderedAt {
		p.Order, at.ordered = v.order, v.orderedAt
	}
}

// after is the index in the log of the first change behind seq.
func (v *View) after(seq uint64) int {
	low, high := 0, len(v.log)
	for low < high {
		mid := (low + high) / 2
		if v.log[mid].seq > seq {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// Heard reports whether there is nothing new since a place.
func (v *View) Heard(at Place) bool { return at.at == v.head.Load() }

// Inside is how many topics are inside.
func (v *View) Inside() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.inside
}
