// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"testing"
	"time"
)

// watched is a table with one topic, and a clock in milliseconds.
type watched struct {
	t  *testing.T
	tb *Table
	id ID
	at int64
}

func watch(t *testing.T, floor, after time.Duration) *watched {
	tb := New(Config{Max: 100, Linger: linger, StaleFloor: floor, StaleAfter: after})
	return &watched{t, tb, acquire(t, tb, "A"), 1_700_000_000_000}
}

// tick publishes so many ticks, each so long after the one before.
func (w *watched) tick(count int, gap int64) {
	w.t.Helper()
	for range count {
		w.at += gap
		if w.tb.Publish("A", "1", Meta{At: w.at}) != Committed {
			w.t.Fatal("a tick was dropped")
		}
		check(w.t, w.tb)
	}
}

// stale reports whether the topic is stale so long after its last row.
func (w *watched) stale(after int64) bool {
	w.tb.Watch(w.at + after)
	check(w.t, w.tb)
	return w.tb.Stale(w.id) > 0
}

// wantStaleAfter wants the topic stale after so many milliseconds and not before.
func (w *watched) wantStaleAfter(ms int64) {
	w.t.Helper()
	if w.stale(ms) {
		w.t.Errorf("stale %d ms after the last row, or before", ms)
	}
	if !w.stale(ms + 1) {
		w.t.Errorf("not stale %d ms after the last row", ms+1)
	}
}

func TestRhythmIsTheLongestGapFourTimes(t *testing.T) {
	for _, c := range []struct {
		name  string
		ticks func(w *watched)
		want  int64
	}{
		{"the floor", func(w *watched) { w.tick(8, 1000) }, 10_000},
		{"even", func(w *watched) { w.tick(8, 5000) }, 20_000},
		{"the longest counts", func(w *watched) { w.tick(7, 100); w.tick(1, 4000) }, 16_000},
		{"a 32nd less with each tick", func(w *watched) { w.tick(7, 100); w.tick(1, 32_000); w.tick(1, 100) }, 4 * 31_000},
		{"two 32nds", func(w *watched) { w.tick(7, 100); w.tick(1, 32_000); w.tick(2, 100) }, 4 * (31_000 - 31_000/32)},
		{"in the end forgotten", func(w *watched) { w.tick(7, 100); w.tick(1, 3_600_000); w.tick(250, 5000) }, 20_000},
		{"as long as can be", func(w *watched) { w.tick(7, 100); w.tick(1, 1<<40) }, 4 * (1<<32 - 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t, 10*time.Second, 0)
			c.ticks(w)
			w.wantStaleAfter(c.want)
		})
	}
}

func TestNoRhythmYet(t *testing.T) {
	w := watch(t, 10*time.Second, 0)
	if w.stale(1 << 40) {
		t.Error("a topic that never ticked is stale")
	}
	w.tick(7, 1000)
	if w.stale(1 << 40) {
		t.Error("stale after 7 ticks")
	}
	w.tick(1, 1000)
	w.wantStaleAfter(10_000)
}

// A clock that is set back must not make a gap of the size of its range.
func TestTimeThatGoesBackIsNoGap(t *testing.T) {
	w := watch(t, 10*time.Second, 0)
	w.tick(7, 1000)
	w.tick(1, -5000)
	w.wantStaleAfter(10_000)
}

func TestStaleAfterIsForAllTopics(t *testing.T) {
	w := watch(t, 10*time.Second, 3*time.Second)
	if w.stale(0) {
		t.Error("stale when it was subscribed")
	}
	w.wantStaleAfter(3000)
	w.at += 3001
	w.tick(1, 0)
	w.wantStaleAfter(3000)
	w.tick(20, 60_000) // Whatever its rhythm is.
	w.wantStaleAfter(3000)
}

func TestStaleAfterCountsFromTheSubscription(t *testing.T) {
	w := watch(t, 0, 3*time.Second)
	w.stale(0)
	w.at += 10_000
	w.stale(0)
	b := acquire(t, w.tb, "B")
	w.stale(1000)
	w.stale(4000)
	if w.tb.Stale(b) > 0 {
		t.Error("stale 3 seconds after it was seen first")
	}
	w.stale(4001)
	if w.tb.Stale(b) == 0 {
		t.Error("not stale more than 3 seconds after it was seen first")
	}
}

func TestNothingIsStaleUnlessAskedFor(t *testing.T) {
	w := watch(t, 0, 0)
	w.tick(20, 10)
	if w.stale(1 << 40) {
		t.Error("stale without a limit")
	}
}

// Less than a millisecond must not switch it off.
func TestShortTimesAreNotNone(t *testing.T) {
	w := watch(t, time.Microsecond, 0)
	w.tick(8, 0)
	w.wantStaleAfter(1)
}

