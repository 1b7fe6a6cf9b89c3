// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
)

func TestLimits(t *testing.T) {
	log, said := logtest.New(t)
	c := Config{own: newStore(limits{topics: 2, bytes: 3 * (overhead + 100)})}
	p, err := c.Publisher(context.Background(), log)
	if err != nil {
		t.Fatal(err)
	}
	s, o := run(t, c, newOwner()), broker.Flawed
	for i := range 100 {
		want(s, fmt.Sprint("made up", i)) // What clients want takes no room.
	}
	long := `"` + strings.Repeat("x", 700) + `"`
	if fates := publish(t, p, "A=1", "B=2", "C=3", "A=4", "B="+long, "B=5"); !slices.Equal(fates, []broker.Fate{0, 0, o, 0, o, 0}) {
		t.Errorf("fates = %v", fates)
	}
	if fates := publish(t, p, "A=null", "C=6", "B="+long); !slices.Equal(fates, []broker.Fate{0, 0, o}) {
		t.Errorf("fates = %v", fates)
	}
	publish(t, p, "B=null", "C=null")
	if st := c.own; st.bytes != 0 || st.valued != 0 || len(st.values) != 100 {
		t.Errorf("%d bytes of %d values, %d entries", st.bytes, st.valued, len(st.values))
	}
	if n := said.Count("memory broker is full"); n != 1 {
		t.Errorf("%d lines, want 1 for both batches", n)
	}
}

// An owner that takes its time holds up nobody, and gets the newest value of each topic.
func TestSlowOwner(t *testing.T) {
	c, o := Private(), newOwner()
	p, s := publisherOf(t, c), run(t, c, o)
	o.until(t, "up true")
	publish(t, p, "Q=0")
	o.hold.Lock()
	want(s, "A", "B")
	for i := range 3 * pendingMax {
		publish(t, p, fmt.Sprint("A=", i))
	}
	for range pendingMax { // Topics that come and go.
		want(s, "C", "Q")
		want(s, "-C", "-Q")
	}
	want(s, "C", "Q")
	publish(t, p, "B=1", "Q=1", "C=1", "B=2", "Q=2", "A=1000000", "C=2")
	st := s.Stats()
	if n := len(s.(*source).pending); n > pendingMax+4 {
		t.Errorf("%d events wait", n)
	}
	o.hold.Unlock()
	if time.Since(st.Heard) < st.Lag {
		t.Errorf("heard %v, and behind by %v", st.Heard, st.Lag)
	}
	o.until(t, "A=1000000")
	for _, last := range []string{"B=2", "repair Q=2 7", "repair C=2 7"} {
		o.until(t, last)
	}
}

// Topics that come and go while the owner takes its time leave a bounded number of events.
func TestRoom(t *testing.T) {
	c, o := Private(), newOwner()
	s := run(t, c, o)
	o.until(t, "up true")
	if n := s.Room(); n != roomMax {
		t.Errorf("room for %d, want %d", n, roomMax)
	}
	o.hold.Lock()
	select {
	case <-o.calls:
	default:
	}
	want(s, "FIRST")
	<-o.calls // It is being told.
	n := 0
	for ; s.Room() > 0 && n < 3*roomMax; n++ {
		want(s, fmt.Sprint("T", n))
		want(s, fmt.Sprint("-T", n))
	}
	o.hold.Unlock()
	if n != roomMax {
		t.Errorf("%d topics came and went, want %d", n, roomMax)
	}
	o.until(t, "more")
	want(s, "E")
	o.until(t, "absent E")
	if n := s.Room(); n != roomMax {
		t.Errorf("room for %d when all is told, want %d", n, roomMax)
	}
}

// What a source is told after its end leaves nothing in the broker, which lives on.
func TestWantedAfterTheEnd(t *testing.T) {
	c := Private()
	s, err := c.Source(newOwner(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want(s, "A")
	ctx, end := context.WithCancel(context.Background())
	end()
	s.Run(ctx)
	want(s, "A", "B")
	publish(t, publisherOf(t, c), "A=1")
	if n := len(s.(*source).pending); n != 0 || len(c.own.values) != 1 || len(c.own.values["A"].wanters) != 0 {
		t.Errorf("%d events, and %v", n, c.own.values)
	}
}

// A topic can be withdrawn however full the broker is.
func TestWithdrawnFromAFullBroker(t *testing.T) {
	c := Config{own: newStore(limits{topics: 1, bytes: overhead + 20})}
	p := publisherOf(t, c)
	if fates := publish(t, p, "A={}@1", "A=null@2", "B=null@3", "A={}@3"); !slices.Equal(fates, []broker.Fate{0, 0, broker.Flawed, 0}) {
		t.Errorf("fates = %v", fates)
	}
	publish(t, p, "A=null")
	if st := c.own; st.bytes != 0 || st.valued != 0 || len(st.values) != 0 {
		t.Errorf("%d bytes of %d values, %d entries", st.bytes, st.valued, len(st.values))
	}
}

// Covered topics that publishers make up and withdraw do not grow without bound while the owner takes its time.
func TestCoverOfASlowOwner(t *testing.T) {
	c, o := Config{own: newStore(limits{topics: 100, bytes: 1 << 20})}, newOwner()
	p, s := publisherOf(t, c), run(t, c, o)
	o.until(t, "up true")
	if err := s.(broker.Coverer).Cover([]string{"A"}); err != nil {
		t.Fatal(err)
	}
	publish(t, p, "A=0")
	o.until(t, "A=0")
	o.hold.Lock()
	for i := range 2 * roomMax {
		publish(t, p, fmt.Sprint("A", i, "=1"), fmt.Sprint("A", i, "=null"))
	}
	src := s.(*source)
	src.store.mu.Lock()
	n := len(src.pending)
	src.store.mu.Unlock()
	o.hold.Unlock()
	if n > roomMax+100 {
		t.Errorf("%d events wait", n)
	}
	if err := s.(broker.Coverer).Cover(nil); err != nil {
		t.Fatal(err)
	}
	if len(c.own.covers) > 0 {
		t.Error("the store goes on to look at what is covered")
	}
}
