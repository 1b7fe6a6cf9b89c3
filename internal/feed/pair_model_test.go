// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

var (
	pairSeed  = flag.Uint64("pair-seed", 0, "play this one alone in TestPairModel")
	pairPlays = flag.Int("pair-plays", 500, "how many games TestPairModel plays")
)

// gone reports whether a topic's row is a tombstone, whose version does not show.
func (tw *twin) gone(name string) bool {
	id, held := tw.ids[name]
	row := tw.table.Row(id)
	return held && row != nil && row.Delisted()
}

// ver is the version of a topic's row, 0 if there is none.
func (tw *twin) ver(name string) (ver int64) {
	if id, held := tw.ids[name]; !held {
		return 0
	} else if row := tw.table.Row(id); row != nil {
		v, _ := inspect(string(row.Value()), "")
		return v.Whole
	}
	return 0
}

// world is what the model has beside the feed: two brokers, the links of the edge to them, and a publisher.
type world struct {
	*twin
	rnd   *rand.Rand
	sides [2]side
	sent  map[string][]publication // By topic, rising versions.
	last  int64
	shown map[string]int64 // The highest version that the table has had.
}

type publication struct {
	ver int64
	at  time.Time
}

func newWorld(t *testing.T, seed uint64, names ...string) *world {
	w := &world{twin: newTwin(t, names...), rnd: rand.New(rand.NewPCG(seed, 1)), sent: make(map[string][]publication), shown: make(map[string]int64)}
	for i := range w.sides {
		w.sides[i] = side{newest: make(map[string]int64), refuse: make(map[string]bool)}
	}
	return w
}

// side is a broker, and the edge's link to it.
type side struct {
	newest map[string]int64
	queue  []message // Published or read, and not told yet, in order.
	linked bool      // The edge hears it.
	up     bool
	refuse map[string]bool
}

type message struct {
	name string
	ver  int64 // 0 is none.
	kind string
	mark uint64
	at   time.Time
}

// read asks for all topics, or one, in the order in which a source does: the mark, then the value behind all
// that was published before.
func (w *world) read(i int, name string) {
	s := &w.sides[i]
	mark, held := w.half[i].Mark(name)
	if !held {
		return
	}
	kind := "repair"
	if s.refuse[name] {
		kind = "refuse"
	}
	s.queue = append(s.queue, message{name, s.newest[name], kind, mark, time.Now()})
}

func (w *world) connect(i int) {
	s := &w.sides[i]
	s.linked = true
	for _, name := range slices.Sorted(maps.Keys(w.ids)) {
		w.read(i, name)
	}
	s.queue = append(s.queue, message{kind: "up", at: time.Now()})
}

func (w *world) cut(i int) {
	s := &w.sides[i]
	s.linked, s.queue = false, nil
	if s.up {
		s.up = false
		w.half[i].SetUp(false)
	}
}

