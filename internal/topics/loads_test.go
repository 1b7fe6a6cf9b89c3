// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func anyTopic(string) bool { return true }

// loaded is a table, at a time in milliseconds.
type loaded struct {
	*Table
	t   *testing.T
	now int64
}

func newLoaded(t *testing.T, limit int, window time.Duration) *loaded {
	return &loaded{New(Config{Max: limit, Linger: linger, Window: window, Start: at(0)}), t, at(0).UnixMilli()}
}

// hold subscribes a topic so many times.
func (l *loaded) hold(name string, times int) (id ID) {
	for range times {
		id = acquire(l.t, l.Table, name)
	}
	return id
}

func (l *loaded) tick(name string) {
	l.t.Helper()
	if outcome := l.Publish(name, "1", Meta{At: l.now}); outcome != Committed {
		l.t.Fatalf("%s: outcome %d", name, outcome)
	}
}

func (l *loaded) pass(ms int64) {
	for ; ms > 0; ms -= 1000 {
		l.now += min(ms, 1000)
		l.Age(l.now)
	}
}

// want compares the topics by a measure, with what each has of it.
func (l *loaded) want(by Measure, want string) {
	l.t.Helper()
	check(l.t, l.Table)
	var got []string
	for _, of := range l.Top(by, 10, anyTopic) {
		got = append(got, fmt.Sprintf("%s %d %.4g %.4g", of.Topic, of.Subscribers, of.Bytes.Sum, of.Ticks.Sum))
		if of.Bytes.Over != 0 || of.Ticks.Over != 0 {
			l.t.Errorf("%+v may be too high", of)
		}
	}
	if text := strings.Join(got, ", "); text != want {
		l.t.Errorf("by %d: %s\nwant %s", by, text, want)
	}
}

// A row of a topic of one letter has 25 bytes with its comma, while its number has one digit and its value too.
func TestLoadsCountWhatIsSent(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 20, window)
	l.hold("A", 1)
	l.hold("B", 10)
	l.hold("C", 2)
	l.want(BySubscribers, "B 10 0 0, C 2 0 0, A 1 0 0")
	l.want(ByBytes, "")
	row := float64(len(`{"s":"A","n":1,"v":1},`))
	for range 4 { // The second and later ones of B are sent to half of its subscribers, as the next comes in half a window.
		l.tick("A")
		l.tick("B")
		l.now += 250
		l.tick("B")
		l.now += 250
	}
	l.want(ByBytes, fmt.Sprintf("B 10 %.4g 8, A 1 %.4g 4", 10*row*(1+7*.5), 4*row))
	l.want(ByTicks, fmt.Sprintf("B 10 %.4g 8, A 1 %.4g 4", 10*row*(1+7*.5), 4*row))
	top := l.Top(ByBytes, 1, anyTopic)
	if len(top) != 1 || math.Abs(top[0].Share-45./49) > 1e-9 {
		t.Errorf("%+v, want the share 45 of 49", top)
	}
	top = l.Top(ByTicks, 5, func(name string) bool { return name != "B" })
	if len(top) != 1 || top[0].Topic != "A" || math.Abs(top[0].Share-4./12) > 1e-9 {
		t.Errorf("without B: %+v, want A with 4 of 12", top)
	}
	if top := l.Top(BySubscribers, 5, anyTopic); math.Abs(top[0].Share-10./13) > 1e-9 {
		t.Errorf("%+v, want 10 of 13", top[0])
	}
}

// Values that are fetched count if they are sent in updates, and a topic that nobody has costs nothing but ticks.
func TestLoadsOfFetchedAndLingeringTopics(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 20, window)
	id := l.hold("A", 2)
	l.Changes(0, nil, all) // Else it would not linger.
	row := float64(len(`{"s":"A","n":1,"v":1},`))
	l.Repair("A", "0", 0, Meta{At: l.now})
	l.want(ByTicks, "")
	l.now += 1000
	mark, _ := l.Mark("A")
	l.Repair("A", "1", mark, Meta{At: l.now})
	l.want(ByBytes, fmt.Sprintf("A 2 %.4g 1", 2*row))
	mark, _ = l.Mark("A")
	l.GoStale("A", mark, NotPermitted)
	l.now += 100
	l.Repair("A", "1", mark, Meta{At: l.now}) // It is current again, which goes out as a row.
	l.want(ByBytes, fmt.Sprintf("A 2 %.4g 2", 2*row*1.2))
	release(t, l.Table, id, time.UnixMilli(l.now))
	release(t, l.Table, id, time.UnixMilli(l.now))
	l.now += 1000
	l.tick("A")
	l.want(ByTicks, fmt.Sprintf("A 0 %.4g 3", 2*row*1.2))
	l.want(BySubscribers, "")
}

