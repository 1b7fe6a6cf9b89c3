// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// desk is a table and the wants that go with it, without a Redis.
type desk struct {
	*wants
	t     *testing.T
	table *topics.Table
	more  chan struct{} // Has an element when there was less to be done again.
	ids   map[string]topics.ID
}

// deskOwner takes what wants have to say into a table.
type deskOwner struct {
	noOwner
	*topics.Table
	more chan struct{}
}

// noOwner is embedded one deeper than the table, whose methods go before its own.
type noOwner struct{ broker.Owner }

func (o *deskOwner) More() { broker.Signal(o.more) }

func (o *deskOwner) GoStale(topic string, mark uint64, c broker.Cause) {
	o.Table.GoStale(topic, mark, c.Why())
}

func newDesk(t *testing.T, most int) *desk {
	table := topics.New(topics.Config{Max: most})
	owner := &deskOwner{Table: table, more: make(chan struct{}, 1)}
	return &desk{wants: newWants(owner), t: t, table: table, more: owner.more, ids: make(map[string]topics.ID)}
}

func (d *desk) drain() {
	d.apply(d.table.Changes(0, nil, 1000))
	d.check()
}

func (d *desk) want(name string) {
	d.t.Helper()
	id, err := d.table.Acquire([]byte(name), 0)
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
	d.expectOf(commandMax, name, topics...)
}

// expectOf checks the next command of at most limit topics.
func (d *desk) expectOf(limit int, name string, topics ...string) {
	d.t.Helper()
	got := d.next(limit)
	d.check()
	if fmt.Sprint(got.topics) != fmt.Sprint(topics) || len(topics) > 0 && got.name != name {
		d.t.Fatalf("next command = %s %v, want %s %v", got.name, got.topics, name, topics)
	}
}

