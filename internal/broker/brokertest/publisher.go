// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
)

// Publisher tests what [broker.Publisher] demands.
func Publisher(t *testing.T, start Start) { runAll(t, start, publisherChecks) }

var publisherChecks = []check{
	{"fates", hasStored, fates},
	{"two publishers", hasStored, twoPublishers},
	{"any sequence of two publishers", hasStored, anySequence},
	{"without versions", hasStored, withoutVersions},
	{"tombstones", hasStored, tombstones},
	{"one topic in a batch", hasStored, oneTopic},
	{"many topics in a batch", hasStored, manyInBatch},
	{"sees no older value", hasStored, seesNoOlder},
	{"retries", func(r *Rig) bool { return r.Outage != nil && r.Stored != nil }, retries},
	{"refused", hasRefuse, refused},
	{"gives up with its context", hasOutage, givesUp},
	{"publisher ends", nil, publisherEnds},
}

// tick is one with a version, and with its number in its value.
func tick(topic string, ver int64) broker.Tick {
	return broker.Tick{Topic: topic, Value: []byte(numbered(int(ver))), Ver: ver}
}

// stamped is the value of a tick as brokers hold it.
func stamped(t *testing.T, tick broker.Tick) string {
	t.Helper()
	value, err := broker.Stamp(tick.Value, tick.Ver)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// holds demands that the broker holds a value of a topic.
func holds(t *testing.T, rig *Rig, topic, value string) {
	t.Helper()
	if got := rig.Stored(topic); got != value {
		t.Errorf("of %s the broker holds %q, want %q", topic, got, value)
	}
}

// wrote demands fates of ticks.
func wrote(t *testing.T, ticks []broker.Tick, fates ...broker.Fate) {
	t.Helper()
	for i, tick := range ticks {
		if tick.Fate != fates[i] {
			t.Errorf("the fate of tick %d, %.60q with version %d of %q, is %d, want %d", i, tick.Value, tick.Ver, tick.Topic, tick.Fate, fates[i])
		}
	}
}

// Each tick of a batch has its own fate, and those that can't be written cost the others nothing.
func fates(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	publish(t, p, tick("OLD", 10), tick("SAME", 10))
	object := []byte(`{"p":1}`)
	ticks := publish(t, p,
		tick("A", 1),
		broker.Tick{Topic: "no name", Value: object, Ver: 1},
		tick("OLD", 9),
		broker.Tick{Topic: "BIG", Value: []byte(`{"x":"` + strings.Repeat("x", broker.ValueMax) + `"}`), Ver: 1},
		broker.Tick{Topic: "LIST", Value: []byte(`[1]`), Ver: 1},
		tick("SAME", 10),
		broker.Tick{Topic: "NEGATIVE", Value: object, Ver: -1},
		broker.Tick{Topic: "OTHER", Value: []byte(`{"ver":2}`), Ver: 1},
		broker.Tick{Topic: "BROKEN", Value: []byte(`{"p":`), Ver: 1},
		tick("B", 1),
	)
	wrote(t, ticks, broker.Taken, broker.Flawed, broker.Outdated, broker.Flawed, broker.Flawed, broker.Outdated,
		broker.Flawed, broker.Flawed, broker.Flawed, broker.Taken)
	holds(t, rig, "A", stamped(t, tick("A", 1)))
	holds(t, rig, "B", stamped(t, tick("B", 1)))
	holds(t, rig, "OLD", stamped(t, tick("OLD", 10)))
	for _, name := range []string{"BIG", "LIST", "NEGATIVE", "OTHER", "BROKEN"} {
		holds(t, rig, name, "")
	}
	if !p.Connected() {
		t.Error("it is not connected")
	}
}

// Of two publishers of a topic the one with the higher versions has the last word, in whatever order they write.
func twoPublishers(t *testing.T, rig *Rig) {
	one, two := newPublisher(t, rig), newPublisher(t, rig)
	const micros = 1_732_181_723_411_000 // Versions as of Clock.
	wrote(t, publish(t, one, tick("A", micros)), broker.Taken)
	wrote(t, publish(t, two, tick("A", micros+2)), broker.Taken)
	wrote(t, publish(t, one, tick("A", micros+1)), broker.Outdated)
	holds(t, rig, "A", stamped(t, tick("A", micros+2)))
	wrote(t, publish(t, one, tick("A", micros+3)), broker.Taken)
	holds(t, rig, "A", stamped(t, tick("A", micros+3)))
}

// Whatever two publishers write, what the broker holds of each topic is what a map would hold.
func anySequence(t *testing.T, rig *Rig) {
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	publishers := []broker.Publisher{newPublisher(t, rig), newPublisher(t, rig)}
	held := make(map[string]int64)
	for range 100 {
		var ticks []broker.Tick
		for _, n := range random.Perm(8)[:1+random.IntN(8)] { // Each topic once.
			ticks = append(ticks, tick(fmt.Sprint("T", n), 1+random.Int64N(1000)))
		}
		publish(t, publishers[random.IntN(2)], ticks...)
		for _, tick := range ticks {
			want := broker.Outdated
			if tick.Ver > held[tick.Topic] {
				want = broker.Taken
				held[tick.Topic] = tick.Ver
			}
			wrote(t, []broker.Tick{tick}, want)
		}
	}
	for topic, ver := range held {
		holds(t, rig, topic, stamped(t, tick(topic, ver)))
	}
}

// A tick without a version is written as it is, and gives way to any that has one.
func withoutVersions(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	plain := func(value string) broker.Tick { return broker.Tick{Topic: "A", Value: []byte(value)} }
	for _, value := range []string{`{"p":1}`, `17`, `"text"`, `[1, 2]`, ` {"p" : 2 }`} {
		wrote(t, publish(t, p, plain(value)), broker.Taken)
		holds(t, rig, "A", value)
	}
	wrote(t, publish(t, p, tick("A", 1)), broker.Taken)
	wrote(t, publish(t, p, tick("A", 5)), broker.Taken)
	wrote(t, publish(t, p, plain(`{"p":3}`)), broker.Taken)
	holds(t, rig, "A", `{"p":3}`)
	wrote(t, publish(t, p, tick("A", 2)), broker.Taken)
	wrote(t, publish(t, p, plain(`{"p":`)), broker.Flawed)
	holds(t, rig, "A", stamped(t, tick("A", 2)))
}

// A tombstone has a version too, and an older tick does not bring its topic back.
func tombstones(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	publish(t, p, tick("A", 5))
	wrote(t, publish(t, p, broker.Tick{Topic: "A", Value: []byte("null"), Ver: 6}), broker.Taken)
	if got := rig.Stored("A"); got != "" && !broker.IsTombstone(got) {
		t.Errorf("withdrawn, it is stored as %s", got)
	}
	wrote(t, publish(t, p, tick("A", 5)), broker.Outdated)
	wrote(t, publish(t, p, tick("A", 7)), broker.Taken)
	holds(t, rig, "A", stamped(t, tick("A", 7)))
	w := run(t, rig)
	w.acquire("A")
	w.shows("A", stamped(t, tick("A", 7)))
	publish(t, p, broker.Tick{Topic: "A", Value: []byte("null"), Ver: 8})
	w.eventually("it is withdrawn", func() bool { v := w.value("A"); return v == "" || broker.IsTombstone(v) })
}

// Of several ticks of one topic in a batch the newest is what stays.
func oneTopic(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	ticks := publish(t, p, tick("A", 1), tick("A", 2), tick("A", 3))
	for i, tick := range ticks {
		if tick.Fate != broker.Taken && (tick.Fate != broker.Superseded || i == 2) {
			t.Errorf("the fate of tick %d of the same topic is %d", i, tick.Fate)
		}
	}
	holds(t, rig, "A", stamped(t, tick("A", 3)))
	ticks = publish(t, p, tick("A", 6), tick("A", 5), tick("A", 4))
	if ticks[0].Fate != broker.Taken || ticks[1].Fate == broker.Taken || ticks[2].Fate == broker.Taken {
		t.Errorf("the fates of versions 6, 5 and 4 are %d, %d and %d", ticks[0].Fate, ticks[1].Fate, ticks[2].Fate)
	}
	holds(t, rig, "A", stamped(t, tick("A", 6)))
	var plain []broker.Tick
	for i := range 5 {
		plain = append(plain, broker.Tick{Topic: "P", Value: []byte(numbered(i))})
	}
	publish(t, p, plain...)
	holds(t, rig, "P", numbered(4))
}

func manyInBatch(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	const many = 3000
	for _, ver := range []int64{2, 1} {
		ticks := make([]broker.Tick, many)
		for i := range ticks {
			ticks[i] = tick(fmt.Sprint("M", i), ver)
		}
		want := broker.Taken
		if ver == 1 {
			want = broker.Outdated
		}
		wrote(t, publish(t, p, ticks...), slices.Repeat([]broker.Fate{want}, many)...)
	}
	for _, i := range []int{0, 999, many - 1} {
		holds(t, rig, fmt.Sprint("M", i), stamped(t, tick("", 2)))
	}
}

// While two publishers race, a source is never told of an older version behind a newer one.
func seesNoOlder(t *testing.T, rig *Rig) {
	w := run(t, rig)
	w.acquire("A")
	w.up()
	var clock broker.Clock
	var wg sync.WaitGroup
	last := make([]int64, 2)
	for i := range last {
		p := newPublisher(t, rig)
		wg.Go(func() {
			for range 200 {
				ver := clock.Next(time.Time{}) // They count on from each other.
				if ticks := publish(t, p, tick("A", ver)); ticks[0].Fate == broker.Taken {
					last[i] = ver
				}
			}
		})
	}
	wg.Wait()
	newest := stamped(t, tick("A", max(last[0], last[1])))
	w.shows("A", newest)
	holds(t, rig, "A", newest)
	before := int64(0)
	for _, value := range w.witness.values("A") {
		v, f := broker.InspectVersion(value, broker.VersionMember)
		if f != broker.Flawless || v.Whole < before {
			t.Errorf("%s came behind version %d", value, before)
		}
		before = v.Whole
	}
}

// An outage is waited for, and the ticks are there behind it.
func retries(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	publish(t, p, tick("A", 1))
	over := rig.Outage()
	done := make(chan []broker.Tick)
	go func() {
		ticks := []broker.Tick{tick("A", 2), {Topic: "B", Value: []byte(numbered(1))}}
		p.Publish(t.Context(), ticks)
		done <- ticks
	}()
	eventually(t, "it is not connected", func() bool { return !p.Connected() })
	select {
	case <-done:
		t.Error("it took the ticks for published while there was no broker")
		over()
		return
	default:
	}
	over()
	wrote(t, <-done, broker.Taken, broker.Taken)
	if !p.Connected() {
		t.Error("it is not connected")
	}
	holds(t, rig, "A", stamped(t, tick("A", 2)))
	holds(t, rig, "B", numbered(1))
}

// A topic that the broker does not take is no reason to wait, for it or for others, and is taken when it may be.
func refused(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	publish(t, p, tick("A", 1), tick("B", 1))
	back := rig.Refuse()
	ver := int64(1)
	batch := func() []broker.Tick {
		ver++
		plain := []byte(numbered(int(ver)))
		return publish(t, p, tick("B", ver), tick("A", ver), tick("C", ver), broker.Tick{Topic: "A", Value: plain}, broker.Tick{Topic: "D", Value: plain})
	}
	for range 3 {
		wrote(t, batch(), broker.Taken, broker.Forbidden, broker.Taken, broker.Forbidden, broker.Taken)
	}
	if !p.Connected() {
		t.Error("it is not connected")
	}
	if rig.Stored != nil {
		for _, name := range []string{"B", "C"} {
			holds(t, rig, name, stamped(t, tick(name, ver)))
		}
		holds(t, rig, "D", numbered(int(ver)))
	}
	back()
	eventually(t, "it is taken again", func() bool { ticks := batch(); return ticks[1].Fate == broker.Taken && ticks[3].Fate == broker.Taken })
}

func givesUp(t *testing.T, rig *Rig) {
	p := newPublisher(t, rig)
	publish(t, p, tick("A", 1))
	over := rig.Outage()
	defer over()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan bool)
	go func() { done <- p.Publish(ctx, []broker.Tick{tick("A", 2)}) }()
	eventually(t, "it is not connected", func() bool { return !p.Connected() })
	cancel()
	if <-done {
		t.Error("it took a tick for published")
	}
}

// A publisher that is closed leaves nothing behind.
func publisherEnds(t *testing.T, rig *Rig) {
	before := goroutines()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := rig.Config.Publisher(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, p, tick("A", 1))
	p.Close()
	cancel()
	returnsTo(t, before)
}
