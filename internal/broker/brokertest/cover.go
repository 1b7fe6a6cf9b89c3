// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// cover has the feed cover prefixes, and the witness write down what is told.
func (w *world) cover(prefixes ...string) {
	w.t.Helper()
	w.witness.mu.Lock()
	if w.witness.told == nil {
		w.witness.told = make(map[string][]string)
	}
	w.witness.mu.Unlock()
	if err := w.feed.Cover(prefixes); err != nil {
		w.t.Fatal(err)
	}
}

// toldOf are the ticks of a topic that were told, in order.
func (w *witness) toldOf(topic string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told[topic])
}

// begins has topics tick until a tick is told: the first ones may come before the cover.
func (w *world) begins(names ...string) {
	w.t.Helper()
	for _, name := range names {
		before := len(w.witness.toldOf(name))
		w.eventually(name+" is told", func() bool {
			w.write(name, numbered(-1))
			return len(w.witness.toldOf(name)) > before
		})
	}
}

// counts has topics tick, by turns, with numbers that nothing else has, and waits until each tick was told, once and
// in order.
func (w *world) counts(from, to int, names ...string) {
	w.t.Helper()
	for i := from; i < to; i++ {
		for _, name := range names {
			w.write(name, numbered(i))
		}
	}
	for _, name := range names {
		var got []string
		w.eventually("the last tick of "+name, func() bool {
			got = w.witness.toldOf(name)
			return slices.Contains(got, numbered(to-1))
		})
		w.fence()
		got = slices.DeleteFunc(w.witness.toldOf(name), func(v string) bool {
			n := number(w.t, v)
			return n < from || n >= to
		})
		whole := len(got) == to-from || w.rig.Newest
		for i, value := range got {
			n := number(w.t, value)
			whole = whole && (n == from+i || w.rig.Newest && (i == 0 || n > number(w.t, got[i-1])))
		}
		if !whole {
			w.t.Fatalf("%s: %d ticks, %d to %d, were told as %d: %.2000q", name, to-from, from, to-1, len(got), got)
		}
	}
}

// fence waits until a tick of another topic was told that was published now: what was published before has come.
func (w *world) fence() {
	w.t.Helper()
	if _, has := w.ids["FENCE"]; !has {
		w.acquire("FENCE")
		w.hears("FENCE")
	}
	before := len(w.witness.toldOf("FENCE"))
	w.write("FENCE", numbered(before))
	w.eventually("a tick behind", func() bool { return len(w.witness.toldOf("FENCE")) > before })
}

// ends waits until a topic is not told any more.
func (w *world) ends(name string) {
	w.t.Helper()
	w.eventually(name+" is told no more", func() bool {
		before := len(w.witness.toldOf(name))
		w.write(name, numbered(-2))
		w.fence()
		return len(w.witness.toldOf(name)) == before
	})
}

// Ticks of topics that are covered come without being wanted, and no others; what is covered may change.
func covered(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.up()
	w.cover("kline:1s:", "C", "kline:1s:X") // The last one is in the first.
	w.begins("kline:1s:XY", "C", "CC:x")
	w.counts(10, 50, "kline:1s:XY", "C", "CC:x")
	for _, other := range []string{"kline:1m:XY", "kline", "c", "D"} {
		w.write(other, numbered(1))
		w.fence()
		if got := w.witness.toldOf(other); len(got) > 0 {
			t.Errorf("%s is not covered and was told: %q", other, got)
		}
	}
	if st := w.feed.Stats(); st.Held != 1 || w.witness.downs > 0 || !w.table.Health().Up {
		t.Errorf("it holds %d topics, and was down %d times: a cover is no part of that", st.Held, w.witness.downs)
	}
	w.cover("kline:1m")
	w.ends("C")
	w.begins("kline:1m:XY")
	w.counts(50, 100, "kline:1m:XY")
	w.cover("")
	w.begins("D")
	w.counts(100, 150, "kline:1m:XY", "D")
	w.cover()
	w.ends("D")
	w.ends("kline:1m:XY")
	w.eventually("nothing is subscribed for that", func() bool { return w.feed.Stats().Channels <= 1 })
}

// What is wanted and covered is told once, and its newest value is fetched.
func coveredAndWanted(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.write("A", numbered(1))
	w.cover("A", "B:")
	w.acquire("A", "B:x.y")
	if rig.Stored != nil {
		w.shows("A", numbered(1))
	}
	w.up()
	w.begins("A", "AA", "B:x.y", "B:z")
	w.hears("A")
	w.hears("B:x.y")
	w.counts(10, 100, "A", "AA", "B:x.y", "B:z")
	w.cover("")
	w.begins("D")
	w.counts(100, 200, "A", "AA", "B:x.y", "D")
	w.cover()
	w.ends("AA")
	w.counts(200, 250, "A", "B:x.y")
}

// A tick is told once at most while its topic comes to be wanted and is given up again and again, in order.
func coveredWantedNowAndThen(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.up()
	w.cover("A")
	w.begins("A")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if id, err := w.table.Acquire([]byte("A"), 0); err == nil {
				for range 20 { // It is subscribed by then, or is not.
					if w.table.Row(id) != nil {
						break
					}
					time.Sleep(time.Millisecond)
				}
				w.table.Release(id, time.Time{})
			}
			w.table.Sweep(time.Now().Add(time.Hour))
		}
	})
	const last = 1000
	for i := range last + 1 {
		w.write("A", numbered(i))
	}
	close(stop)
	wg.Wait()
	w.table.Sweep(time.Now().Add(time.Hour))
	w.counts(last+1, last+50, "A") // It is covered alone again.
	told := slices.DeleteFunc(w.witness.toldOf("A"), func(v string) bool { return number(t, v) < 0 })
	before := -1
	for _, value := range told {
		n := number(t, value)
		if n <= before {
			t.Errorf("A went from %d to %d", before, n)
		}
		before = n
	}
	if len(told) < last/10 {
		t.Errorf("of %d ticks %d were told", last, len(told))
	}
}

// What means something in patterns of brokers means nothing in a prefix, and names are the owner's business.
func coveredLiterally(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.up()
	w.cover("G[ab]", "H?", "I>", "J.", "K[", "tickedge:")
	for covered, not := range map[string]string{
		"G[ab]x": "Gax", "H?x": "Hyx", "I>x": "Iyx", "J.x": "J:x", "K[x": "Kx", "tickedge:x": "tickedgex",
	} {
		w.begins(covered)
		w.write(not, numbered(1))
		w.fence()
		if got := w.witness.toldOf(not); len(got) > 0 {
			t.Errorf("%s is covered by the prefix of %s", not, covered)
		}
	}
}

// What is covered comes again after an outage, and still once.
func coveredAfterOutage(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.up()
	w.cover("A")
	w.acquire("AW")
	w.begins("AW", "AC")
	for i := range 3 {
		over := rig.Outage()
		w.eventually("it is said that the source is down", func() bool { return !w.table.Health().Up })
		if i == 1 {
			w.cover("A", "C:") // Also one that is asked for meanwhile.
		}
		over()
		w.up()
		w.begins("AC")
		w.hears("AW")
		w.counts(100*i+10, 100*i+50, "AC", "AW")
	}
	w.begins("C:x")
}
