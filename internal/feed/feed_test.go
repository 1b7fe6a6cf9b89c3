// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// puppet is a source that a test speaks for.
type puppet struct {
	broker.Owner
	broker.Stats
	room int
}

func (p *puppet) Source(o broker.Owner, _ *slog.Logger) (broker.Source, error) {
	p.Owner = o
	return puppetSource{p}, nil
}

func (p *puppet) Files() int { return 3 }

func (p *puppet) String() string { return "puppet" }

func (p *puppet) Publisher(context.Context, *slog.Logger) (broker.Publisher, error) {
	return nil, errors.New("a puppet is not written to")
}

type puppetSource struct{ p *puppet }

func (s puppetSource) Apply([]topics.Change)   {}
func (s puppetSource) Room() int               { return s.p.room }
func (s puppetSource) Run(ctx context.Context) { <-ctx.Done() }
func (s puppetSource) Stats() broker.Stats     { return s.p.Stats }

// newFeed returns a feed with a puppet for a source.
func newFeed(t *testing.T, versionField string) (*Feed, *puppet, *logtest.Log) {
	t.Helper()
	log, buf := logtest.New(t)
	p := new(puppet)
	f, err := New(Config{{VersionField: versionField, Broker: p}}, topics.New(topics.Config{Max: 100}), log)
	if err != nil {
		t.Fatal(err)
	}
	return f, p, buf
}

func TestInspectDoesNotAllocate(t *testing.T) {
	for _, field := range []string{"", "ts", "s", "m.ts"} {
		_, p, _ := newFeed(t, field)
		value := `{"p":189.87,"ts":1732181723411,"s":"12.5","m":{"ts":1}}`
		if n := testing.AllocsPerRun(100, func() {
			if v, flaw := p.Inspect(value); flaw != broker.Flawless || v.Set != (field != "") {
				t.Fatalf("version = %+v, %v", v, flaw)
			}
		}); n != 0 {
			t.Errorf("%v allocations per value with version field %q", n, field)
		}
	}
}

// A value that is dropped is logged with what an operator needs to find its publisher, and no more.
func TestDroppedValuesAreLogged(t *testing.T) {
	_, p, buf := newFeed(t, "")
	p.Tick("AAPL", "\x00"+strings.Repeat("long", 100), 1)
	p.Tick("MSFT", "x", 1)
	if n := buf.Count("value dropped"); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	for _, want := range []string{"topic=AAPL", `\\x00longlong`, "bytes=401", "topic=MSFT"} {
		if buf.Count(want) != 1 {
			t.Errorf("the log lacks %s", want)
		}
	}
	if len(buf.String()) > 1000 {
		t.Errorf("the log holds more than the beginning of the values")
	}
}

// That a source is behind is told again each 10 s while it lasts.
func TestBehindIsToldAgainAtTimes(t *testing.T) {
	f, p, buf := newFeed(t, "")
	p.Lag = time.Minute
	now := time.Unix(1000, 0)
	for range 25 {
		f.measure(now)
		now = now.Add(time.Second)
	}
	if n := buf.Count("feed is behind"); n != 3 {
		t.Errorf("%d lines in 25 s, want 3", n)
	}
}

