// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"strings"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

func (w *world) delist(name string) {
	w.table.Publish(name, topics.Delisted, topics.Meta{At: w.now.UnixMilli()})
}

// A tombstone goes the way of every value: to who has the topic, who comes, who comes back, and who was
// told that it can't be had.
func TestTombstonesReachEverybody(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A", "B")
	w.repair("A", 1)
	w.table.Absent("B")
	id, slow := w.connect(0), w.connect(60_000)
	w.subscribeSince(id, "", "A", "B")
	w.subscribe(slow, "A")
	w.run(3)
	token := tokenIn.FindStringSubmatch(w.sent[id])[1]
	w.table.GoStale("B", 0, topics.NotPermitted)
	w.run(1)
	w.take(id)
	w.delist("A")
	w.delist("B")
	w.run(1)
	if sent := w.sent[id]; !strings.Contains(sent, `{"s":"A","n":1,"v":null}`) || !strings.Contains(sent, `{"s":"B","n":1,"v":null}`) {
		t.Errorf("sent: %s", sent)
	}
	w.take(id)
	w.run(61)
	if !strings.Contains(w.sent[slow], `{"s":"A","n":1,"v":null}`) {
		t.Errorf("sent to who has the longest window: %s", w.sent[slow])
	}
	late := w.connect(0)
	w.take(late)
	w.subscribe(late, "A")
	w.want(late, "ack snapshot A")
	back := w.connect(0)
	w.take(back)
	w.subscribeSince(back, token, "A")
	if !strings.Contains(w.sent[back], `"resumed":true`) || !strings.Contains(w.sent[back], `"v":null`) {
		t.Errorf("sent to who comes back with a token of before: %s", w.sent[back])
	}
	w.table.Watch(w.now.Add(9 * time.Hour).UnixMilli())
	w.take(id)
	w.run(2)
	if strings.Contains(w.sent[id], "stale") {
		t.Errorf("a topic that is delisted is stale: %s", w.sent[id])
	}
	w.check()
}

// Topics that are delisted count as others without a value do.
func TestDelistedTopicsCountAsValueless(t *testing.T) {
	cfg := testConfig()
	cfg.MaxValueless = 2
	w := newWorld(t, cfg, 1000, 0)
	w.hold("A", "B", "C", "D")
	for _, name := range []string{"A", "B", "C"} {
		w.publish(name, 1)
		w.delist(name)
	}
	w.publish("D", 1)
	asks, _ := w.ask(time.Hour)
	if codes := w.want(asks, "A", "B", "C", "D"); len(codes) != 1 || codes[0] != protocol.ErrTooManyTopics {
		t.Errorf("codes %v", codes)
	}
	sights := w.shard.AppendSights(nil, asks)
	if len(sights) != 3 || sights[0].Row != nil || sights[0].Code != protocol.ErrNoValue || !strings.Contains(sights[0].Reason, "delisted") || sights[2].Row == nil {
		t.Errorf("%+v", sights)
	}
	id := w.connect(0)
	w.subscribe(id, "A", "B", "C", "D")
	w.check()
	if n := w.shard.stats.Count[ValuelessRefused]; n != 2 {
		t.Errorf("%d refused, want one of each conn", n)
	}
}
