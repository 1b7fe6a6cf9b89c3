// SPDX-License-Identifier: Apache-2.0

// Package brokertest tests, for each broker, what internal/broker demands of all: a package of a
// broker calls [Source] and [Publisher] with its rig. Real edges and their clients are not needed for
// that: a feed with one source, its topic table, and a witness between the two that writes down what
// the source tells.
package brokertest

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/feed"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// Rig is a broker that runs for one test, and what can be done to it. Its functions fail the test that
// it was started for. They may be called from any goroutine, one at a time.
type Rig struct {
	// Config makes the source and the publishers under test.
	Config broker.Config
	// Write publishes a value as another program does. It works during an outage. Nil: a publisher of
	// Config does it, which has no outage then.
	Write func(topic, value string)
	// Stored is the newest value that the broker holds of a topic, "" if there is none. Nil: it holds
	// none, which sources find by asking elsewhere.
	Stored func(topic string) string
	// Outage ends all connections of Config, and has none come about until over is called.
	Outage func() (over func())
	// Forbid takes a topic, A, from the user of Config, so that neither its ticks nor its value may be
	// read, until back is called. B is permitted all the time.
	Forbid func(topic string) (back func())
	// Refuse takes the permission to publish topic A from the user of Config, until back is called. Others are
	// permitted all the time.
	Refuse func() (back func())
	// Blanket holds if all ticks come, whoever wants them.
	Blanket bool
	// Newest holds if ticks may never come that newer ones of their topics have taken the place of.
	Newest bool
	// Without are tests that make no sense for the broker, by their names, and why.
	Without map[string]string
}

// Start starts a rig, which ends with the test.
type Start func(t *testing.T) *Rig

// check is one test of a source or a publisher.
type check struct {
	name  string
	needs func(*Rig) bool // What the rig has to have for it. Nil: nothing.
	run   func(*testing.T, *Rig)
}

func hasOutage(r *Rig) bool { return r.Outage != nil }
func hasForbid(r *Rig) bool { return r.Forbid != nil }
func hasRefuse(r *Rig) bool { return r.Refuse != nil }
func hasStored(r *Rig) bool { return r.Stored != nil }

// runAll runs tests, each with a rig of its own. One is left out only with a reason.
func runAll(t *testing.T, start Start, checks []check) {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.name
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			r := start(t)
			why := r.Without[c.name]
			switch able := c.needs == nil || c.needs(r); {
			case why != "":
				t.Skip(why)
			case !able:
				t.Fatal("the rig can't do what this needs, and does not say why in Without")
			}
			c.run(t, r)
		})
	}
}

// patience bounds every wait. It is only reached when a test fails.
const patience = time.Minute

// eventually waits until ok, and fails the test if that takes too long.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come about within %v: %s", patience, what)
		}
	}
}

// world is a feed with one source, which runs until the test ends.
type world struct {
	t       *testing.T
	rig     *Rig
	table   *topics.Table
	feed    *feed.Feed
	witness *witness
	ids     map[string]topics.ID
	stop    func()
	writer  broker.Publisher // If the rig has no Write.
}

// linger is how long a topic that nobody wants is kept.
const linger = 10 * time.Millisecond

// run runs a source of the rig.
func run(t *testing.T, rig *Rig) *world {
	t.Helper()
	w := &world{t: t, rig: rig, ids: make(map[string]topics.ID), witness: &witness{committed: make(map[string][]string)}}
	w.table = topics.New(topics.Config{Max: 100_000, Linger: linger})
	w.witness.table = w.table
	log, _ := logtest.New(t)
	var err error
	w.feed, err = feed.New(feed.Config{{Broker: witnessed{rig.Config, w.witness}}}, w.table, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.feed.Run(ctx)
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Run did not return after the end of its context")
		}
	})
	t.Cleanup(w.stop)
	return w
}

// up waits until the source says that values are current.
func (w *world) up() {
	w.t.Helper()
	w.eventually("the source is up", func() bool { return w.table.Health().Up })
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	eventually(w.t, what, ok)
}

// acquire has topics wanted.
func (w *world) acquire(names ...string) {
	w.t.Helper()
	for _, name := range names {
		id, err := w.table.Acquire([]byte(name), 0)
		if err != nil {
			w.t.Fatal(err)
		}
		w.ids[name] = id
	}
}

func (w *world) release(names ...string) {
	for _, name := range names {
		w.table.Release(w.ids[name], time.Now())
		delete(w.ids, name)
	}
}

// value is that of a topic's row, "" if there is none.
func (w *world) value(name string) string {
	if row := w.table.Row(w.ids[name]); row != nil {
		return string(row.Value())
	}
	return ""
}