// fetchOf takes the one fetch that is due.
func (d *desk) fetchOf(name string) fetch {
	d.t.Helper()
	f := d.fetches(nil, fetchMax)
	d.check()
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

// A new topic waits neither for all those that were given up at once, nor for those that came
// after it.
func TestNewTopicsHaveTheirTurn(t *testing.T) {
	d := newDesk(t, 30)
	gone, wanted := make([]string, 10), make([]string, 10)
	for i := range gone {
		gone[i], wanted[i] = fmt.Sprint("gone", i), fmt.Sprint("wanted", i)
		d.want(gone[i])
	}
	for len(d.next(5).topics) > 0 {
	}
	for _, name := range gone {
		d.leave(name)
	}
	for _, name := range wanted {
		d.want(name)
	}
	for i := 0; i < 10; i += 2 {
		d.expectOf(2, unsubscribe, gone[i:i+2]...)
		d.expectOf(2, subscribe, wanted[i:i+2]...)
	}
	for _, name := range wanted {
		d.confirm(name)
	}
	for _, f := range d.fetches(nil, fetchMax) {
		if f.topic != wanted[0] {
			t.Errorf("%s is fetched before %s, which was confirmed before", f.topic, wanted[0])
		}
		wanted = wanted[1:]
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
	d.refused(broker.NotPermitted)
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
	d.fail([]fetch{f}, broker.Loading)
	if left := d.fetches(nil, fetchMax); len(left) > 0 {
		t.Errorf("%v is fetched again at once", left)
	}
	d.refetch()
	if again := d.fetchOf("A"); again != f {
		t.Errorf("fetch = %v, want %v", again, f)
	}
	d.fail([]fetch{f}, broker.Loading)
	d.leave("A")
	d.fail([]fetch{f}, broker.Loading)
	d.want("B")
	d.confirm("B")
	f = d.fetchOf("B")
	d.fail([]fetch{f}, broker.Loading)
	d.reset()
	d.fail([]fetch{f}, broker.Loading)
	d.refetch()
	if left := d.fetches(nil, fetchMax); len(left) > 0 {
		t.Errorf("fetches of topics given up, or of an earlier connection: %v", left)
	}
}

// A fetch ends with what has asked for it. A value that comes after that was read too early.
func TestFetchesDoNotOutliveAGap(t *testing.T) {
	d := newDesk(t, 10)
	d.blanket = true
	d.cover()
	d.want("A")
	d.ends(true, "nothing was wanted at the beginning")
	early := d.fetchOf("A")
	d.reset() // Entries of the stream were lost. Its link goes on, and so does the fetch.
	d.cover()
	if d.repairs(early, `"early"`) {
		t.Error("a value from before the gap was committed in it")
	}
	d.unrepaired(early)
	d.ends(false, "A was read before the gap, and not in it")
	if !d.repairs(d.fetchOf("A"), `"late"`) {
		t.Error("the value that was read in the gap was dropped")
	}
	d.ends(true, "A was read")
}

func TestFetchesDoNotOutliveTheirTopic(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.expect(subscribe, "A")
	d.confirm("A")
	early := d.fetchOf("A")
	d.leave("A")
	d.want("A")
	d.unrepaired(early)
	if read, _ := d.hasRead("A"); read {
		t.Error("read before it was wanted")
	}
	d.expect(subscribe, "A")
	d.serve("A", `"late"`)
	if read, _ := d.hasRead("A"); !read || d.value("A") != `"late"` {
		t.Error("not read")
	}
}

func TestRefusedAreAskedForOneByOne(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.want("B")
	if got := d.next(10); len(got.topics) != 2 {
		t.Fatal(got)
	}
	d.refused(broker.NotPermitted)
	first, second := d.next(10), d.next(10)
	if len(first.topics) != 1 || len(second.topics) != 1 {
		t.Fatalf("commands of %v and %v, want one topic each", first, second)
	}
	for _, c := range []command{first, second} {
		if c.topics[0] == "A" {
			d.answer(subscribe, "A")
			d.confirm("A")
		} else {
			d.refused(broker.NotPermitted)
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
	d.refused(broker.NotPermitted)
	d.check()
	d.beat()
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
			d.fail(d.fetches(nil, random.IntN(5)), broker.Loading)
			d.refetch()
		case 9:
			d.refused(broker.NotPermitted)
			d.check()
			d.beat()
			for _, f := range d.fetches(nil, 2) {
				d.forbidden(f, broker.WrongType)
			}
			if random.IntN(20) == 0 {
				d.reset()
			}
			d.endGap()
		}
		d.check()
		queued := d.asks[leaving].len + d.asks[due].len + d.asks[dueAlone].len
		if len(d.topics) > 2*most || queued > len(d.topics) || d.readings[unfetched].len > len(d.topics) {
			t.Fatalf("step %d: %d topics, %d queued, %d to fetch", i, len(d.topics), queued, d.readings[unfetched].len)
		}
	}
	for name := range d.ids {
		d.leave(name)
	}
	d.reset()
	for len(d.next(commandMax).topics) > 0 {
		d.check()
	}
	if d.check(); len(d.topics) > 0 { // So all lists are empty.
		t.Errorf("left over: %+v", d.wants)
	}
}

// check looks at the invariants.
func (d *desk) check() {
	d.t.Helper()
	if err := d.wants.check(); err != nil {
		d.t.Fatal(err)
	}
}

// ends wants the gap ended now, or not.
func (d *desk) ends(want bool, why string) {
	d.t.Helper()
	d.check()
	if d.endGap() != want {
		d.t.Fatalf("gap ended: %v, want %v: %s", !want, want, why)
	}
	d.check()
}

// serve confirms a topic and has its value read.
func (d *desk) serve(name, value string) {
	d.t.Helper()
	d.confirm(name)
	for _, f := range d.fetches(nil, fetchMax) {
		d.repairs(f, value)
	}
}

func (d *desk) isStale(name string) bool { return d.table.Stale(d.ids[name]) > 0 }

// The gap ends when each topic that was wanted at its beginning has had its value read, was
// refused or was given up, and not before.
func TestGap(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(d *desk)
		stale bool
	}{
		"a repair":                        {func(d *desk) { d.serve("A", "2") }, false},
		"no value":                        {func(d *desk) { d.confirm("A"); d.unrepaired(d.fetchOf("A")) }, false},
		"a refusal of the value":          {func(d *desk) { d.confirm("A"); d.forbidden(d.fetchOf("A"), broker.WrongType) }, true},
		"a Redis that does not let us in": {func(d *desk) { d.confirm("A"); d.fail([]fetch{d.fetchOf("A")}, broker.NotLetIn) }, true},
		"a refusal alone":                 {func(d *desk) { d.next(commandMax); d.refused(broker.NotPermitted) }, true},
		"a second refusal": {func(d *desk) {
			d.want("B")
			d.next(commandMax)
			d.refused(broker.NotPermitted)
			d.ends(false, "it may have been refused for another")
			d.next(commandMax)
			d.refused(broker.NotPermitted)
		}, true},
		"a refusal, and a link later": {func(d *desk) {
			d.next(commandMax)
			d.refused(broker.NotPermitted)
			d.reset()
		}, true},
		"nobody wants it": {func(d *desk) { d.leave("A") }, false},
		"nobody wants it, and its UNSUBSCRIBE waits": {func(d *desk) {
			d.next(commandMax)
			d.leave("A")
			if d.asks[leaving].len != 1 {
				d.t.Fatal("no UNSUBSCRIBE waits")
			}
		}, false},
		"a link later": {func(d *desk) {
			d.confirm("A")
			d.reset()
			d.ends(false, "its confirmation is that of another link")
			d.serve("A", "2")
		}, false},
		"a link later, read over the one before": {func(d *desk) {
			d.want("B") // New, so that the gap stays open only for A.
			d.serve("A", "2")
			d.reset()
			d.ends(false, "its value is that of another link")
			d.serve("A", "3")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, 10)
			d.want("A")
			d.ends(true, "nothing was wanted at the beginning")
			d.ends(false, "no gap is open")
			d.serve("A", "1")
			d.reset()
			d.ends(false, "nothing was confirmed")
			c.end(d)
			d.ends(true, name)
			if _, held := d.ids["A"]; held && d.isStale("A") != c.stale {
				t.Errorf("stale: %v, want %v", !c.stale, c.stale)
			}
		})
	}
}