// A topic that is gone stays for its minutes, and what has its index then has nothing of it.
func TestLoadsOfTopicsThatAreGone(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 20, window)
	names := neighbours(l.Table, 2)
	id := l.hold(names[0], 1)
	l.Changes(0, nil, all)
	l.tick(names[0])
	release(t, l.Table, id, time.UnixMilli(l.now))
	sweep(t, l.Table, time.UnixMilli(l.now).Add(linger))
	if again := l.hold(names[1], 3); again != id {
		t.Fatalf("%d has another index than %d, so the test shows nothing", again, id)
	}
	l.tick(names[1])
	rest := len(`{"s":"","n":1,"v":1},`)
	row, other := float64(rest+len(names[0])), float64(rest+len(names[1]))
	l.want(ByBytes, fmt.Sprintf("%s 3 %.4g 1, %s 0 %.4g 1", names[1], 3*other, names[0], row))
	l.hold(names[0], 1)
	l.tick(names[0])
	l.want(ByTicks, fmt.Sprintf("%s 1 %.4g 2, %s 3 %.4g 1", names[0], 2*row, names[1], 3*other))
}

// A rate is right whenever it is asked for, and what has ended is worth half after each minute.
func TestLoadsAge(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 20, window)
	l.hold("A", 1)
	row := float64(len(`{"s":"A","n":100,"v":1},`))
	for i := range 600 {
		l.pass(1000)
		l.tick("A")
		a := l.Top(ByTicks, 1, anyTopic)[0]
		if math.Abs(a.Ticks.PerSecond-1) > .05 || i > 100 && math.Abs(a.Bytes.PerSecond-row) > .05*row {
			t.Fatalf("after %d s: %+v", i+1, a)
		}
	}
	before := l.Top(ByBytes, 1, anyTopic)[0]
	if before.Ticks.Sum < 55 || before.Ticks.Sum > 65 {
		t.Errorf("%+v after ten minutes, want half of the last, a quarter of that before, and so on", before)
	}
	l.pass(5 * 60_000)
	after := l.Top(ByBytes, 1, anyTopic)[0]
	if part := after.Bytes.Sum / before.Bytes.Sum; math.Abs(part-1./32) > .001 || after.Bytes.PerSecond > before.Bytes.PerSecond/20 {
		t.Errorf("%+v after five minutes without a tick, %+v before", after, before)
	}
}

// Most topics have no counter: each of those that are told is at least what is told of it, at most as much more as is
// told too, and nothing that has more than a part is left out.
func TestLoadsOfManyTopics(t *testing.T) {
	t.Parallel()
	const names = 40_000
	l := newLoaded(t, names, window)
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 10, names-1)
	has, ticks, total := make(map[string]float64), make(map[string]float64), .0
	var row [names]string
	for i := range row {
		row[i] = fmt.Sprintf("T%d", i)
		if _, err := l.Acquire([]byte(row[i]), 0); err != nil {
			t.Fatal(err)
		}
	}
	last := make(map[string]int64)
	for range 250_000 {
		l.now += random.Int64N(2)
		name := row[zipf.Uint64()]
		part := 1.
		if before, ok := last[name]; ok {
			part = min(float64(l.now-before), 500) / 500
		}
		last[name] = l.now
		ticks[name]++
		bytes := part * float64(len(fmt.Sprintf(`{"s":"%s","n":%.0f,"v":1},`, name, ticks[name])))
		has[name] += bytes
		total += bytes
		l.tick(name)
	}
	check(t, l.Table)
	for by, of := range map[Measure]map[string]float64{ByBytes: has, ByTicks: ticks} {
		b := best{by: by}
		told := make(map[string]bool)
		top := l.Top(by, 1000, anyTopic)
		for i, of := range top {
			told[of.Topic] = true
			if i > 0 && b.amount(&top[i-1]) < b.amount(&top[i]) {
				t.Fatalf("%+v is before %+v", top[i-1], of)
			}
			for _, a := range []struct {
				Amount
				has float64
			}{{of.Bytes, has[of.Topic]}, {of.Ticks, ticks[of.Topic]}} {
				if a.has > a.Sum+1e-6 || a.Sum > a.has+a.Over+1e-6 {
					t.Fatalf("%+v, and it has %v", of, a.has)
				}
			}
		}
		if len(top) != 1000 {
			t.Fatalf("%d topics", len(top))
		}
		order := make([]string, 0, names)
		for name := range of {
			order = append(order, name)
		}
		slices.SortFunc(order, func(a, b string) int { return int(math.Copysign(1, of[b]-of[a])) })
		for _, name := range order[:100] {
			if !told[name] {
				t.Errorf("by %d: %s has %v and is not told", by, name, of[name])
			}
		}
	}
	overs := 0
	for _, of := range l.Top(BySubscribers, 1000, anyTopic) {
		if of.Bytes.Over > 0 {
			overs++
		}
		if of.Ticks.Sum < ticks[of.Topic]-1e-6 || of.Bytes.Sum < has[of.Topic]-1e-6 {
			t.Errorf("%+v, and it has %v and %v", of, has[of.Topic], ticks[of.Topic])
		}
	}
	if overs < 300 {
		t.Errorf("of the topics of the most subscribers only %d are inexact, so most have a counter", overs)
	}
}

