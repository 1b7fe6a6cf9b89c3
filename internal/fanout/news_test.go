// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// newsWorld is one conn with one topic, which goes stale after two seconds.
func newsWorld(t *testing.T) (w *world, id ConnID, got recorder) {
	w = newWorldOf(t, testConfig(), topics.Config{Max: 10, StaleAfter: 2 * time.Second}, 0)
	got = w.record()
	id = w.connect(0)
	w.subscribe(id, "A")
	delete(got, id)
	return w, id, got
}

func (w *world) watch(after time.Duration) { w.table.Watch(w.now.Add(after).UnixMilli()) }

// rows is an update of a conn, as it is written.
func (w *world) rows(id ConnID, watermark uint64) []byte {
	c := w.shard.conn(id)
	f := c.framing()
	return f.end(w.shard.Rows(&c.Cursor, &w.shard.aside(id).Pass, watermark, 0, f.begin(nil)), 0)
}

// A tick that comes after a conn's stale topics were found and before its rows are
// gathered goes out with these rows: the topic is stale no more.
func TestTickBetweenStaleAndRows(t *testing.T) {
	w, id, _ := newsWorld(t)
	w.publish("A", 1)
	w.advance(time.Second)
	w.watch(time.Minute)
	c, watermark := w.shard.conn(id), w.table.Watermark()
	w.shard.FindStale(&c.Cursor, watermark)
	if len(w.shard.stale) != 1 {
		t.Fatalf("%d stale topics were found", len(w.shard.stale))
	}
	w.publish("A", 2)
	out := w.rows(id, watermark)
	out = c.framing().end(w.shard.Stale(&c.Cursor, watermark, c.framing().begin(out)), len(out))
	if got := text(t, out); got != "update A#2=2" {
		t.Fatal(got)
	}
}

// A topic without a row that goes stale in the middle of a visit is left to the next one,
// which would tell it again otherwise.
func TestStaleBetweenSnapshotAndRows(t *testing.T) {
	w, id, got := newsWorld(t)
	w.watch(0)
	c := w.shard.conn(id)
	out := w.shard.snapshot(id, c, nil)
	w.watch(time.Minute)
	if out = w.shard.deliver(id, c, w.table.Watermark(), true, out); len(out) > 0 {
		t.Fatal(text(t, out))
	}
	w.advance(3 * time.Second)
	got.want(t, id, `stale ["A"]`)
}

