// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// asked counts the direct gets that a server was sent, by batches and single ones.
type asked struct{ batches, singles atomic.Int64 }

func (a *asked) watch(t testing.TB, nc *natsgo.Conn) {
	t.Helper()
	for subject, n := range map[string]*atomic.Int64{"": &a.batches, ".>": &a.singles} {
		if _, err := nc.Subscribe(api+"DIRECT.GET."+testStream+subject, func(*natsgo.Msg) { n.Add(1) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
}

// many are topics, of which each third has no value. They are published by write.
func many(t testing.TB, prefix string, n int, write func(topic, value string)) (wanted []string, want map[string]string) {
	t.Helper()
	want = make(map[string]string)
	for i := range n {
		topic := fmt.Sprint(prefix, i)
		wanted = append(wanted, topic)
		if want[topic] = "absent"; i%3 > 0 {
			want[topic] = fmt.Sprint(i)
			write(topic, want[topic])
		}
	}
	return wanted, want
}

// shown waits until an owner was told what is wanted of all topics.
func shown(t testing.TB, e *ear, want map[string]string) {
	t.Helper()
	await(t, "all newest values", func() bool {
		for topic, value := range want {
			if e.of(topic) != value {
				return false
			}
		}
		return true
	})
}

func writerTo(t testing.TB, js natsgo.JetStreamContext) func(topic, value string) {
	return func(topic, value string) {
		t.Helper()
		if _, err := js.Publish("md."+topic, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
}

func apply(s *source, wanted ...string) {
	var changes []topics.Change
	for _, topic := range wanted {
		changes = append(changes, topics.Change{Topic: topic, Wanted: true})
	}
	s.Apply(changes)
}

// A server that can is asked for many topics at once, and says which have no value.
func TestBatches(t *testing.T) {
	server, _ := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, server)
	write := writerTo(t, makeStream(t, nc, true))
	wanted, want := many(t, "A", 600, write)
	var a asked
	a.watch(t, nc)
	s, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()), wanted...)
	shown(t, e, want)
	await(t, "three batches", func() bool { return a.batches.Load() == 3 })
	apply(s, "B0", "B1")
	shown(t, e, map[string]string{"B0": "absent", "B1": "absent"})
	await(t, "two single gets", func() bool { return a.singles.Load() == 2 })
	if n := a.batches.Load(); n != 3 {
		t.Errorf("two topics are asked for by a batch")
	}
}

// A server that is older is asked for one topic at a time, once it has said that it knows no batches.
func TestBatchesUnknown(t *testing.T) {
	addr := startDebian(t).addr
	nc := dialAddr(t, addr)
	write := writerTo(t, makeStream(t, nc, true))
	wanted, want := many(t, "A", 300, write)
	var a asked
	a.watch(t, nc)
	s, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, addr), wanted...)
	shown(t, e, want)
	await(t, "300 single gets", func() bool { return a.singles.Load() == 300 })
	n := a.batches.Load()
	if n != 1 && n != 2 {
		t.Errorf("%d batches were tried of 300 topics", n)
	}
	wanted, want = many(t, "B", 300, write)
	apply(s, wanted...)
	shown(t, e, want)
	await(t, "300 single gets more", func() bool { return a.singles.Load() == 600 })
	if got := a.batches.Load(); got != n {
		t.Errorf("a server that knows no batches was asked for %d more", got-n)
	}
	if n := s.counters[broker.FetchFailures].Load(); n > 0 {
		t.Errorf("%d values count as not fetched", n)
	}
}

// Who may not ask by batches asks for one topic at a time.
func TestBatchesForbidden(t *testing.T) {
	server, o := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, server)
	write := writerTo(t, makeStream(t, nc, true))
	permit(t, server, o, []string{api + "DIRECT.GET." + testStream}, nil)
	wanted, want := many(t, "A", 300, write)
	var a asked
	a.watch(t, nc)
	s, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()), wanted...)
	shown(t, e, want)
	await(t, "single gets", func() bool { return a.singles.Load() == 300 })
	if n := s.counters[broker.FetchFailures].Load(); n > 0 {
		t.Errorf("%d values count as not fetched", n)
	}
}

