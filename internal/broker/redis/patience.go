// SPDX-License-Identifier: Apache-2.0

package redis

const (
	// levels is how many times the wait of a refused topic doubles: it is asked for again
	// within 1 s, then 2, 4, and each 8 s.
	levels = 4
	// inCompany is the list of the wants that were asked for last in a command with others. They
	// are asked for alone in turns, with half of what each beat has for that, or what is left.
	inCompany = levels
	// trialsMax bounds what is asked for again in a beat, one by one, while it is refused
	// again: a hundred thousand topics that are refused cost Redis no more than so many
	// commands a second. Up to four thousand have their turn within 8 s.
	trialsMax = 500
	// groupsMax bounds the commands in a beat that ask for many again at once, a hundred thousand
	// together. They find out whether all that are left may be had.
	groupsMax = 200
)

// patience has the wants that Redis has refused, and says when each is asked for again. It is
// told the time in beats of a second.
//
//	lists[n]          asked for again each 2ⁿ beats
//	lists[inCompany]  each 8 beats, and alone as soon as may be
//
// All in a list are due at the same beat. When that is depends on when the link began, so it
// is another for each edge.
type patience struct {
	lists          [levels + 1]list
	due            [levels + 1]int // So many of the first in each list may be asked for now.
	beats          uint
	trials, groups int // So many are left in this beat.
}

func newPatience(by int) *patience {
	p := new(patience)
	for i := range p.lists {
		p.lists[i].by = by
	}
	return p
}

func (p *patience) beat() {
	p.beats++
	p.trials, p.groups = trialsMax, groupsMax
	for i := range p.lists {
		if p.beats%(1<<min(i, levels-1)) == 0 {
			p.due[i] = p.lists[i].len
		}
	}
}

// hasten has all be asked for again soon.
func (p *patience) hasten() {
	p.trials, p.groups = trialsMax, groupsMax
	for i := range p.lists {
		p.due[i] = p.lists[i].len
	}
}

// next is a want that is to be asked for, alone or with others. Nil if there is none. The caller
// takes it out of its list.
func (p *patience) next(alone bool) *want {
	turn := alone && p.trials%2 == 0
	if company := p.lists[inCompany].first; turn && company != nil {
		return company
	}
	for i := range p.lists {
		if p.due[i] = min(p.due[i], p.lists[i].len); p.due[i] > 0 {
			p.due[i]--
			return p.lists[i].first
		}
	}
	if alone {
		return p.lists[inCompany].first
	}
	return nil
}

// len is how many wait.
func (p *patience) len() (n int) {
	for i := range p.lists {
		n += p.lists[i].len
	}
	return n
}

// place chooses the list in which a want that was refused waits. It is in none.
func (w *want) place(by int, company bool) {
	if company {
		w.waits[by] = inCompany
		return
	}
	w.waits[by] = min(w.refusals[by], levels-1)
	w.refusals[by] = min(w.refusals[by]+1, levels)
}