// A publisher that counts from 0 was restarted: its ticks are taken again after a while,
// and not before.
func TestVersionsBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, buf := newFeed(t, "seq")
		table := f.table
		id, _ := table.Acquire([]byte("AAPL"), 0)
		seq := func() (n int) {
			fmt.Sscanf(string(table.Row(id).Value()), `{"seq":%d}`, &n)
			return n
		}
		tick := func(n int) { p.Tick("AAPL", fmt.Sprintf(`{"seq":%d}`, n), p.Now()) }
		tick(1000)

		// Two publishers, one behind: for ever, as long as the other goes on.
		for i := range 100 {
			tick(1001 + i)
			time.Sleep(time.Second)
			tick(500 + i)
		}
		if st := f.Stats(); st.Counts[broker.Older] != 100 || st.Counts[broker.VersionResets] != 0 || seq() != 1100 {
			t.Fatalf("%d older, %d resets, row %d", st.Counts[broker.Older], st.Counts[broker.VersionResets], seq())
		}

		tick(1101)
		begin, n := time.Now(), 0
		for n = 1; f.Stats().Counts[broker.VersionResets] == 0; n++ {
			if took := time.Since(begin); took > anewAfter+time.Second {
				t.Fatalf("nothing but older versions for %v", took)
			}
			tick(n)
			time.Sleep(time.Second)
		}
		if took := time.Since(begin); took < anewAfter {
			t.Errorf("older versions were taken after %v", took)
		}
		tick(n)
		if seq() != n {
			t.Errorf("row %d after the numbering began anew, want %d", seq(), n)
		}
		tick(n - 1)
		if seq() != n {
			t.Errorf("row %d: versions do not count any more", seq())
		}
		if buf.Count("versions begin anew") != 1 {
			t.Error("not one log line")
		}
	})
}

// A topic is part of a buffer that the source reads on into. What is remembered of it is a copy.
func TestNothingIsKeptOfATick(t *testing.T) {
	f, p, _ := newFeed(t, "v")
	if _, err := f.table.Acquire([]byte("T0"), 0); err != nil {
		t.Fatal(err)
	}
	p.Tick("T0", `{"v":2}`, 1)
	name := []byte("T0")
	p.Tick(unsafe.String(&name[0], len(name)), `{"v":1}`, 1)
	copy(name, "XX")
	for name := range f.droughts.newer {
		if name != "T0" {
			t.Errorf("a drought of %q", name)
		}
	}
	if f.Stats().Counts[broker.Older] != 1 || len(f.droughts.newer) != 1 {
		t.Error("there is no drought")
	}
}

// What a feed is as a whole follows from its sources.
func TestStatsOfSeveral(t *testing.T) {
	a, b := new(puppet), new(puppet)
	cfg := Config{{Patterns: []string{"fx:*"}, Broker: a}, {Broker: b}}
	f, err := New(cfg, topics.New(topics.Config{Max: 100}), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.Stats = broker.Stats{Connected: true, Lag: 1, Held: 2, LastError: "a"}
	b.Stats = broker.Stats{Lag: 3, Held: 4}
	a.Counts[broker.Unwanted], b.Counts[broker.Unwanted] = 1, 2
	a.Tick("AAPL", "1", 1) // Nobody wants it.
	st := f.Stats()
	if st.Connected || st.Lag != 3 || st.Held != 6 || st.Counts[broker.Unwanted] != 4 || st.LastError != "a" {
		t.Errorf("stats = %+v", st)
	}
	if s := st.Sources; len(s) != 2 || s[0].Topics != "fx:*" || s[1].Topics != "" || s[0].Counts[broker.Unwanted] != 2 || !s[0].Connected {
		t.Errorf("sources = %+v", s)
	}
	if got := cfg.Files(); got != 6 {
		t.Errorf("%d descriptors, want 6", got)
	}
}

// Who listens to a topic hears every valid value of it, received or fetched, also what the table has no use for.
func TestListen(t *testing.T) {
	f, p, buf := newFeed(t, "ver")
	const topic = topics.Reserved + "x"
	var heard []string
	f.Listen(topic, func(value string) { heard = append(heard, strings.Clone(value)) })
	if _, err := f.table.AcquireKnown([]byte(topic), 0); err != nil {
		t.Fatal(err)
	}
	p.Tick(topic, `{"ver":2}`, 1)
	p.Tick(topic, `{"ver":1}`, 1)
	p.Tick(topic, `{`, 1)
	p.Tick("A", `{"ver":3}`, 1)
	p.Tick(topics.Reserved+"y", `{"ver":4}`, 1)
	mark, _ := p.Mark(topic)
	p.Repair(topic, `{"ver":1.0}`, mark, topics.Meta{})
	if want := []string{`{"ver":2}`, `{"ver":1}`, `{"ver":1.0}`}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
	if buf.Count("value dropped") != 1 {
		t.Errorf("%s", buf)
	}
}
