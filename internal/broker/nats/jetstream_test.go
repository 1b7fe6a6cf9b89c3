// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// ear is an owner that wants every topic, and notes what it was told of each last.
type ear struct {
	mu   sync.Mutex
	last map[string]string // "absent" and "stale" besides values.
	up   bool
}

func newEar() *ear { return &ear{last: make(map[string]string)} }

func (e *ear) note(topic, what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last[topic] = what
}

func (e *ear) of(topic string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last[topic]
}

func (e *ear) Now() int64 { return 1 }
func (e *ear) Tick(topic, value string, _ int64) {
	e.note(string([]byte(topic)), string([]byte(value)))
}
func (e *ear) Drop(string, string, int64, broker.Flaw)        {}
func (e *ear) Mark(string) (uint64, bool)                     { return 1, true }
func (e *ear) Doubt(string)                                   {}
func (e *ear) Absent(topic string)                            { e.note(topic, "absent") }
func (e *ear) GoStale(topic string, _ uint64, _ broker.Cause) { e.note(topic, "stale") }
func (e *ear) More()                                          {}
func (e *ear) Inspect(v string) (topics.Version, broker.Flaw) {
	return topics.Version{}, broker.Inspect(v)
}

func (e *ear) Repair(topic, value string, mark uint64, _ topics.Meta) (o topics.Outcome) {
	if mark != noMark {
		e.note(topic, value)
	}
	return o
}

func (e *ear) SetUp(up bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.up = up
}

// await waits until something holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

// runStream runs a source of the stream of a server, which wants topics.
func runStream(t testing.TB, url string, wanted ...string) (*source, *ear) {
	t.Helper()
	e := newEar()
	return runSource(t, url, e, e, wanted...), e
}

// runSource runs a source whose owner has an ear.
func runSource(t testing.TB, url string, owner broker.Owner, e *ear, wanted ...string) *source {
	t.Helper()
	u, err := Config{URL: url + "?subject=md.{topic}&mode=jetstream&stream=" + testStream, Timeout: 2 * time.Second}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	s := newSource(u, owner, newLogger(t))
	startSource(t, s, e, wanted...)
	return s
}

// startSource runs a source until the test ends, and waits until it is up.
func startSource(t testing.TB, s *source, e *ear, wanted ...string) {
	t.Helper()
	for _, topic := range wanted {
		s.Apply([]topics.Change{{Topic: topic, Wanted: true}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	await(t, "up", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.up })
}

// What the last messages were before a source came is known to it: a replica that answers may not have them.
func TestOverlap(t *testing.T) {
	server, _ := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, server)
	js := makeStream(t, nc, true)
	for i := range 10 {
		if _, err := js.Publish(fmt.Sprint("md.A", i), []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()))
	for i := range 10 {
		s.mu.Lock()
		floor := s.place.floors.of(fmt.Sprint("md.A", i))
		s.mu.Unlock()
		if floor != uint64(i+1) {
			t.Errorf("floor of A%d is %d while values count as current", i, floor)
		}
	}
}

// A stream of which all is deleted, or which is made anew, says so of what is wanted.
func TestPurgedAndMadeAnew(t *testing.T) {
	server, _ := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, server)
	js := makeStream(t, nc, true)
	publish := func(topic, value string) {
		t.Helper()
		if _, err := js.Publish("md."+topic, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	publish("A", "1")
	_, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()), "A", "B")
	await(t, "the value", func() bool { return e.of("A") == "1" && e.of("B") == "absent" })
	await(t, "its end", func() bool {
		if err := js.PurgeStream(testStream); err != nil {
			t.Fatal(err)
		}
		return e.of("A") == "absent"
	})
	publish("A", "2")
	await(t, "the next value", func() bool { return e.of("A") == "2" })
	if err := js.DeleteStream(testStream); err != nil {
		t.Fatal(err)
	}
	makeStream(t, nc, true)
	publish("B", "3") // A sequence that was there before, of another subject.
	await(t, "what the new stream has", func() bool { return e.of("A") == "absent" && e.of("B") == "3" })
}

// A server that is behind is not believed: neither a replica nor one that takes itself for the leader.
func TestServerBehind(t *testing.T) {
	u, err := Config{URL: "nats://127.0.0.1:1?mode=jetstream"}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	e := newEar()
	s := newSource(u, e, newLogger(t))
	s.place.floors = newFloors()
	s.Apply([]topics.Change{{Topic: "A", Wanted: true}})
	ask := func() *want {
		if len(s.waiting) > 0 {
			s.retry(time.Now().Add(time.Hour))
		}
		taken := s.take(1)
		if len(taken) != 1 {
			t.Fatal("A is not asked for")
		}
		return taken[0]
	}
	w := ask()
	s.place.floors.heard(w.subject, 9)
	for _, f := range []struct {
		found
		leader bool
	}{{found{value: "5", seq: 5}, false}, {found{absent: true}, false}, {found{value: "5", seq: 5}, true}} {
		if s.found(w, f.found, f.leader); e.of("A") != "" {
			t.Fatalf("%+v was believed", f)
		}
		if w = ask(); !w.leader {
			t.Fatal("a replica is asked again")
		}
	}
	if s.found(w, found{value: "9", seq: 9}, true); e.of("A") != "9" {
		t.Errorf("A is %q", e.of("A"))
	}
}

// What an attempt that failed may have written is this publisher's own; what is there otherwise is another's.
func TestOwnVersion(t *testing.T) {
	p := &publisher{known: newKnown()}
	p.known.set("A", holds{seq: 3, ver: 7})
	for _, c := range []struct {
		ver      int64
		doubtful bool
		outdated bool
		fate     broker.Fate
	}{{7, false, true, broker.Outdated}, {7, true, true, broker.Taken}, {6, true, true, broker.Outdated}, {8, true, false, broker.Taken}} {
		it := &item{tick: &broker.Tick{Ver: c.ver}, subject: "A", doubtful: c.doubtful}
		if got := p.isOutdated(it); got != c.outdated || it.tick.Fate != c.fate {
			t.Errorf("%+v: %v, fate %d", c, got, it.tick.Fate)
		}
	}
}