// What is more than a server sends at once is asked for by further batches.
func TestBatchesOfMuch(t *testing.T) {
	server, _ := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, server)
	write := writerTo(t, makeStream(t, nc, true))
	long := `"` + strings.Repeat("x", 900_000) + `"`
	want := make(map[string]string)
	for i := range 12 {
		write(fmt.Sprint("LONG", i), long)
		want[fmt.Sprint("LONG", i)] = "stale"
	}
	_, others := many(t, "A", 100, write)
	maps.Copy(want, others)
	var a asked
	a.watch(t, nc)
	s, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()), slices.Collect(maps.Keys(want))...)
	shown(t, e, want)
	if n := a.batches.Load(); n < 3 {
		t.Errorf("10 MB came by %d batches", n)
	}
	if n := s.counters[broker.FetchFailures].Load(); n > 0 {
		t.Errorf("%d values count as not fetched", n)
	}
}

// Where a batch would be longer than the server takes, topics are asked for one by one.
func TestBatchTooLong(t *testing.T) {
	server, o := startServer(t, t.TempDir(), -1)
	with := o.Clone()
	with.MaxPayload = 1024
	if err := server.ReloadOptions(with); err != nil {
		t.Fatal(err)
	}
	nc := dialServer(t, server)
	write := writerTo(t, makeStream(t, nc, true))
	wanted, want := many(t, "A", 300, write)
	_, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()), wanted...)
	shown(t, e, want)
}

// batchRig is a source that has asked for A, B, C and D by one batch, whose answer is the test's.
type batchRig struct {
	*source
	ear *ear
	g   *getter
}

func newBatchRig(t testing.TB) *batchRig {
	t.Helper()
	u, err := Config{URL: "nats://127.0.0.1:1?mode=jetstream"}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	e := newEar()
	r := &batchRig{source: newSource(u, e, newLogger(t)), ear: e}
	r.place.floors = newFloors()
	l := newStreamLink(r.source, nil, testStream)
	l.direct = true
	r.g = &l.getter
	apply(r.source, "A", "B", "C", "D")
	r.ask(t, 4)
	return r
}

// ask makes a batch of what is due, as if it had been sent.
func (r *batchRig) ask(t testing.TB, n int) {
	t.Helper()
	_, many := r.g.take()
	if len(many) != n {
		t.Fatalf("%d are asked for by a batch, want %d", len(many), n)
	}
	b := &batch{open: make(map[string]get), heard: time.Now()}
	for _, of := range many {
		b.open[of.w.subject] = of
	}
	r.g.batches["1"] = b
}

func (r *batchRig) say(header, payload string) {
	m := &wireMessage{sub: batchesSub, subject: []byte("_INBOX.x.1"), payload: []byte(payload), size: int64(len(payload))}
	if header != "" {
		m.header = []byte(strings.ReplaceAll(header, "\n", "\r\n") + "\r\n\r\n")
	}
	r.g.answerMany(m)
}

// is says what became of all topics: what was told of them, or how they are asked for next.
func (r *batchRig) is() string {
	var all []string
	for _, topic := range []string{"A", "B", "C", "D"} {
		said, w := r.ear.of(topic), r.wants[topic]
		switch {
		case w.state == due && w.leader:
			said += "leader"
		case w.state == due && w.singly:
			said += "single"
		case w.state == due:
			said += "batch"
		case w.state == busy:
			said += "open"
		}
		all = append(all, said)
	}
	if r.g.singly {
		all = append(all, "no more")
	}
	return strings.Join(all, " ")
}

func messageOf(subject string, seq, last, pending int) string {
	return fmt.Sprintf("NATS/1.0\nNats-Stream: TICKS\nNats-Subject: %s\nNats-Sequence: %d\nNats-Time-Stamp: 2026-11-27T12:00:00Z\nNats-Num-Pending: %d\nNats-Last-Sequence: %d",
		subject, seq, pending, last)
}

func endOf(last, pending int) string {
	return fmt.Sprintf("NATS/1.0 204 EOB\nNats-Num-Pending: %d\nNats-Last-Sequence: %d\nNats-UpTo-Sequence: 99", pending, last)
}
