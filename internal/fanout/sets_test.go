// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// Sets of all sizes grow and shrink beside each other, checked against slices.
func TestSets(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const count = 12
	var s sets
	var spans [count]span
	var want [count][]entry
	next := entry(1)
	for step := range 30_000 {
		i := random.IntN(count)
		sp, list := &spans[i], &want[i]
		switch limit := 1 << i; { // The largest has 2,048 and more.
		case random.IntN(2000) == 0:
			s.release(sp)
			*list = nil
		case len(*list) > 0 && (len(*list) > limit+limit/2 || random.IntN(5) < 2 && step > 20_000):
			at := random.IntN(len(*list))
			s.remove(sp, at)
			*list = slices.Delete(*list, at, at+1)
		case len(*list) < topicsLimit:
			s.add(sp, next|owed)
			*list = append(*list, next|owed)
			next++
		}
		if got := s.entries(*sp); !slices.Equal(got, *list) {
			t.Fatalf("step %d: set %d has %d entries, want %d: they differ", step, i, len(got), len(*list))
		}
		if n := len(*list); n > 0 {
			if at := random.IntN(n); s.find(*sp, (*list)[at].id()) != at {
				t.Fatalf("step %d: entry %d of set %d is found elsewhere", step, at, i)
			}
		}
		if s.find(*sp, topics.IDLimit-1) >= 0 {
			t.Fatal("an entry is found that is not there")
		}
	}
	for i := range spans { // No set has written into another.
		if !slices.Equal(s.entries(spans[i]), want[i]) {
			t.Fatalf("set %d differs at the end", i)
		}
	}
}

// The largest set there may be, whose updates need several pieces.
func TestLargestSet(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTopics = topicsLimit
	w := newWorld(t, cfg, topicsLimit+1, 0)
	var names []string
	for i := range topicsLimit {
		names = append(names, fmt.Sprintf("T%04d", i))
	}
	id := w.connect(0)
	w.subscribe(id, names...)
	got := w.record()
	w.subscribe(id, "ONE-MORE")
	want := "ack subscribe topics=4096 rejected \"ONE-MORE\" 413 (at most 4096 topics per connection)"
	got.want(t, id, want)
	for i, name := range names {
		w.publish(name, i)
	}
	w.tick(cfg.Interval)
	for w.shard.conn(id).topics.pending&passing != 0 {
		w.tick(SlotTime)
	}
	if all := strings.Join(got[id], ""); len(got[id]) < 2 || strings.Count(all, "#1=") != topicsLimit {
		t.Fatalf("got %d writes: %.100s", len(got[id]), got[id])
	}
	for len(names) > 0 { // From the middle, so that much is moved.
		at := len(names) / 2
		n := min(500, len(names)-at)
		w.unsubscribe(id, names[at:at+n]...)
		names = slices.Delete(names, at, at+n)
		w.check()
	}
	left := w.shard.conn(id).topics
	left.pending = 0 // No concern of sets.
	if left != (span{}) || w.table.Subscriptions() != 0 {
		t.Errorf("%+v, %d subscriptions", left, w.table.Subscriptions())
	}
}

// New refuses a limit that the sets can't hold.
func TestTopicsLimit(t *testing.T) {
	for _, n := range []int{-1, 0, topicsLimit + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("MaxTopics of %d is taken", n)
				}
			}()
			cfg := testConfig()
			cfg.MaxTopics = n
			newWorld(t, cfg, 8, 0)
		}()
	}
}
