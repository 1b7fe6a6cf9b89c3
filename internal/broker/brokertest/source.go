// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
)

// Source tests what [broker.Source] demands.
func Source(t *testing.T, start Start) { runAll(t, start, sourceChecks) }

var sourceChecks = []check{
	{"lazy", nil, lazy},
	{"snapshot", hasStored, snapshot},
	{"absent", nil, absent},
	{"order", nil, order},
	{"heard is stored", hasStored, heardIsStored},
	{"many topics", hasStored, manyTopics},
	{"outage", func(r *Rig) bool { return r.Outage != nil && r.Stored != nil }, outage},
	{"wanted during an outage", func(r *Rig) bool { return r.Outage != nil && r.Stored != nil }, wantedDuringOutage},
	{"wanted again", hasStored, wantedAgain},
	{"withdrawn", nil, withdrawn},
	{"bad values", nil, badValues},
	{"forbidden", hasForbid, forbidden},
	{"covered", nil, covered},
	{"covered and wanted", nil, coveredAndWanted},
	{"covered, wanted now and then", nil, coveredWantedNowAndThen},
	{"covered names are literal", nil, coveredLiterally},
	{"covered after an outage", hasOutage, coveredAfterOutage},
	{"ends", nil, sourceEnds},
	{"ends during an outage", hasOutage, sourceEndsDuringOutage},
}

// numbered is a value without a version.
func numbered(n int) string { return fmt.Sprintf(`{"p":1.5,"seq":%d}`, n) }

// number is that of a value of numbered.
func number(t *testing.T, value string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(value, `{"p":1.5,"seq":%d}`, &n); err != nil {
		t.Errorf("%q: %v", value, err)
	}
	return n
}

// Nothing is asked for that nobody wants, and what is not wanted any more is given up.
func lazy(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.up()
	if st := w.feed.Stats(); st.Held != 0 || st.Channels != 0 && !rig.Blanket {
		t.Errorf("with nothing wanted it holds %d topics, and has %d subscriptions", st.Held, st.Channels)
	}
	w.acquire("A")
	w.eventually("the topic is looked at", func() bool { return w.table.IsAbsent(w.ids["A"]) || rig.Stored == nil })
	for i := range 100 {
		w.write("B", numbered(i))
	}
	w.hears("A")
	if got := w.feed.Stats().Counts[broker.Unwanted]; got > 0 && !rig.Blanket {
		t.Errorf("%d ticks came that nobody wanted", got)
	}
	w.release("A")
	w.eventually("it is given up", func() bool {
		st := w.feed.Stats()
		return st.Held == 0 && (st.Channels == 0 || rig.Blanket)
	})
}

// Who comes to want a topic gets its newest value, whenever that was published.
func snapshot(t *testing.T, rig *Rig) {
	w := run(t, rig)
	for i := range 3 {
		w.write("A", numbered(i))
		w.write("B:x.y", numbered(i)) // A name that some brokers have to write in another way.
	}
	w.acquire("A", "B:x.y")
	w.shows("A", numbered(2))
	w.shows("B:x.y", numbered(2))
	w.up()
}

// A topic without a value is known to have none, until it has one.
func absent(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.acquire("NONE")
	w.eventually("it is known to have no value", func() bool { return w.table.IsAbsent(w.ids["NONE"]) })
	w.write("NONE", numbered(1))
	w.shows("NONE", numbered(1))
}