func TestFreshWithTheNextRow(t *testing.T) {
	w := watch(t, 0, 10*time.Second)
	for i, c := range []struct {
		name  string
		value func() Outcome
		fresh bool
	}{
		{"a tick", func() Outcome { return w.tb.Publish("A", "2", Meta{At: w.at, Version: version(5, 0)}) }, true},
		{"an older tick", func() Outcome { return w.tb.Publish("A", "3", Meta{At: w.at, Version: version(4, 0)}) }, false},
		{"the same tick", func() Outcome { return w.tb.Publish("A", "2", Meta{At: w.at, Version: version(5, 0)}) }, false},
		{"a repair", func() Outcome { return w.tb.Repair("A", "4", mark(t, w.tb, "A"), Meta{At: w.at}) }, true},
		{"the same value fetched", func() Outcome { return w.tb.Repair("A", "4", mark(t, w.tb, "A"), Meta{At: w.at}) }, false},
	} {
		if i == 0 {
			w.tick(8, 1000)
		}
		w.at += 10_001
		if !w.stale(0) {
			t.Fatalf("%s: not stale before", c.name)
		}
		outcome := c.value()
		check(t, w.tb)
		if (w.tb.Stale(w.id) == 0) != c.fresh || (outcome == Committed) != c.fresh {
			t.Fatalf("%s: outcome %d, stale mark %d, want it fresh: %v", c.name, outcome, w.tb.Stale(w.id), c.fresh)
		}
	}
	if now, total := w.tb.StaleTopics(); now != 1 || total != 3 {
		t.Errorf("%d topics stale, %d times, want 1 and 3", now, total)
	}
}

func TestARepairIsNoPartOfTheRhythm(t *testing.T) {
	w := watch(t, 10*time.Second, 0)
	w.tick(8, 1000)
	w.at += 3_600_000
	w.tb.Repair("A", "2", mark(t, w.tb, "A"), Meta{At: w.at})
	w.wantStaleAfter(10_000)
	w.tick(1, 1000)
	w.wantStaleAfter(10_000)
}

func TestStaleOncePerEpisode(t *testing.T) {
	w := watch(t, 10*time.Second, 0)
	w.tick(8, 1000)
	w.stale(10_001)
	seq := w.tb.Stale(w.id)
	if w.stale(20_000); w.tb.Stale(w.id) != seq || w.tb.Watermark() != seq || w.tb.Notice() != seq {
		t.Fatalf("stale at %d, then at %d, notice %d, watermark %d", seq, w.tb.Stale(w.id), w.tb.Notice(), w.tb.Watermark())
	}
	if w.tb.Seq(w.id) != 8 || seq != 9 {
		t.Fatalf("the row is at %d, its stale mark at %d", w.tb.Seq(w.id), seq)
	}
	w.tick(1, 10_001)
	w.stale(w.at) // Much later.
	if w.tb.Stale(w.id) != 11 || w.tb.Notice() != 11 {
		t.Fatalf("the second time: mark %d, notice %d", w.tb.Stale(w.id), w.tb.Notice())
	}
}

// A mark that outlives its topic would be told of whoever gets the id next.
func TestStaleMarksGoWithTheirTopic(t *testing.T) {
	w := watch(t, 10*time.Second, 0)
	w.tick(8, 1000)
	w.stale(10_001)
	release(t, w.tb, w.id, at(0))
	sweep(t, w.tb, at(linger))
	w.tb.Changes(0, nil, all)
	check(t, w.tb)
	if now, _ := w.tb.StaleTopics(); now != 0 {
		t.Fatalf("%d topics of none are stale", now)
	}
	name := "A"
	for i := 0; ; i++ { // One that gets its id.
		if id := acquire(t, w.tb, name); id == w.id {
			break
		}
		name = fmt.Sprint("B", i)
	}
	if w.tb.Stale(w.id) != 0 {
		t.Fatalf("%s is stale from its beginning", name)
	}
	w.stale(1 << 40)
	if w.tb.Stale(w.id) != 0 {
		t.Fatalf("%s has the rhythm of a former topic", name)
	}
}

func TestWatchFindsAllTopics(t *testing.T) {
	const count = 20_000 // More than a stretch in each shard.
	tb := New(Config{Max: count, Linger: linger, StaleAfter: time.Second})
	ids := make([]ID, count)
	for i := range ids {
		ids[i], _ = tb.Acquire(fmt.Appendf(nil, "T%d", i), 0)
	}
	tb.Watch(1000)
	tb.Publish("T7", "1", Meta{At: 1500})
	tb.Watch(2001)
	for i, id := range ids {
		if stale := tb.Stale(id) > 0; stale != (i != 7) {
			t.Fatalf("topic %d is stale: %v", i, stale)
		}
	}
	if now, total := tb.StaleTopics(); now != count-1 || total != count-1 {
		t.Fatalf("%d topics are stale, %d were", now, total)
	}
	check(t, tb)
}