// deliver tells what a link has longest.
func (w *world) deliver(i int) {
	s, h := &w.sides[i], w.half[i]
	if len(s.queue) == 0 {
		return
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	switch {
	case m.kind == "up":
		s.up = true
		h.SetUp(true)
	case m.kind == "tick":
		h.Tick(m.name, value(m.ver), h.Now())
	case m.kind == "refuse":
		h.GoStale(m.name, m.mark, broker.NotPermitted)
	case m.ver == 0:
		h.Absent(m.name)
	default:
		v, _ := h.Inspect(value(m.ver))
		h.Repair(m.name, value(m.ver), m.mark, topics.Meta{At: h.Now(), Version: v})
	}
}

// publish writes the next version of a topic into one broker or both.
func (w *world) publish(name string, to halves) {
	w.last++
	w.sent[name] = append(w.sent[name], publication{w.last, time.Now()})
	for i := range w.sides {
		if s := &w.sides[i]; to&(one<<i) != 0 {
			s.write(name, w.last)
		}
	}
}

func (s *side) write(name string, ver int64) {
	if s.newest[name] >= ver {
		return // The broker's fence.
	}
	s.newest[name] = ver
	if s.linked && !s.refuse[name] {
		s.queue = append(s.queue, message{name, ver, "tick", 0, time.Now()})
	}
}

// stamp does what the feed does each second, and looks whether the token that it makes is true.
func (w *world) stamp() {
	for i := range w.sides {
		s := &w.sides[i]
		w.half[i].Stats = broker.Stats{Connected: s.linked, Heard: time.Time{}}
		switch {
		case !s.linked:
		case len(s.queue) == 0:
			w.half[i].Stats.Heard = time.Now()
		default:
			w.half[i].Stats.Heard = s.queue[0].at
		}
	}
	heard := w.sources[0].Source.Stats().Heard
	before := w.table.Offer()
	w.measure(time.Now())
	w.table.Stamp(w.clock.both)
	o := w.table.Offer()
	if o == nil || before != nil && o.ID == before.ID {
		return
	}
	for name, id := range w.ids {
		if !w.table.Settled(id, o) {
			continue
		}
		for _, p := range w.sent[name] {
			if p.at.Before(heard) && p.ver > w.ver(name) && !w.gone(name) {
				w.t.Fatalf("a token says that all of %s is known up to %v, and version %d of %v is not: the row has %d", name, heard, p.ver, p.at, w.ver(name))
			}
		}
	}
}

// miss has a link miss the ticks of a topic that wait, and read the value. What it has read before may lack them: that is
// not told any more.
func (w *world) miss(i int, name string) {
	s := &w.sides[i]
	w.half[i].Doubt(name)
	s.queue = slices.DeleteFunc(s.queue, func(m message) bool { return m.name == name })
	w.read(i, name)
}

func (w *world) step(names []string) {
	i, name := w.rnd.IntN(2), names[w.rnd.IntN(len(names))]
	s := &w.sides[i]
	switch n := w.rnd.IntN(100); {
	case n < 35:
		w.publish(name, []halves{one, one << 1, both, both, both}[w.rnd.IntN(5)])
	case n < 75:
		for range w.rnd.IntN(8) {
			w.deliver(i)
		}
	case n < 80:
		w.cut(i)
	case n < 86 && !s.linked:
		w.connect(i)
	case n < 89 && s.linked:
		s.refuse[name] = !s.refuse[name]
		if w.read(i, name); s.refuse[name] {
			w.half[i].Doubt(name)
		}
	case n < 91 && s.linked: // It may have missed something, and reads the value.
		w.miss(i, name)
	case n < 93:
		w.toggle(name)
	default:
		time.Sleep(time.Duration(w.rnd.IntN(1500)) * time.Millisecond)
		w.stamp()
	}
	for name := range w.ids {
		w.look(name)
	}
}

// look finds a topic that goes back, or that clients are told is refused, or has no value, while a half serves it.
func (w *world) look(name string) {
	w.t.Helper()
	at, why := w.table.StaleFor(w.ids[name])
	for i := range w.sides {
		s := &w.sides[i]
		if !s.up || len(s.queue) > 0 || s.refuse[name] || s.newest[name] == 0 {
			continue
		}
		if at != 0 && why != topics.Silent || !w.gone(name) && w.table.IsAbsent(w.ids[name]) {
			w.t.Fatalf("%s is %s, absent is %v, and half %d serves it", name, w.why(name), w.table.IsAbsent(w.ids[name]), i)
		}
	}
	if w.gone(name) {
		return
	}
	if ver := w.ver(name); ver < w.shown[name] {
		w.t.Fatalf("%s goes back from version %d to %d", name, w.shown[name], ver)
	} else {
		w.shown[name] = ver
	}
}

// toggle gives a topic up, or wants it again.
func (w *world) toggle(name string) {
	if id, held := w.ids[name]; held {
		w.table.Release(id, time.Now())
		w.table.Sweep(time.Now().Add(time.Hour))
		w.sources[0].Source.Apply(w.table.Changes(0, nil, 100))
		delete(w.ids, name)
		w.shown[name] = 0
		for i := range w.sides {
			s := &w.sides[i]
			s.queue = slices.DeleteFunc(s.queue, func(m message) bool { return m.name == name && m.kind != "tick" })
		}
		return
	}
	w.want(name)
	for i := range w.sides {
		if w.sides[i].linked {
			w.read(i, name)
		}
	}
}

// end mends all, has the publisher write what a broker lacks, and looks at what the table ends with.
func (w *world) end(names []string) {
	for i := range w.sides {
		clear(w.sides[i].refuse)
		w.cut(i)
	}
	for _, name := range names {
		if _, held := w.ids[name]; !held {
			w.toggle(name)
		}
	}
	w.connect(0)
	w.connect(1)
	for i := range w.sides {
		for len(w.sides[i].queue) > 0 {
			w.deliver(i)
		}
	}
	for _, name := range names {
		if sent := w.sent[name]; len(sent) > 0 {
			if last := sent[len(sent)-1].ver; w.gone(name) != (last%5 == 0) || !w.gone(name) && w.ver(name) != last {
				w.t.Errorf("%s ends with version %d, want %d", name, w.ver(name), last)
			}
		}
		if at, why := w.table.StaleFor(w.ids[name]); at != 0 && why != topics.Silent {
			w.t.Errorf("%s is stale for %v, and served", name, why)
		}
	}
	time.Sleep(time.Second)
	w.stamp()
	time.Sleep(time.Second)
	w.stamp()
	for _, name := range names {
		if !w.table.Settled(w.ids[name], w.table.Offer()) {
			w.t.Errorf("%s is not settled at the end", name)
		}
	}
}

// Where a source doubts a topic while a fetch of it is under way, that fetch says nothing of what was missed.
func TestPairDoubtsWhatIsBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "T")
		w.connect(0)
		w.connect(1)
		tell := func(i, n int) {
			for range n {
				w.deliver(i)
			}
		}
		tell(0, 2)
		w.publish("T", one<<1)
		w.miss(1, "T") // Its first read is under way.
		time.Sleep(time.Second)
		tell(1, 1)
		w.stamp()
		tell(1, 1)
		time.Sleep(time.Second)
		w.stamp()
		if !w.table.Settled(w.ids["T"], w.table.Offer()) || w.ver("T") != 1 {
			t.Errorf("version %d, settled is %v", w.ver("T"), w.table.Settled(w.ids["T"], w.table.Offer()))
		}
	})
}

// Two brokers, links that fail, lag and refuse, and a publisher that reaches one or both: the table never goes back,
// no token says more than is known, and the newest version that either has taken is what it ends with.
func TestPairModel(t *testing.T) {
	play := func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			names := []string{"A", "B", "C"}
			defer func() {
				if t.Failed() {
					t.Logf("go test ./internal/feed -run TestPairModel -pair-seed %d", seed)
				}
			}()
			w := newWorld(t, seed, names...)
			for range 400 {
				w.step(names)
			}
			w.end(names)
		})
	}
	if *pairSeed != 0 {
		play(t, *pairSeed)
		return
	}
	for range *pairPlays {
		if play(t, rand.Uint64()); t.Failed() {
			return
		}
	}
}
