// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
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

// The highest version there is is no trap: a numbering begins anew behind it, and what is above it is none.
func TestPairTakesTheHighestVersion(t *testing.T) {
	const highest = math.MaxInt64
	tw := newTwin(t, "T")
	tw.half[0].SetUp(true)
	tw.half[1].SetUp(true)
	tw.half[0].Tick("T", value(highest), 0)
	for _, v := range []string{`{"ver":9223372036854775808}`, `{"ver":-9223372036854775808}`, `{"ver":1e19}`} {
		tw.half[1].Tick("T", v, 1)
	}
	if n := tw.Stats().Flaws[broker.NoVersion]; n != 3 || tw.ver("T") != highest {
		t.Errorf("%d values without a version, and the row has version %d", n, tw.ver("T"))
	}
	if tw.repair(1, "T", highest-1) != topics.Older || tw.repair(1, "T", highest) != topics.Unchanged {
		t.Error("a lower version, or the same, was taken")
	}
	for n := range int64(40) {
		tw.half[0].Tick("T", value(1+5*n), n*1000)
		tw.half[1].Tick("T", value(1+5*n), n*1000)
	}
	if got := tw.ver("T"); got != 1+5*39 {
		t.Errorf("the row has version %d", got)
	}
}

// One that was never up is as one that went: what the other says is all.
func TestPairWithOneThatNeverCame(t *testing.T) {
	tw := newTwin(t, "A", "B", "C")
	a := tw.half[0]
	tw.repair(0, "A", 1)
	a.Absent("B")
	a.GoStale("C", 0, broker.NotPermitted)
	a.SetUp(true)
	if got := fmt.Sprintf("%d %v %s", tw.ver("A"), tw.table.IsAbsent(tw.ids["B"]), tw.why("C")); got != "1 true stale 1" {
		t.Errorf("with one alone: %s", got)
	}
	a.Stats = broker.Stats{Connected: true, Heard: time.Now()}
	if st := tw.sources[0].Source.Stats(); !st.Connected || !st.Heard.IsZero() {
		t.Errorf("stats = %+v", st)
	}
	for n := range int64(40) {
		a.Tick("A", value(max(1000-999*n, 1+5*n)), n*1000)
	}
	if got := tw.ver("A"); got != 1+5*39 {
		t.Errorf("the other is down, and a numbering that has begun anew is not taken: version %d", got)
	}
	tw.repair(1, "A", 1001)
	tw.repair(1, "B", 1)
	tw.repair(1, "C", 1)
	tw.half[1].SetUp(true)
	if got := fmt.Sprintf("%d %v %s", tw.ver("A"), tw.table.IsAbsent(tw.ids["B"]), tw.why("C")); got != "1001 false fresh" {
		t.Errorf("with both: %s", got)
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
