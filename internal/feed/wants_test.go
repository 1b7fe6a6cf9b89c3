package feed

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// desk is a table and the wants that go with it, without a Redis.
type desk struct {
	*wants
	t   *testing.T
	ids map[string]topics.ID
}

func newDesk(t *testing.T, most int) *desk {
	return &desk{wants: newWants(topics.New(topics.Config{Max: most})), t: t, ids: make(map[string]topics.ID)}
}

func (d *desk) drain() { d.apply(d.table.Changes(nil)) }

func (d *desk) want(name string) {
	d.t.Helper()
	id, err := d.table.Acquire([]byte(name))
	if err != nil {
		d.t.Fatal(err)
	}
	d.ids[name] = id
	d.drain()
}

func (d *desk) leave(name string) {
	d.table.Release(d.ids[name], time.Time{})
	delete(d.ids, name)
	d.table.Sweep(time.Unix(1, 0))
	d.drain()
}

func (d *desk) value(name string) string {
	if row := d.table.Row(d.ids[name]); row != nil {
		return string(row.Value())
	}
	return ""
}

func (d *desk) repairs(f fetch, value string) bool {
	return d.repair(f, value, topics.Meta{}) == topics.Committed
}

// expect checks the next command.
func (d *desk) expect(name string, topics ...string) {
	d.t.Helper()
	got := d.next(commandMax)
	if fmt.Sprint(got.topics) != fmt.Sprint(topics) || len(topics) > 0 && got.name != name {
		d.t.Fatalf("next command = %s %v, want %s %v", got.name, got.topics, name, topics)
	}
}

// fetchOf takes the one fetch that is due.
func (d *desk) fetchOf(name string) fetch {
	d.t.Helper()
	f := d.fetches(nil, fetchMax)
	if len(f) != 1 || f[0].topic != name {
		d.t.Fatalf("fetches = %v, want one of %s", f, name)
	}
	return f[0]
}

func TestCommands(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.expect(subscribe, "A")
	d.expect("")
	d.leave("A")
	d.expect(unsubscribe, "A")
	d.expect("")

	// Given up before it was written: nothing to be written.
	d.want("A")
	d.leave("A")
	d.expect("")

	// Wanted again before the UNSUBSCRIBE was written: subscribed again.
	d.want("A")
	d.expect(subscribe, "A")
	d.leave("A")
	d.want("A")
	d.expect(subscribe, "A")
	d.expect("")

	// What is given up goes first, so that there is room for what comes.
	d.leave("A")
	d.want("B")
	d.expect(unsubscribe, "A")
	d.expect(subscribe, "B")

	// A new connection is asked for all that is wanted, and nothing else.
	d.want("C")
	d.expect(subscribe, "C")
	d.leave("C")
	d.reset()
	d.expect(subscribe, "B")
	d.expect("")
}

func TestCommandsAreLimited(t *testing.T) {
	d := newDesk(t, 10)
	for i := range 5 {
		d.want(fmt.Sprint("T", i))
	}
	for _, want := range []int{2, 2, 1, 0} {
		if got := d.next(2); len(got.topics) != want {
			t.Fatalf("command of %d topics, want %d", len(got.topics), want)
		}
	}
}

// While a thousand channels are unanswered, no more are asked for.
func TestFlightIsBounded(t *testing.T) {
	d := newDesk(t, 3*flightMax)
	for i := range 2*flightMax + 1 {
		d.want(fmt.Sprint("T", i))
	}
	var flight []command
	for len(flight) < flightMax/commandMax {
		flight = append(flight, d.next(commandMax))
	}
	for len(flight) > 1 {
		d.expect("")
		for range len(d.room) {
			<-d.room
		}
		for _, topic := range flight[0].topics {
			if d.answer(unsubscribe, topic) || d.answer(subscribe, "other") || !d.answer(subscribe, topic) {
				t.Fatalf("not the answer for %s alone is due", topic)
			}
		}
		flight = flight[1:]
		if len(d.room) != 1 {
			t.Fatal("nobody is told that there is room")
		}
		if c := d.next(commandMax); len(c.topics) > 0 {
			flight = append(flight, c)
		}
	}
	// A refused command makes room as an answered one does.
	before := d.flying
	d.refused()
	if d.flying != before-len(flight[0].topics) {
		t.Errorf("%d in flight after a refusal, %d before", d.flying, before)
	}
}

func TestConfirmTellsReconnections(t *testing.T) {
	d := newDesk(t, 10)
	if d.confirm("A") {
		t.Error("a topic that nobody wants was subscribed before")
	}
	d.want("A")
	d.next(1)
	if first, second := d.confirm("A"), d.confirm("A"); first || second {
		t.Error("a confirmation on the first connection is a gap")
	}
	d.reset()
	d.want("B")
	if d.confirm("B") {
		t.Error("a new topic on the second connection is a gap")
	}
	if !d.confirm("A") || d.confirm("A") {
		t.Error("not once a gap on the second connection")
	}
}

func TestFetchedValueNeverReplacesNewerTick(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.confirm("A")
	f := d.fetchOf("A")
	d.table.Publish("A", `"tick"`, topics.Meta{})
	if d.repairs(f, `"fetched before"`) || d.value("A") != `"tick"` {
		t.Errorf("value = %s", d.value("A"))
	}
}

// The value that an earlier connection had fetched must not get in the way of the
// one that the later connection fetches.
func TestFetchOfEarlierConfirmationIsDropped(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.confirm("A")
	early := d.fetchOf("A")
	d.confirm("A")
	if d.repairs(early, `"early"`) {
		t.Error("the early value was committed while a later fetch was due")
	}
	if !d.repairs(d.fetchOf("A"), `"late"`) || d.value("A") != `"late"` {
		t.Errorf("value = %s, want the later one", d.value("A"))
	}
}