// Ticks of a topic become rows in the order in which they were published, while it is asked for
// and given up again and again.
func order(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.up()
	const last = 1000
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if id, err := w.table.Acquire([]byte("B"), 0); err == nil {
				for range 100 { // It has a value by then, or has not.
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
	w.acquire("A")
	for i := range last + 1 {
		w.write("A", numbered(i))
		w.write("B", numbered(i))
	}
	w.shows("A", numbered(last))
	close(stop)
	wg.Wait()
	before := -1
	for _, value := range w.witness.values("A") {
		if n := number(t, value); n < before {
			t.Errorf("A went from %d to %d", before, n)
		} else {
			before = n
		}
	}
}

// Who hears a tick and then fetches the newest value of the topic gets that one or a newer one.
func heardIsStored(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.acquire("A")
	p := newPublisher(t, rig)
	w.eventually("it is looked at", func() bool { return w.table.IsAbsent(w.ids["A"]) })
	w.witness.mu.Lock()
	w.witness.heard = func(topic, value string) {
		if stored := rig.Stored("A"); stored == "" || number(t, stored) < number(t, value) {
			t.Errorf("%s was heard, and the broker holds %q", value, stored)
		}
	}
	w.witness.mu.Unlock()
	const last = 50
	for i := range last + 1 {
		publish(t, p, broker.Tick{Topic: "A", Value: []byte(numbered(i))})
	}
	w.shows("A", numbered(last))
	if n := w.witness.received(); n == 0 {
		t.Error("no tick was heard")
	}
}

// Thousands of topics at once are no trouble.
func manyTopics(t *testing.T, rig *Rig) {
	w := run(t, rig)
	const many = 2000
	ticks := make([]broker.Tick, many)
	for i := range ticks {
		ticks[i] = broker.Tick{Topic: fmt.Sprint("M", i), Value: []byte(numbered(i))}
	}
	publish(t, newPublisher(t, rig), ticks...)
	for _, tick := range ticks {
		w.acquire(tick.Topic)
	}
	for i, tick := range ticks {
		w.shows(tick.Topic, numbered(i))
	}
}

// What was missed in an outage is there before it is said that values are current.
func outage(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.write("A", numbered(1))
	w.write("B", numbered(1))
	w.acquire("A", "B")
	w.shows("A", numbered(1))
	w.shows("B", numbered(1))
	w.up()
	gaps := w.feed.Stats().Counts[broker.Gaps]
	over := rig.Outage()
	w.eventually("it is said that the source is down", func() bool { return !w.table.Health().Up })
	w.eventually("it is said why", func() bool { return w.feed.Stats().LastError != "" })
	if w.feed.Stats().Connected {
		t.Error("down, it is connected")
	}
	w.write("A", numbered(2))
	w.witness.mu.Lock()
	w.witness.checkUp = func() {
		if got := w.value("A"); got != numbered(2) {
			t.Errorf("values are said to be current while A is %s", got)
		}
	}
	w.witness.mu.Unlock()
	over()
	w.up()
	w.shows("A", numbered(2))
	w.shows("B", numbered(1))
	if now := w.feed.Stats().Counts[broker.Gaps]; now == gaps && !rig.Blanket {
		t.Error("the gap was not counted")
	}
}

func wantedDuringOutage(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.acquire("A")
	w.up()
	over := rig.Outage()
	w.eventually("it is said that the source is down", func() bool { return !w.table.Health().Up })
	w.acquire("C")
	w.write("C", numbered(7))
	over()
	w.shows("C", numbered(7))
}

// What is wanted again has the value of now, not of then.
func wantedAgain(t *testing.T, rig *Rig) {
	w := run(t, rig)
	for i := range 20 {
		w.write("A", numbered(i))
		w.acquire("A")
		w.shows("A", numbered(i))
		w.release("A")
		w.table.Sweep(time.Now().Add(time.Hour))
	}
}

// A topic that is withdrawn is told as null.
func withdrawn(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.acquire("A")
	w.hears("A")
	w.write("A", "null")
	w.eventually("it is withdrawn", func() bool {
		v := w.value("A")
		return v == "" || v == "null"
	})
	w.write("A", numbered(2))
	w.shows("A", numbered(2))
}

// What is no value is dropped and counted, and does not end the connection.
func badValues(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.acquire("A")
	w.hears("A")
	downs := w.witness.downs
	dropped := func() (n uint64) {
		for _, of := range w.feed.Stats().Flaws {
			n += of
		}
		return n
	}
	for i, bad := range []string{`{"p":`, `no JSON`, "\"\xff\"", `"` + strings.Repeat("x", broker.ValueMax) + `"`} {
		if rig.Write == nil {
			t.Skip("no other program can write to it")
		}
		rig.Write("A", bad)
		// A broker may keep the newest value alone, which takes the place of one that was not read yet.
		w.eventually("it is dropped", func() bool { return dropped() > uint64(i) })
	}
	w.write("A", numbered(2))
	w.shows("A", numbered(2))
	if w.witness.downs != downs {
		t.Error("the source went down")
	}
}

// Who has a topic that is forbidden is told, others go on, and it comes back.
func forbidden(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.write("A", numbered(1))
	w.acquire("B")
	w.hears("B")
	back := rig.Forbid("A")
	w.acquire("A")
	w.eventually("it is told as refused", func() bool { return w.witness.wasRefused("A") })
	w.write("A", numbered(2))
	w.write("B", numbered(2))
	w.shows("B", numbered(2))
	if got := w.value("A"); got != "" {
		t.Errorf("what is forbidden shows %s", got)
	}
	back()
	if rig.Stored == nil {
		w.hears("A")
		return
	}
	w.shows("A", numbered(2))
}

// Run leaves nothing behind.
func sourceEnds(t *testing.T, rig *Rig) {
	before := goroutines()
	w := run(t, rig)
	w.acquire("A")
	w.up()
	w.stop()
	returnsTo(t, before)
}

func sourceEndsDuringOutage(t *testing.T, rig *Rig) {
	before := goroutines()
	w := run(t, rig)
	w.acquire("A")
	w.up()
	over := rig.Outage()
	w.eventually("it is said that the source is down", func() bool { return !w.table.Health().Up })
	w.stop()
	over()
	returnsTo(t, before)
}