// Failures that pass keep the gap open, however many.
func TestGapWaitsForFetchesThatMayCome(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.ends(true, "nothing was wanted at the beginning")
	d.reset()
	d.confirm("A")
	for i := range 10 * failsMax {
		f := d.fetchOf("A")
		d.fail([]fetch{f}, []broker.Cause{broker.Loading, broker.Unreachable, broker.Down}[i%3])
		d.refetch()
		d.ends(false, "the value was not read")
	}
	d.unrepaired(d.fetchOf("A"))
	d.ends(true, "the value was read")
}

// Clients choose names. Whatever they ask for in a gap, and however often a link fails
// meanwhile: it has no part in the gap.
func TestNewNamesDoNotKeepAGapOpen(t *testing.T) {
	d := newDesk(t, 100)
	d.want("A")
	for i := range 5 { // The process begins.
		d.reset()
		d.want(fmt.Sprint("EARLY", i))
	}
	d.ends(true, "nothing was wanted at the beginning")
	d.serve("A", "1")
	for i := range 5 {
		d.reset()
		d.want(fmt.Sprint("LATE", i))
	}
	d.confirm("LATE0") // Of them, one gets so far.
	d.confirm("A")
	for i := range 5 {
		d.confirm(fmt.Sprint("EARLY", i))
	}
	for _, f := range d.fetches(nil, fetchMax) {
		if f.topic != "LATE0" {
			d.unrepaired(f)
		}
	}
	d.ends(true, "all that was wanted when the gap began was read")
	if d.isStale("LATE0") || d.isStale("LATE1") {
		t.Error("what is about to have its first value is stale")
	}

	// Who wants again what was given up has no part either.
	d.reset()
	d.leave("A")
	d.want("A")
	for name := range d.ids {
		if name != "A" {
			d.confirm(name)
		}
	}
	for _, f := range d.fetches(nil, fetchMax) {
		d.unrepaired(f)
	}
	d.ends(true, "A was given up")
}

// What came in the gap, and was read over a link that has ended too, has an old value when
// the feed is up again. That is said.
func TestOldValueOfANewNameIsStale(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.ends(true, "nothing was wanted at the beginning")
	d.serve("A", "1")
	d.reset()
	for _, name := range []string{"NEW", "EMPTY", "READ", "TICKED"} {
		d.want(name)
		d.serve(name, "1")
	}
	d.leave("EMPTY")
	d.want("EMPTY")
	d.confirm("EMPTY")
	d.unrepaired(d.fetchOf("EMPTY"))
	d.reset()
	d.serve("READ", "2")
	d.confirm("TICKED")
	d.table.Publish("TICKED", "2", topics.Meta{})
	d.confirm("A")
	for _, f := range d.fetches(nil, fetchMax) {
		if f.topic == "A" {
			d.repairs(f, "2")
		}
	}
	d.ends(true, "A was read")
	for name, want := range map[string]bool{"A": false, "NEW": true, "EMPTY": false, "READ": false, "TICKED": false} {
		if d.isStale(name) != want {
			t.Errorf("%s stale: %v", name, !want)
		}
	}
	d.serve("NEW", "1")
	if d.isStale("NEW") {
		t.Error("stale, and its value was read")
	}
}

