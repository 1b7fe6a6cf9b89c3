// SPDX-License-Identifier: Apache-2.0

package alert

// axis is the alerts of a symbol that compare with the same value. A value goes through those only that it concerns: what it
// reaches from below, and what it reaches from above.
type axis struct {
	of     Axis
	up     heap   // Concerned by values at their level or above it.
	down   heap   // Concerned by values at their level or below it.
	unsure []*leg // Crossings whose side is not known.
	past   past   // Nil: the value is the price itself.
	primed bool
	count  int // Of alerts.
}

// watched is an alert in an engine: of an [Alert] what decides.
type watched struct {
	id, arm int64
	// since is when it was armed or, while it waits, fired: what is before it concerns it no more.
	since      int64
	expires    int64
	told       int64 // The newest generation that the store has told: the engine has armed it since if arm is above that.
	armed      int64 // Of arm.
	threshold  Num   // The target, or the percentage with its sign.
	hysteresis Num
	axis       *axis
	legs       [2]leg // The second is that of a crossing that waits: it is armed anew on either side.
	side       Side
	condition  uint8
	repeat     bool
	waiting    bool
}

// leg is a place of an alert in a heap.
type leg struct {
	of    *watched
	in    *heap // Nil if it is in none.
	at    int   // Where.
	level Num
	past  bool // It is concerned by values beyond its level, and not by those at it.
}

// Conditions, in a byte.
const (
	above uint8 = iota
	below
	crosses
)

// heap is a binary heap that knows where its elements are. The least level is at the top, or the greatest.
type heap struct {
	all      []*leg
	greatest bool
}

func (h *heap) before(a, b *leg) bool {
	if h.greatest {
		a, b = b, a
	}
	return a.level.Less(b.level)
}

func (h *heap) push(l *leg) {
	l.in, l.at = h, len(h.all)
	h.all = append(h.all, l)
	h.rise(l.at)
}

func (h *heap) remove(l *leg) {
	at, last := l.at, len(h.all)-1
	if at != last {
		h.all[at] = h.all[last]
		h.all[at].at = at
	}
	h.all[last] = nil
	h.all = h.all[:last]
	if at != last && !h.rise(at) {
		h.sink(at)
	}
	l.in = nil
	if cap(h.all) > 64 && len(h.all) < cap(h.all)/4 {
		h.all = append(make([]*leg, 0, cap(h.all)/2), h.all...)
	}
}

func (h *heap) rise(at int) (moved bool) {
	for at > 0 {
		up := (at - 1) / 2
		if !h.before(h.all[at], h.all[up]) {
			return moved
		}
		h.swap(at, up)
		at, moved = up, true
	}
	return moved
}

func (h *heap) sink(at int) {
	for {
		top := at
		for c := 2*at + 1; c <= 2*at+2 && c < len(h.all); c++ {
			if h.before(h.all[c], h.all[top]) {
				top = c
			}
		}
		if top == at {
			return
		}
		h.swap(at, top)
		at = top
	}
}

func (h *heap) swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].at, h.all[j].at = i, j
}

// beyond is above 0 if a value is beyond a leg's level, and 0 if it is at it.
func (h *heap) beyond(l *leg, v Num) int {
	if h.greatest {
		return l.level.Compare(v)
	}
	return v.Compare(l.level)
}

// concerns reports whether a value concerns the alert of a leg.
func (h *heap) concerns(l *leg, v Num) bool {
	d := h.beyond(l, v)
	return d > 0 || d == 0 && !l.past
}

// reached appends the legs that a value concerns, which stay where they are. It looks at twice as many.
func (h *heap) reached(v Num, to []*leg) []*leg {
	if len(h.all) == 0 {
		return to
	}
	return h.reachedFrom(0, v, to)
}

func (h *heap) reachedFrom(at int, v Num, to []*leg) []*leg {
	l := h.all[at]
	d := h.beyond(l, v)
	if d < 0 {
		return to
	}
	if d > 0 || !l.past {
		to = append(to, l)
	}
	for c := 2*at + 1; c <= 2*at+2 && c < len(h.all); c++ {
		to = h.reachedFrom(c, v, to)
	}
	return to
}

// place puts an alert where the value will find it.
func (a *axis) place(w *watched) {
	w.axis = a
	low, high := &w.legs[0], &w.legs[1]
	low.of, high.of = w, w
	low.past, high.past = w.waiting, w.waiting
	switch {
	case w.condition == above && w.waiting:
		low.level = w.back(true)
		a.down.push(low)
	case w.condition == above:
		low.level = w.threshold
		a.up.push(low)
	case w.condition == below && w.waiting:
		low.level = w.back(false)
		a.up.push(low)
	case w.condition == below:
		low.level = w.threshold
		a.down.push(low)
	case w.waiting:
		low.level, high.level = w.back(true), w.back(false)
		a.down.push(low)
		a.up.push(high)
	case w.side == UnderTarget:
		low.level = w.threshold
		a.up.push(low)
	case w.side == OverTarget:
		low.level = w.threshold
		a.down.push(low)
	default:
		low.at = len(a.unsure)
		a.unsure = append(a.unsure, low)
	}
}

// back is the level at which an alert that waits is armed anew, below its threshold or above it.
func (w *watched) back(under bool) Num {
	h := w.hysteresis
	if under {
		h = h.Neg()
	}
	if w.axis.past == nil {
		return w.threshold.Scale(h)
	}
	return w.threshold.Add(h)
}

// lift takes an alert from where it was placed.
func (a *axis) lift(w *watched) {
	if a.unsureHas(&w.legs[0]) {
		at, last := w.legs[0].at, len(a.unsure)-1
		a.unsure[at] = a.unsure[last]
		a.unsure[at].at = at
		a.unsure[last] = nil
		a.unsure = a.unsure[:last]
		return
	}
	for i := range w.legs {
		if l := &w.legs[i]; l.in != nil {
			l.in.remove(l)
		}
	}
}

func (a *axis) unsureHas(l *leg) bool {
	return l.in == nil && l.at < len(a.unsure) && a.unsure[l.at] == l
}
