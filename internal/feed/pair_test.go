// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

var (
	pairSeed  = flag.Uint64("pair-seed", 0, "play this one alone in TestPairModel")
	pairPlays = flag.Int("pair-plays", 500, "how many games TestPairModel plays")
)

// twin is a feed with one pair of puppets.
type twin struct {
	*Feed
	t    *testing.T
	half [2]*puppet
	ids  map[string]topics.ID
	log  *logtest.Log
}

func newTwin(t *testing.T, names ...string) *twin {
	t.Helper()
	log, text := logtest.New(t)
	tw := &twin{t: t, half: [2]*puppet{{}, {}}, ids: make(map[string]topics.ID), log: text}
	var err error
	table := topics.New(topics.Config{Max: 100, Start: time.Now(), StaleFloor: time.Hour})
	if tw.Feed, err = New(Config{{Broker: Pair{tw.half[0], tw.half[1]}}}, table, log); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		tw.want(name)
	}
	return tw
}

func (tw *twin) want(name string) {
	tw.t.Helper()
	id, err := tw.table.Acquire([]byte(name), 0)
	if err != nil {
		tw.t.Fatal(err)
	}
	tw.ids[name] = id
	tw.sources[0].Source.Apply(tw.table.Changes(0, nil, 100))
}

// value is a value of a version: each fifth is a tombstone.
func value(ver int64) string {
	if ver%5 == 0 {
		return string(broker.Tombstone(ver))
	}
	return fmt.Sprintf(`{"p":1,"ver":%d}`, ver)
}

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

func (tw *twin) repair(i int, name string, ver int64) topics.Outcome {
	h := tw.half[i]
	mark, _ := h.Mark(name)
	v, _ := h.Inspect(value(ver))
	return h.Repair(name, value(ver), mark, topics.Meta{At: 1, Version: v})
}

// why says how the topic is: fresh, or why it is stale.
func (tw *twin) why(name string) string {
	at, why := tw.table.StaleFor(tw.ids[name])
	if at == 0 {
		return "fresh"
	}
	return fmt.Sprint("stale ", why)
}

func TestPairIsUpWhileEitherIs(t *testing.T) {
	tw := newTwin(t, "T")
	up := func(want bool) {
		t.Helper()
		if got := tw.table.SourceState(0).Up; got != want {
			t.Errorf("up = %v, want %v", got, want)
		}
	}
	up(false)
	tw.half[1].SetUp(true)
	up(true)
	tw.half[0].SetUp(true)
	seq := tw.table.SourceState(0).Seq
	tw.half[1].SetUp(false)
	up(true)
	if tw.table.SourceState(0).Seq != seq {
		t.Error("clients are told that the feed is up, and it was up")
	}
	tw.half[0].SetUp(false)
	up(false)
	if tw.log.Count("is down, the other goes on") != 1 || tw.log.Count("both sources of a pair are up") != 1 {
		t.Errorf("the log says %q", tw.log.String())
	}
}

// The topics that are to be subscribed don't wait for a broker that is down, which comes to none of them.
func TestPairHasTheRoomOfWhoIsUp(t *testing.T) {
	tw := newTwin(t)
	tw.half[0].room, tw.half[1].room = 7, -3
	for _, c := range []struct {
		half int
		up   bool
		want int
	}{{0, true, 7}, {1, true, -3}, {0, false, -3}, {0, true, -3}, {1, false, 7}, {0, false, -3}} {
		select {
		case <-tw.more:
		default:
		}
		tw.half[c.half].SetUp(c.up)
		if got := tw.sources[0].Source.Room(); got != c.want {
			t.Errorf("half %d is up: %v, and there is room for %d, want %d", c.half, c.up, got, c.want)
		}
		if len(tw.more) != 1 {
			t.Error("nobody is told that there may be room")
		}
	}
}

// The version decides, whatever came by when and how.
func TestPairTakesTheNewer(t *testing.T) {
	tw := newTwin(t, "T")
	a, b := tw.half[0], tw.half[1]
	want := func(ver int64) {
		t.Helper()
		if got := tw.ver("T"); got != ver {
			t.Errorf("version %d, want %d", got, ver)
		}
	}
	mark, _ := b.Mark("T")
	a.Tick("T", value(16), 1)
	v, _ := b.Inspect(value(21))
	if b.Repair("T", value(21), mark, topics.Meta{Version: v}) != topics.Committed { // The other has ticked since the mark.
		t.Error("a newer value was not taken")
	}
	want(21)
	a.Tick("T", value(17), 1)
	want(21)
	if tw.repair(0, "T", 19) != topics.Older || tw.repair(0, "T", 21) != topics.Unchanged {
		t.Error("an older value, or the same, was taken")
	}
	a.Tick("T", value(22), 1)
	b.Tick("T", value(22), 1)
	want(22)
	st := tw.Stats()
	if st.Counts[broker.Older] != 2 || st.Counts[broker.Repeated] != 1 || st.Counts[broker.Repairs] != 1 {
		t.Errorf("counts = %v", st.Counts)
	}
	for _, v := range []string{`{"p":1}`, "1", "null", `{"ver":0}`, `{"ver":1.5}`} {
		a.Tick("T", v, 1)
		if _, flaw := b.Inspect(v); flaw != broker.NoVersion {
			t.Errorf("%s: %v", v, flaw)
		}
	}
	if want(22); tw.Stats().Flaws[broker.NoVersion] != 5 {
		t.Errorf("flaws = %v", tw.Stats().Flaws)
	}
}

