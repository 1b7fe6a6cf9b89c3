package fanout

import (
	"testing"
	"time"

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

// A tick that comes after a conn's stale topics were found and before its rows are
// gathered goes out with these rows: the topic is stale no more.
func TestTickBetweenStaleAndRows(t *testing.T) {
	w, id, _ := newsWorld(t)
	w.publish("A", 1)
	w.advance(time.Second)
	w.watch(time.Minute)
	c, watermark := w.shard.conn(id), w.table.Watermark()
	w.shard.findStale(c, watermark)
	if len(w.shard.stale) != 1 {
		t.Fatalf("%d stale topics were found", len(w.shard.stale))
	}
	w.publish("A", 2)
	out := w.shard.tellStale(c, watermark, w.shard.update(id, c, watermark, nil))
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
	w.table.SetFeed(0, false, epoch.UnixMilli())
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

// An update leaves out what a snapshot owes, though there may be room for it.
func TestUpdateLeavesWhatIsOwed(t *testing.T) {
	w, id, got := newsWorld(t)
	w.hold("A", "B")
	w.publish("B", 1)
	w.sink.peer(id).backlog = 1
	w.subscribe(id, "B")
	got.want(t, id, "ack subscribe topics=2")
	w.publish("A", 1)
	c := w.shard.conn(id)
	if got := text(t, w.shard.update(id, c, w.table.Watermark(), nil)); got != "update A#1=1" {
		t.Fatal(got)
	}
	w.check()
	w.sink.peer(id).backlog = 0
	w.advance(time.Second)
	got.want(t, id, "snapshot B#1=1")
}