// What is committed after the watermark was read is left to the next visit: it is above
// served, and would be told twice.
func TestNewsBehindTheWatermark(t *testing.T) {
	w, id, _ := newsWorld(t)
	w.publish("A", 1)
	c, watermark := w.shard.conn(id), w.table.Watermark()
	w.table.SetSourceState(0, false, epoch.UnixMilli())
	w.watch(time.Minute)
	if out := w.shard.deliver(id, c, watermark, false, nil); len(out) > 0 {
		t.Fatalf("no news, and rows go out early: %s", text(t, out))
	}
	if got, want := text(t, w.shard.deliver(id, c, watermark, true, nil)), "update A#1=1"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	if got, want := text(t, w.shard.deliver(id, c, w.table.Watermark(), true, nil)), `feed down since=0.000 | stale ["A"]`; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

// A topic that is taken from a conn by its own command, which then asks for it again, is
// the client's: the ack counts it, and nothing is said to the contrary.
func TestTakenAwayAndAskedForAgain(t *testing.T) {
	const tableMax = 24 // An eighth of it may be withdrawn by who changes its own topics.
	w := newWorld(t, testConfig(), tableMax, 0)
	for i := range tableMax - 2 {
		name := "HELD" + strconv.Itoa(i)
		w.hold(name)
		w.publish(name, 1)
	}
	id := w.connect(0)
	got := w.record()
	w.subscribe(id, "S1", "S2")
	w.subscribe(id, "S3", "S1") // S1 gives way to S3, and S2 to the new S1.
	w.check()
	w.publish("S1", 7)
	w.table.Changes(0, nil, all)
	w.advance(time.Second)
	w.command(id, protocol.Command{Op: protocol.OpList})
	got.want(t, id, "ack subscribe topics=2", "ack subscribe topics=3",
		`update S1#1=7 | unsubscribed ["S2"]`, `topics ["S3","S1"]`)
}

// The same name may be taken away twice within a command.
func TestTakenAwayTwiceIsToldOnce(t *testing.T) {
	const tableMax = 40
	w := newWorld(t, testConfig(), tableMax, 0)
	for i := range tableMax - 1 {
		name := "HELD" + strconv.Itoa(i)
		w.hold(name)
		w.publish(name, 1)
	}
	id := w.connect(0)
	got := w.record()
	w.subscribe(id, "S1")
	w.subscribe(id, "S2", "S1", "S3") // Each takes the place of the one before.
	w.check()
	w.table.Changes(0, nil, all)
	w.advance(time.Second)
	w.command(id, protocol.Command{Op: protocol.OpList})
	got.want(t, id, "ack subscribe topics=1", "ack subscribe topics=3",
		`unsubscribed ["S2","S1"]`, `topics ["S3"]`)
}

// A name that stands twice in a command is told of only if the client does not have it.
func TestTakenAwayWithinItsCommand(t *testing.T) {
	const tableMax = 60
	w := newWorld(t, testConfig(), tableMax, 0)
	for i := range tableMax - 2 {
		name := "HELD" + strconv.Itoa(i)
		w.hold(name)
		w.publish(name, 1)
	}
	id := w.connect(0)
	got := w.record()
	w.subscribe(id, "X", "S1", "S2", "X") // S2 takes the place of X, and the new X that of S1.
	w.check()
	w.table.Changes(0, nil, all)
	w.advance(time.Second)
	w.command(id, protocol.Command{Op: protocol.OpList})
	got.want(t, id, "ack subscribe topics=3", `unsubscribed ["S1"]`, `topics ["S2","X"]`)
}

// A client whose topics exist keeps them all in a table that many others have filled with as
// many made-up names each.
func TestTopicsThatExistAreKept(t *testing.T) {
	const others, each = 20, 8
	w := newWorld(t, testConfig(), others*each, 0)
	for by := range uint64(others) {
		for i := range each {
			if _, err := w.table.Acquire(fmt.Appendf(nil, "OTHER%d.%d", by, i), 1+by); err != nil {
				t.Fatal(err)
			}
		}
	}
	id := w.connect(0)
	w.sink.peer(id).source = 100
	var names []string
	for i := range others * each / 2 {
		names = append(names, fmt.Sprint("known", i))
	}
	w.subscribe(id, names...)
	w.table.Changes(0, nil, all)
	w.tick(time.Second)
	for _, name := range names {
		if topic, held := w.table.Find([]byte(name)); !held || w.table.Withdrawn(topic) {
			t.Errorf("%s is gone", name)
		}
	}
	if n := w.shard.Stats().Count[Withdrawn]; n > 0 {
		t.Errorf("it was told %d times that topics are gone", n)
	}
}

// No message is longer than a client may take, however many topics are taken away at once.
func TestManyTakenAwayAreSeveralMessages(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTopics = 1200
	w := newWorld(t, cfg, 1200, 0)
	id := w.connect(0)
	var names []string
	for i := range 1200 {
		names = append(names, fmt.Sprintf("%064d", i))
	}
	w.subscribe(id, names...)
	for by := range uint64(520) {
		for i := range 2 {
			if _, err := w.table.Acquire(fmt.Appendf(nil, "OTHER%d.%d", by, i), 1+by); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.table.Changes(0, nil, all)
	messages, told := 0, 0
	w.sink.onFrames = func(_ ConnID, frames []byte) {
		for _, m := range decode(t, frames) {
			var list []string
			if err := json.Unmarshal(m.Topics, &list); err != nil || m.T != "unsubscribed" || len(list) > protocol.UnsubscribedMax {
				t.Fatal(m, err)
			}
			messages++
			told += len(list)
		}
	}
	w.tick(time.Second)
	if messages != 3 || told != 1040 || w.shard.Stats().Count[Withdrawn] != 3 {
		t.Errorf("%d messages of %d topics", messages, told)
	}
	check(t, w.shard, 1040)
}

// An update leaves out what a snapshot owes, though there may be room for it.
func TestUpdateLeavesWhatIsOwed(t *testing.T) {
	w, id, got := newsWorld(t)
	w.hold("A", "B")
	w.publish("B", 1)
	w.sink.peer(id).backlog = 1
	w.subscribe(id, "B")
	got.want(t, id, "ack subscribe topics=2")
	w.publish("A", 1)
	if got := text(t, w.rows(id, w.table.Watermark())); got != "update A#1=1" {
		t.Fatal(got)
	}
	w.check()
	w.sink.peer(id).backlog = 0
	w.advance(time.Second)
	got.want(t, id, "snapshot B#1=1")
}