// A topic of which the feed gets nothing is stale without any rhythm, and until its next
// row: also if that has the value that it had.
func TestGoStale(t *testing.T) {
	for name, fresh := range map[string]func(w *watched, mark uint64) Outcome{
		"a tick":         func(w *watched, _ uint64) Outcome { return w.tb.Publish("A", "1", Meta{At: w.at}) },
		"another value":  func(w *watched, mark uint64) Outcome { return w.tb.Repair("A", "2", mark, Meta{At: w.at}) },
		"the same value": func(w *watched, mark uint64) Outcome { return w.tb.Repair("A", "1", mark, Meta{At: w.at}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, 0, 0)
			w.tick(1, 0)
			mark, _ := w.tb.Mark("A")
			w.tb.GoStale("A", mark-1, NotPermitted) // It had a row since.
			w.tb.GoStale("B", 0, NotPermitted)      // Nobody wants it.
			if w.tb.Stale(w.id) != 0 {
				t.Fatal("stale for what was so before its row")
			}
			w.tb.GoStale("A", mark, NotPermitted)
			at := w.tb.Stale(w.id)
			if at == 0 || at != w.tb.Notice() || at != w.tb.Watermark() {
				t.Fatalf("stale at %d, notice %d, watermark %d: it is no news", at, w.tb.Notice(), w.tb.Watermark())
			}
			w.tb.GoStale("A", mark, NotPermitted)
			if now, total := w.tb.StaleTopics(); w.tb.Stale(w.id) != at || now != 1 || total != 1 {
				t.Errorf("stale at %d, %d now, %d in all: told twice", w.tb.Stale(w.id), now, total)
			}
			check(t, w.tb)
			if got := fresh(w, mark); got != Committed || w.tb.Stale(w.id) != 0 {
				t.Errorf("outcome %v, stale at %d; want it fresh", got, w.tb.Stale(w.id))
			}
			mark, _ = w.tb.Mark("A")
			if got := w.tb.Repair("A", string(w.tb.Row(w.id).Value()), mark, Meta{At: w.at}); got != Unchanged {
				t.Errorf("outcome %v, want a value that is there already dropped again", got)
			}
			check(t, w.tb)
		})
	}
}

// Why a topic is stale is told with it, and told again when that changes. Where the source has
// nothing newer, a topic is as stale as one that is silent.
func TestStaleFor(t *testing.T) {
	w := watch(t, 0, time.Second)
	why := func(stale bool, want Why, news bool, what string) {
		t.Helper()
		check(t, w.tb)
		at, got := w.tb.StaleFor(w.id)
		if at > 0 != stale || got != want {
			t.Fatalf("stale at %d for %d, want it so: %v, for %d: %s", at, got, stale, want, what)
		}
		if stale && (at == w.tb.Watermark()) != news {
			t.Fatalf("stale at %d, with %d as the watermark: %s", at, w.tb.Watermark(), what)
		}
	}
	refuse := func(for_ Why) {
		mark, _ := w.tb.Mark("A")
		w.tb.GoStale("A", mark, for_)
	}
	why(false, Silent, false, "nothing happened")
	refuse(NotPermitted)
	why(true, NotPermitted, true, "it is refused")
	w.tb.SetSourceState(0, false, 1)
	w.tb.SetSourceState(0, true, 1)
	refuse(NotPermitted)
	why(true, NotPermitted, false, "it was told")
	refuse(Unserved)
	why(true, Unserved, true, "it is refused for something else")
	w.tb.Absent("A")
	why(true, Silent, true, "there is no value")
	w.tb.Absent("A")
	why(true, Silent, true, "there is still none")
	if now, total := w.tb.StaleTopics(); now != 1 || total != 1 {
		t.Errorf("%d are stale, %d were", now, total)
	}

	w.tick(1, 0)
	refuse(Unusable)
	why(true, Unusable, true, "it is refused")
	w.tb.Absent("A")
	why(true, Silent, true, "there is no value any more")
	refuse(Unusable)
	w.stale(60_000)
	why(true, Unusable, true, "it is silent, and refused")
	w.tick(1, 0)
	why(false, Silent, false, "it has ticked")
	w.stale(60_000)
	why(true, Silent, true, "it is silent")
	refuse(Unusable)
	why(true, Unusable, true, "it was silent, and is refused")

	w.tb.Publish("A", "7", Meta{At: w.at, Version: Version{Whole: 7, Set: true}})
	refuse(NotPermitted)
	mark, _ := w.tb.Mark("A")
	if got := w.tb.Repair("A", "6", mark, Meta{At: w.at, Version: Version{Whole: 6, Set: true}}); got != Older {
		t.Fatalf("outcome %v", got)
	}
	why(true, Silent, true, "what the source has is older")
}