// What comes behind from another node of a cluster opens a gap of its own. When the link ends
// in it, that is a gap of all topics, as the others were current until then.
func TestGapOfInherited(t *testing.T) {
	d := newDesk(t, 10)
	d.want("A")
	d.ends(true, "nothing was wanted at the beginning")
	d.serve("A", "1")
	join := func(name string, behind bool) {
		t.Helper()
		id, err := d.table.Acquire([]byte(name), 0)
		if err != nil {
			t.Fatal(err)
		}
		d.ids[name] = id
		d.inherit([]string{name}, behind)
		d.drain()
	}
	join("READ", false)
	d.ends(false, "it is no gap of the feed")
	d.serve("READ", "1")
	join("BEHIND", true)
	d.ends(false, "what has joined was not read")
	d.serve("BEHIND", "1")
	d.ends(true, "all was read")

	d.inherit([]string{"BEHIND"}, true)
	d.reset()
	d.want("NEW")
	for _, name := range []string{"BEHIND", "READ", "A"} {
		d.ends(false, name+" was not read over this link")
		d.serve(name, "2")
	}
	d.ends(true, "all was read that had been current")

	d.reset()
	join("LATER", false) // Its clients have a value, too.
	for _, name := range []string{"BEHIND", "READ", "A", "NEW"} {
		d.serve(name, "3")
	}
	d.ends(false, "what has joined was not read")
	d.serve("LATER", "1")
	d.ends(true, "all was read")
}

// With one subscription of all, nothing is current before that is confirmed.
func TestGapWaitsForThePattern(t *testing.T) {
	d := newDesk(t, 10)
	d.blanket = true
	d.ends(false, "nothing is subscribed")
	d.cover()
	d.ends(true, "all is subscribed")
	d.want("A")
	d.reset()
	d.ends(false, "nothing is subscribed")
	d.cover()
	d.ends(false, "A was not read")
	d.unrepaired(d.fetchOf("A"))
	d.ends(true, "A was read")
}

// A stream goes on where it was: what was read stays read.
func TestGapOfAStream(t *testing.T) {
	d := newDesk(t, 10)
	d.blanket = true
	d.cover()
	d.want("A")
	d.ends(true, "nothing was wanted at the beginning")
	d.unrepaired(d.fetchOf("A"))
	d.want("B")
	early := d.fetchOf("B")
	d.want("C")
	d.refetchAll()
	d.want("NEW")
	d.ends(false, "B and C were not read")
	fetches := d.fetches(nil, fetchMax)
	if len(fetches) != 3 || !slices.Contains(fetches, early) {
		t.Fatalf("fetches = %v", fetches)
	}
	for _, f := range fetches {
		if f.topic != "NEW" {
			d.ends(false, f.topic+" was not read")
			d.unrepaired(f)
		}
	}
	d.ends(true, "B and C were read")
}

// Whether Redis owes an answer.
func TestUnanswered(t *testing.T) {
	d := newDesk(t, 10)
	want := func(owed bool, answers uint64) {
		t.Helper()
		if n, o := d.unanswered(); n != answers || o != owed {
			t.Fatalf("%d answers, owed %v; want %d, %v", n, o, answers, owed)
		}
	}
	want(false, 0)
	d.want("A")
	d.want("B")
	want(false, 0)
	first := d.next(2)
	want(true, 0)
	d.answer(subscribe, first.topics[0])
	want(true, 1)
	d.answer(subscribe, first.topics[1])
	want(false, 3)
	d.want("C")
	d.next(1)
	d.refused(broker.NotPermitted)
	want(false, 4)
	d.blanket = true
	want(true, 4)
	d.cover()
	want(false, 5)
}

// As many topics as may be ahead are still to be subscribed, confirmed and fetched. Each step
// on the way says that there is room again, and fetches that fail hold up no subscription.
func TestAhead(t *testing.T) {
	d := newDesk(t, 100)
	for range len(d.more) {
		<-d.more
	}
	ahead := func(want int, signalled bool) {
		t.Helper()
		if d.ahead() != want || len(d.more) == 1 != signalled {
			t.Fatalf("%d are ahead, signalled: %v, want %d and %v", d.ahead(), len(d.more) == 1, want, signalled)
		}
		for range len(d.more) {
			<-d.more
		}
	}
	for i := range 4 {
		d.want(fmt.Sprint("T", i))
	}
	ahead(4, false)
	c := d.next(3)
	ahead(4, false)
	for _, topic := range c.topics {
		d.answer(subscribe, topic)
		d.confirm(topic)
	}
	ahead(4, true)
	fetches := d.fetches(nil, 2)
	ahead(2, true)
	d.fail(fetches[:1], broker.Loading)
	ahead(1, true) // One is to be subscribed. It does not wait for what is to be fetched.
	d.unrepaired(fetches[1])
	ahead(2, false)
	d.refetch()
	ahead(3, false)
}