// What one says of a topic is told when it is true of both.
func TestPairWeighs(t *testing.T) {
	const gone = broker.NotPermitted
	for name, c := range map[string]struct {
		does func(tw *twin, a, b *puppet)
		want string
	}{
		"one refuses, the other is silent":   {func(tw *twin, a, b *puppet) { a.GoStale("T", 0, gone) }, "fresh"},
		"one refuses, the other has it":      {func(tw *twin, a, b *puppet) { a.GoStale("T", 0, gone); tw.repair(1, "T", 1) }, "fresh"},
		"both refuse":                        {func(tw *twin, a, b *puppet) { a.GoStale("T", 0, gone); b.GoStale("T", 0, gone) }, "stale 1"},
		"one refuses, the other has none":    {func(tw *twin, a, b *puppet) { b.Absent("T"); a.GoStale("T", 0, gone) }, "stale 1"},
		"one refuses, the other goes":        {func(tw *twin, a, b *puppet) { a.GoStale("T", 0, gone); b.SetUp(false) }, "stale 1"},
		"one refuses, the other had it":      {func(tw *twin, a, b *puppet) { a.GoStale("T", 0, gone); tw.repair(1, "T", 1); b.SetUp(false) }, "stale 1"},
		"one refused, and ticks, other goes": {func(tw *twin, a, b *puppet) { a.GoStale("T", 0, gone); a.Tick("T", value(1), 1); b.SetUp(false) }, "fresh"},
		"both refuse, one mends it": {func(tw *twin, a, b *puppet) {
			a.GoStale("T", 0, gone)
			b.GoStale("T", 0, gone)
			tw.repair(1, "T", 1)
		}, "fresh"},
		"both refused, one has none": {func(tw *twin, a, b *puppet) {
			a.GoStale("T", 0, gone)
			b.GoStale("T", 0, gone)
			a.Absent("T")
			b.Absent("T")
		}, "stale 0 absent"},
		"one had none and ticks, the other refuses": {func(tw *twin, a, b *puppet) { a.Absent("T"); a.Tick("T", value(1), 1); b.GoStale("T", 0, gone) }, "fresh"},
		"one ticks, and refuses; then the other ticks the same": {func(tw *twin, a, b *puppet) {
			b.Absent("T")
			a.Tick("T", value(1), 1)
			a.GoStale("T", 0, gone)
			b.Tick("T", value(1), 1)
		}, "fresh"},
		"one ticks, and refuses; then the other ticks what is older": {func(tw *twin, a, b *puppet) {
			b.Absent("T")
			a.Tick("T", value(2), 1)
			a.GoStale("T", 0, gone)
			b.Tick("T", value(1), 1)
		}, "stale 0"},
		"one had none and ticks, the other goes and refuses": {func(tw *twin, a, b *puppet) {
			a.Absent("T")
			b.SetUp(false)
			a.Tick("T", value(1), 1)
			b.GoStale("T", 0, gone)
		}, "fresh"},
		"one has none":                 {func(tw *twin, a, b *puppet) { a.Absent("T") }, "fresh"},
		"both have none":               {func(tw *twin, a, b *puppet) { a.Absent("T"); b.Absent("T") }, "fresh absent"},
		"one has none, the other goes": {func(tw *twin, a, b *puppet) { a.Absent("T"); b.SetUp(false) }, "fresh absent"},
	} {
		tw := newTwin(t, "T")
		tw.half[0].SetUp(true)
		tw.half[1].SetUp(true)
		c.does(tw, tw.half[0], tw.half[1])
		got := tw.why("T")
		if tw.table.IsAbsent(tw.ids["T"]) {
			got += " absent"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		tw.sources[0].Source.Apply([]topics.Change{{Topic: "T"}})
		if p := tw.sources[0].Source.(*pair); len(p.topics) != 0 || p.denied[0].Load() != 0 || p.denied[1].Load() != 0 {
			t.Errorf("%s: %v, %d and %d denied, and nothing is wanted", name, p.topics, p.denied[0].Load(), p.denied[1].Load())
		}
	}
}

// A numbering begins anew only if the other source says so too, or is down.
func TestPairBeginsAnew(t *testing.T) {
	for name, c := range map[string]struct {
		a    func(tw *twin, n int64) // What the other does each second.
		anew bool
	}{
		"goes on":    {func(tw *twin, n int64) { tw.half[0].Tick("T", value(1001+5*n), n*1000) }, false},
		"is silent":  {func(*twin, int64) {}, false},
		"is down":    {func(tw *twin, n int64) { tw.half[0].SetUp(false) }, true},
		"is as new":  {func(tw *twin, n int64) { tw.half[0].Tick("T", value(1+5*n), n*1000) }, true},
		"fetches it": {func(tw *twin, n int64) { tw.repair(0, "T", 1001) }, false},
	} {
		tw := newTwin(t, "T")
		tw.half[0].SetUp(true)
		tw.half[1].SetUp(true)
		tw.half[0].Tick("T", value(1001), 0)
		for n := int64(1); n <= 40; n++ {
			c.a(tw, n)
			tw.half[1].Tick("T", value(1+5*n), n*1000)
		}
		if anew := tw.ver("T") < 1000; anew != c.anew {
			t.Errorf("the other %s: the row has version %d", name, tw.ver("T"))
		}
	}
}

// A topic is settled when both have been read, and not while one may have what the other has not.
func TestPairSettles(t *testing.T) {
	for name, c := range map[string]struct {
		does func(tw *twin, a, b *puppet)
		want bool
	}{
		"one is read":                          {func(tw *twin, a, b *puppet) { tw.repair(0, "T", 1) }, false},
		"both are read":                        {func(tw *twin, a, b *puppet) { tw.repair(0, "T", 1); tw.repair(1, "T", 1) }, true},
		"one has it, the other none":           {func(tw *twin, a, b *puppet) { tw.repair(0, "T", 1); b.Absent("T") }, true},
		"one has none, the other has it":       {func(tw *twin, a, b *puppet) { b.Absent("T"); tw.repair(0, "T", 1) }, true},
		"both have none":                       {func(tw *twin, a, b *puppet) { b.Absent("T"); a.Absent("T") }, true},
		"one had none and ticks, other none":   {func(tw *twin, a, b *puppet) { a.Absent("T"); a.Tick("T", value(1), 1); b.Absent("T") }, true},
		"one has none, the other is down":      {func(tw *twin, a, b *puppet) { b.SetUp(false); a.Absent("T"); a.Tick("T", value(1), 1) }, false},
		"the same, and it is up and not read":  {func(tw *twin, a, b *puppet) { b.SetUp(false); a.Absent("T"); b.SetUp(true) }, false},
		"both are read, one is in doubt":       {func(tw *twin, a, b *puppet) { tw.repair(0, "T", 1); tw.repair(1, "T", 1); a.Doubt("T") }, false},
		"both are read, one refuses":           {func(tw *twin, a, b *puppet) { tw.repair(0, "T", 1); tw.repair(1, "T", 1); a.GoStale("T", 0, 1) }, false},
		"in doubt, and the other is read anew": {func(tw *twin, a, b *puppet) { tw.repair(0, "T", 1); a.Doubt("T"); tw.repair(1, "T", 1) }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			tw := newTwin(t, "T")
			up := broker.Stats{Connected: true}
			for _, h := range tw.half {
				h.SetUp(true)
			}
			c.does(tw, tw.half[0], tw.half[1])
			for _, h := range tw.half {
				h.SetUp(true)
				time.Sleep(time.Second)
				up.Heard = time.Now()
				h.Stats = up
			}
			tw.measure(time.Now())
			tw.table.Stamp(tw.clock.both)
			if o := tw.table.Offer(); o == nil || tw.table.Settled(tw.ids["T"], o) != c.want {
				t.Errorf("%s: settled is not %v, offer %v", name, c.want, o)
			}
		})
	}
}

