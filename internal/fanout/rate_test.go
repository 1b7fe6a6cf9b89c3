// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tickedge/internal/protocol"
)

// clockEvents is after how many events, at the rate, a guard.Limit's clock begins anew.
const clockEvents = 1 << 28

// A new conn has its whole burst, also right before the clock of the limit begins anew.
func TestNewConnHasItsBurst(t *testing.T) {
	cfg := testConfig()
	cfg.CommandRate, cfg.CommandBurst = DefaultCommandRate, 100
	cfg.SubscribeRate, cfg.SubscribeBurst = DefaultSubscribeRate, DefaultSubscribeBurst
	for _, rate := range []int{cfg.CommandRate, cfg.SubscribeRate} {
		wraps := time.Duration(clockEvents / float64(rate) * float64(time.Second))
		w := newWorld(t, cfg, DefaultSubscribeBurst, wraps-time.Second)
		id := w.connect(0)
		for i := range DefaultSubscribeBurst / cfg.MaxTopics {
			names := make([]string, cfg.MaxTopics)
			for j := range names {
				names[j] = fmt.Sprintf("T%d.%d", i, j)
			}
			w.subscribe(id, names...)
			w.unsubscribe(id, names...)
		}
		for range cfg.CommandBurst - 2*DefaultSubscribeBurst/cfg.MaxTopics*(1+cfg.MaxTopics/TopicsPerCharge) {
			w.command(id, protocol.Command{Op: protocol.OpPing})
		}
		if st := w.shard.Stats(); st.Count[CommandsRefused] > 0 || st.Count[TopicsRefused] > 0 {
			t.Errorf("%d commands and %d topics of the first burst are refused", st.Count[CommandsRefused], st.Count[TopicsRefused])
		}
		w.command(id, protocol.Command{Op: protocol.OpPing})
		if st := w.shard.Stats(); st.Count[CommandsRefused] != 1 {
			t.Errorf("%d commands above the burst are refused, want 1", st.Count[CommandsRefused])
		}
	}
}

// A turn makes so many topics that nobody knows to exist, and the command that it comes to
// its end with is carried out whole. Others are told to try again.
func TestNewTopicsOfATurn(t *testing.T) {
	w := newWorld(t, testConfig(), 10_000, 0)
	list := func(prefix string, n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprint(prefix, i))
		}
		return names
	}
	acks := func(id ConnID, names []string) (had, rejected int) {
		got := w.record()
		w.subscribe(id, names...)
		return int(w.shard.conn(id).topics.n), strings.Count(strings.Join(got[id], ""), "429")
	}
	for turn := range 2 {
		for i := range 4 {
			if had, n := acks(w.connect(0), list(fmt.Sprintf("T%d%d.", turn, i), 250)); had != 250 || n != 0 {
				t.Errorf("turn %d: a conn has %d topics, %d are rejected", turn, had, n)
			}
		}
		if had, n := acks(w.connect(0), list(fmt.Sprintf("U%d.", turn), 200)); had != 200 || n != 0 {
			t.Errorf("turn %d, the last: it has %d topics, %d are rejected", turn, had, n)
		}
		late := w.connect(0)
		// Those that are known to exist are made, and those that the table holds are there. Of
		// the others a few are made for anybody.
		names := append(list(fmt.Sprintf("known%d.", turn), 100), "T00.0")
		names = append(names, list(fmt.Sprintf("V%d.", turn), newTopicsFew+2)...)
		if had, n := acks(late, names); had != 101+newTopicsFew || n != 2 {
			t.Errorf("turn %d, late: it has %d topics, %d are rejected", turn, had, n)
		}
		if st := w.shard.Stats(); st.Count[NewTopicsHeldUp] != uint64(2*(turn+1)) {
			t.Errorf("turn %d: %d are counted", turn, st.Count[NewTopicsHeldUp])
		}
		w.tick(SlotTime)
	}
}

// Malformed commands end a conn where they come faster than they are forgiven, however old it
// gets otherwise.
func TestMistakesAreForgiven(t *testing.T) {
	forgive := duration(forgiven)
	for _, age := range []time.Duration{0, wrapAge} {
		w := newWorld(t, testConfig(), 10, age)
		refuse := func(id ConnID) Reason {
			_, why := w.shard.Refuse(id, &protocol.CommandError{Code: protocol.ErrMalformed, Reason: "no"}, nil)
			check(t, w.shard, -1)
			return why
		}
		after := func(d time.Duration) {
			w.now = w.now.Add(d)
			w.shard.At(w.now)
		}
		careless, flood := w.connect(0), w.connect(0)
		for i := range 1000 {
			if why := refuse(careless); why != 0 {
				t.Fatalf("one a minute, number %d: %s", i, why)
			}
			after(time.Minute)
		}
		for i := 1; i <= malformedMax; i++ {
			if why := refuse(flood); (why == Malformed) != (i == malformedMax) {
				t.Errorf("number %d at once: %q", i, why)
			}
		}
		// The next in its place has made none.
		w.shard.Remove(flood)
		if next := w.connect(0); next != flood || refuse(next) != 0 {
			t.Errorf("conn %d, in the place of %d, is not let make a mistake", next, flood)
		}
		// One more for each time of forgiveness, and no more.
		for range malformedMax - 1 {
			refuse(careless)
		}
		for i := range 100 {
			after(forgive)
			if why := refuse(careless); why != 0 {
				t.Fatalf("at the rate, number %d: %s", i, why)
			}
		}
		after(forgive - SlotTime)
		if why := refuse(careless); why != Malformed {
			t.Errorf("beyond the rate: %q", why)
		}
		// A long pause makes up for all of them.
		after(100 * 24 * time.Hour)
		for i := 1; i < malformedMax; i++ {
			if why := refuse(careless); why != 0 {
				t.Fatalf("after a pause, number %d: %s", i, why)
			}
		}
	}
}