// shows waits until a topic has a value.
func (w *world) shows(name, value string) {
	w.t.Helper()
	defer func() {
		if w.t.Failed() {
			w.t.Logf("%s is %q", name, w.value(name))
		}
	}()
	w.eventually(fmt.Sprintf("%s shows %s", name, value), func() bool { return w.value(name) == value })
}

// hears has a topic tick until a tick is shown: the first ones may come before the subscription.
func (w *world) hears(name string) {
	w.t.Helper()
	w.eventually(name+" ticks", func() bool {
		w.write(name, numbered(1))
		return w.value(name) != ""
	})
}

// write publishes a value as another program does.
func (w *world) write(topic, value string) {
	w.t.Helper()
	if w.rig.Write != nil {
		w.rig.Write(topic, value)
		return
	}
	if w.writer == nil {
		w.writer = newPublisher(w.t, w.rig)
	}
	publish(w.t, w.writer, broker.Tick{Topic: topic, Value: []byte(value)})
}

// newPublisher returns a publisher that ends with the test.
func newPublisher(t *testing.T, rig *Rig) broker.Publisher {
	t.Helper()
	log, _ := logtest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	p, err := rig.Config.Publisher(ctx, log)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); cancel() })
	return p
}

// publish publishes ticks, and returns them with their fates.
func publish(t *testing.T, p broker.Publisher, ticks ...broker.Tick) []broker.Tick {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !p.Publish(ctx, ticks) {
		t.Fatal("ticks were not published")
	}
	return ticks
}

// witnessed is a Config whose source tells a witness.
type witnessed struct {
	broker.Config
	witness *witness
}

func (c witnessed) Source(o broker.Owner, log *slog.Logger) (broker.Source, error) {
	c.witness.Owner = o
	return c.Config.Source(c.witness, log)
}

// witness is an owner that writes down what it is told, and tells its own owner.
type witness struct {
	broker.Owner
	table *topics.Table
	// checkUp is called before the owner is told that values are current, and heard before it is told of a tick.
	checkUp func()
	heard   func(topic, value string)

	mu        sync.Mutex
	committed map[string][]string // The values of each topic in the order in which they became rows.
	told      map[string][]string // The ticks of topics that are covered, in the order in which they were told.
	ticks     int
	downs     int
	refused   []string // Topics that went stale.
}

func (w *witness) Tick(topic, value string, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard != nil {
		w.heard(topic, value)
	}
	w.Owner.Tick(topic, value, at)
	w.ticks++
	if w.told != nil {
		w.told[strings.Clone(topic)] = append(w.told[topic], strings.Clone(value))
	}
	w.note(topic)
}

func (w *witness) Repair(topic, value string, mark uint64, m topics.Meta) topics.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	outcome := w.Owner.Repair(topic, value, mark, m)
	w.note(topic)
	return outcome
}

// note writes down the row of a topic, if it is another. The caller holds w.mu.
func (w *witness) note(topic string) {
	id, ok := w.table.Find([]byte(topic))
	if !ok {
		return
	}
	row := w.table.Row(id)
	if row == nil {
		return
	}
	value := string(row.Value())
	if all := w.committed[topic]; len(all) == 0 || all[len(all)-1] != value {
		w.committed[strings.Clone(topic)] = append(all, value)
	}
}

func (w *witness) GoStale(topic string, mark uint64, c broker.Cause) {
	w.mu.Lock()
	w.refused = append(w.refused, strings.Clone(topic))
	w.mu.Unlock()
	w.Owner.GoStale(topic, mark, c)
}

func (w *witness) SetUp(up bool) {
	w.mu.Lock()
	check := w.checkUp
	if !up {
		w.downs++
	}
	w.mu.Unlock()
	if up && check != nil {
		check()
	}
	w.Owner.SetUp(up)
}

// values are those that a topic's row has had, in order.
func (w *witness) values(topic string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.committed[topic])
}

func (w *witness) wasRefused(topic string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.refused, topic)
}

func (w *witness) received() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ticks
}

// returnsTo waits until there are no more goroutines than before.
func returnsTo(t *testing.T, before int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			all := make([]byte, 1<<20)
			t.Logf("%s", all[:runtime.Stack(all, true)])
		}
	}()
	eventually(t, "no goroutine is left", func() bool { return goroutines() <= before })
}

// goroutines is how many there are, without those of a server in this process, which take their time.
func goroutines() (n int) {
	all := make([]byte, 4<<20)
	for stack := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		if !strings.Contains(stack, "/nats-server/") {
			n++
		}
	}
	return n
}