// What is counted is what clients are sent, whose windows end whenever: within 3 in 100, as ticks fall into them as they like.
func TestLoadsAgainstClients(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 20, window)
	random := rand.New(rand.NewPCG(3, 4))
	type client struct{ phase, served int64 }
	clients := make([]client, 200)
	for i := range clients {
		clients[i].phase = random.Int64N(window.Milliseconds())
	}
	mean := map[string]int64{"A": 5, "B": 50, "C": 500, "D": 5000} // Milliseconds between two ticks.
	ids := make(map[string]ID)
	for name := range mean {
		ids[name] = l.hold(name, len(clients))
	}
	sent, start := make(map[string]float64), l.now
	for ; l.now < start+180_000; l.now++ {
		for name, ms := range mean {
			if random.Int64N(ms) == 0 {
				l.tick(name)
			}
		}
		for i := range clients {
			c := &clients[i]
			if (l.now+c.phase)%window.Milliseconds() != 0 {
				continue
			}
			watermark := l.Watermark()
			for name, id := range ids {
				if l.Seq(id) > uint64(c.served) {
					sent[name] += float64(len(l.Row(id).JSON()) + 1)
				}
			}
			c.served = int64(watermark)
		}
	}
	for _, of := range l.Top(ByBytes, 10, anyTopic) {
		part := .03
		if mean[of.Topic] > window.Milliseconds() {
			part = .1 // So few ticks fall here or there.
		}
		if off := of.Bytes.Sum/sent[of.Topic] - 1; math.Abs(off) > part {
			t.Errorf("%s: %.0f bytes are told, %.0f were sent", of.Topic, of.Bytes.Sum, sent[of.Topic])
		}
	}
}

// Without a window nothing is counted: other programs have tables too.
func TestLoadsAreNotCountedWithoutAWindow(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 20, 0)
	l.hold("A", 1)
	l.tick("A")
	l.want(ByBytes, "")
	l.want(ByTicks, "")
	l.want(BySubscribers, "A 1 0 0")
	if n := cap(l.shards[0].loads.ticks.counters); n != 0 {
		t.Errorf("room for %d", n)
	}
}

// Of many that have the same the first names are taken, and no more than asked for.
func TestTopIsBounded(t *testing.T) {
	t.Parallel()
	l := newLoaded(t, 3000, window)
	for i := range 3000 {
		if _, err := l.Acquire(fmt.Appendf(nil, "T%04d", i), 0); err != nil {
			t.Fatal(err)
		}
		l.tick(fmt.Sprintf("T%04d", i))
	}
	for by := range ByTicks + 1 {
		for _, n := range []int{1, 20, 1000} {
			top := l.Top(by, n, anyTopic)
			if len(top) != n || top[0].Topic != "T0000" || top[n-1].Topic != fmt.Sprintf("T%04d", n-1) || top[n-1].Subscribers != 1 {
				t.Errorf("by %d: %d topics, %+v to %+v", by, len(top), top[0], top[len(top)-1])
			}
		}
	}
}