// The newest mark counts: a tick between two confirmations proves nothing about the
// time between it and the second.
func TestNewestMarkCounts(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.table.Publish("A", `"first"`, topics.Meta{})
	d.confirm("A")
	d.table.Publish("A", `"tick"`, topics.Meta{})
	d.confirm("A")
	if !d.repairs(d.fetchOf("A"), `"missed"`) || d.value("A") != `"missed"` {
		t.Errorf("value = %s, want the fetched one", d.value("A"))
	}
}

func TestRefetch(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.confirm("A")
	f := d.fetchOf("A")
	d.refetch([]fetch{f})
	if again := d.fetchOf("A"); again != f {
		t.Errorf("fetch = %v, want %v", again, f)
	}
	d.leave("A")
	d.refetch([]fetch{f})
	d.want("B")
	d.confirm("B")
	d.reset()
	d.refetch([]fetch{{topic: "B"}})
	if left := d.fetches(nil, fetchMax); len(left) > 0 {
		t.Errorf("fetches of topics given up, or of an earlier connection: %v", left)
	}
}

func TestRefusedAreAskedForOneByOne(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.want("B")
	if got := d.next(10); len(got.topics) != 2 {
		t.Fatal(got)
	}
	d.refused()
	first, second := d.next(10), d.next(10)
	if len(first.topics) != 1 || len(second.topics) != 1 {
		t.Fatalf("commands of %v and %v, want one topic each", first, second)
	}
	for _, c := range []command{first, second} {
		if c.topics[0] == "A" {
			d.answer(subscribe, "A")
			d.confirm("A")
		} else {
			d.refused()
		}
	}
	d.expect("")
	d.reset()
	d.expect(subscribe, "A")
	d.expect(subscribe, "B")
}

// Redis answers in the order in which it was asked, so what it refuses is the oldest.
func TestRefusalIsOfTheOldestCommand(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.want("B")
	first, second := d.next(1), d.next(1)
	d.refused()
	d.expect(subscribe, first.topics...)
	if !d.answer(subscribe, second.topics[0]) || !d.answer(subscribe, first.topics[0]) {
		t.Error("the answers to the others do not come in order")
	}
}

// Whatever comes and goes, with a Redis that takes commands at times: no more is held
// than the limit that the type comment gives, and in the end all is gone.
func TestWantsAreBounded(t *testing.T) {
	const most = 50
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := newDesk(t, most)
	for i := range 20_000 {
		switch random.IntN(10) {
		case 0, 1, 2, 3, 4:
			name := fmt.Sprint("T", random.IntN(1000))
			if _, held := d.ids[name]; !held && len(d.ids) < most/2 {
				d.want(name)
			}
		case 5, 6, 7:
			for name := range d.ids {
				d.leave(name)
				break
			}
		case 8:
			c := d.next(1 + random.IntN(5))
			for _, topic := range c.topics {
				if random.IntN(50) == 0 {
					break // The answers to the rest never come.
				}
				d.answer(c.name, topic)
				if c.name == subscribe {
					d.confirm(topic)
				}
			}
			d.refetch(d.fetches(nil, random.IntN(5)))
		case 9:
			if random.IntN(20) == 0 {
				d.refused()
				d.reset()
			}
		}
		queued := len(d.unsubscribe) + len(d.subscribe) + len(d.single)
		flying := 0
		for _, c := range d.flight {
			flying += len(c.topics)
		}
		if flying != d.flying || flying > flightMax {
			t.Fatalf("step %d: %d topics in flight, counted as %d", i, flying, d.flying)
		}
		if len(d.topics) > 2*most || queued > len(d.topics) || len(d.unfetched) > len(d.topics) {
			t.Fatalf("step %d: %d topics, %d queued, %d to fetch", i, len(d.topics), queued, len(d.unfetched))
		}
	}
	for name := range d.ids {
		d.leave(name)
	}
	d.reset()
	for len(d.next(commandMax).topics) > 0 {
	}
	if len(d.topics)+len(d.subscribe)+len(d.single)+len(d.unsubscribe)+len(d.unfetched) > 0 {
		t.Errorf("left over: %+v", d.wants)
	}
}

// After a connection has ended, every topic is behind until its fetch has ended,
// whatever came of it.
func TestBehind(t *testing.T) {
	d := newDesk(t, 10)
	for name, end := range map[string]func(){
		"a repair":  func() { d.confirm("A"); d.repairs(d.fetchOf("A"), "1") },
		"no value":  func() { d.confirm("A"); d.unrepaired(d.fetchOf("A")) },
		"a failure": func() { d.confirm("A"); d.refetch([]fetch{d.fetchOf("A")}) },
		"a second refusal": func() {
			for range 4 { // Twice for each of both.
				d.next(1)
				d.refused()
			}
		},
		"nobody wants it": func() { d.leave("A") },
		"a connection later": func() {
			d.reset() // Now the new topic is behind too.
			d.confirm("A")
			d.confirm("NEW")
			for _, f := range d.fetches(nil, 2) {
				d.repairs(f, "2")
			}
		},
	} {
		if _, held := d.ids["A"]; !held {
			d.want("A")
		}
		if !d.current() {
			t.Fatalf("%s: behind before the connection ended", name)
		}
		d.reset()
		if d.current() {
			t.Fatalf("%s: not behind after the connection ended", name)
		}
		if d.want("NEW"); d.behind != 1 {
			t.Fatalf("%s: a new topic is behind", name)
		}
		end()
		if !d.current() {
			t.Errorf("behind after %s", name)
		}
		d.leave("NEW")
		clear(d.unfetched)
	}
}