// A tombstone that is fetched counts with its version, though the row is one already.
func TestPairRaisesTombstones(t *testing.T) {
	tw := newTwin(t, "T")
	tw.half[0].Tick("T", value(10), 1)
	tw.repair(1, "T", 20)
	tw.half[0].Tick("T", value(16), 1)
	if !tw.gone("T") {
		t.Errorf("an older value came back: version %d", tw.ver("T"))
	}
	tw.half[0].Tick("T", value(21), 1)
	if tw.gone("T") {
		t.Error("the topic is gone, and has a newer value")
	}
}

func TestPairStats(t *testing.T) {
	tw := newTwin(t)
	a, b := tw.half[0], tw.half[1]
	early, late := time.Unix(1000, 0), time.Unix(1001, 0)
	a.Stats = broker.Stats{Connected: true, Lag: 3, Held: 5, Heard: late, Channels: 2}
	b.Stats = broker.Stats{Connected: true, Lag: 2, Held: 4, Heard: early, Channels: 3, LastError: "b"}
	p := tw.sources[0].Source
	if st := p.Stats(); !st.Heard.IsZero() {
		t.Error("heard, and neither is up")
	}
	a.SetUp(true)
	if st := p.Stats(); !st.Heard.IsZero() {
		t.Error("heard, and one is not up")
	}
	b.SetUp(true)
	if st := p.Stats(); !st.Connected || st.Lag != 2 || st.Held != 5 || !st.Heard.Equal(early) || st.Channels != 5 || st.LastError != "b" {
		t.Errorf("stats = %+v", st)
	}
	b.Stats.Connected, b.Stats.Heard = false, time.Time{}
	if st := p.Stats(); !st.Connected || st.Lag != 3 || !st.Heard.IsZero() {
		t.Errorf("stats = %+v", st)
	}
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
