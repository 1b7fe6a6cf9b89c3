// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// coverable is a puppet that covers, unless it is to fail.
type coverable struct {
	puppet
	asked [][]string
	fail  error
}

func (p *coverable) Source(o broker.Owner, log *slog.Logger) (broker.Source, error) {
	s, err := p.puppet.Source(o, log)
	return coverableSource{s, p}, err
}

type coverableSource struct {
	broker.Source
	p *coverable
}

func (s coverableSource) Cover(prefixes []string) error {
	if s.p.fail != nil {
		return s.p.fail
	}
	s.p.asked = append(s.p.asked, prefixes)
	return nil
}

// newest is what it covers.
func (p *coverable) newest() []string {
	if len(p.asked) == 0 {
		return nil
	}
	return p.asked[len(p.asked)-1]
}

func feedOf(t *testing.T, cfg Config) *Feed {
	t.Helper()
	log, _ := logtest.New(t)
	f, err := New(cfg, topics.New(topics.Config{Max: 100}), log)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSpread(t *testing.T) {
	r := router{{"fx:*"}, {"crypto:BTC*", "exact", "*:eu", "a*b*"}, nil}
	for _, c := range []struct {
		prefixes string
		want     string
	}{
		{"", "[[] [] []]"},
		{"fx:", "[[fx:] [] []]"},
		{"fx:EUR", "[[fx:EUR] [] []]"},
		{"f", `[[fx:] [f] [f]]`},
		{"crypto:", "[[] [crypto:] [crypto:]]"},
		{"crypto:BTC", "[[] [crypto:BTC] []]"},
		{"crypto:BTCUSD,crypto:BTCEUR", "[[] [crypto:BTCEUR crypto:BTCUSD] []]"},
		{"axb", "[[] [axb] [axb]]"},
		{"exact", "[[] [exact] [exact]]"},
		{"all", "[[fx:] [] []]"},
	} {
		prefixes := strings.Split(c.prefixes, ",")
		switch c.prefixes {
		case "":
			prefixes = nil
		case "all":
			prefixes, c.want = []string{""}, `[[fx:] [""] [""]]`
		}
		got := fmt.Sprint(r.spread(prefixes))
		if c.prefixes == "all" {
			got = fmt.Sprintf("[[%s] %q %q]", r.spread(prefixes)[0][0], r.spread(prefixes)[1], r.spread(prefixes)[2])
		}
		if got != c.want {
			t.Errorf("%q is spread as %s, want %s", c.prefixes, got, c.want)
		}
	}
}

// A topic that begins with a prefix is covered at the source that takes it, whatever the patterns are.
func TestSpreadLeavesNothingOut(t *testing.T) {
	word := func(of string, most int) string {
		b := make([]byte, rand.N(most))
		for i := range b {
			b[i] = of[rand.N(len(of))]
		}
		return string(b)
	}
	narrow := 0
	for range 20_000 {
		r := router{{"a" + word("ab*", 4), word("ab*", 4) + "b"}, {word("ab*", 4) + "a"}, nil}
		prefix := word("ab", 4)
		topic := prefix + word("ab", 5) + "a"
		to := r.spread([]string{prefix})
		if !broker.Prefixes(to[r.route(topic)]).Cover(topic) {
			t.Fatalf("%q goes to source %d of %q, and the prefix %q is covered as %q", topic, r.route(topic), r, prefix, to)
		}
		if slices.ContainsFunc(to, func(of []string) bool { return len(of) == 0 }) {
			narrow++
		}
	}
	if narrow < 1000 {
		t.Errorf("only %d of 20,000 leave out a source", narrow)
	}
}

// Sources are told what is theirs and only when it changes; where one can't all is as it was.
func TestCover(t *testing.T) {
	a, b, plain := new(coverable), new(coverable), new(puppet)
	f := feedOf(t, Config{{Patterns: []string{"fx:*"}, Broker: a}, {Patterns: []string{"n:*"}, Broker: plain}, {Broker: b}})
	must := func(prefixes ...string) {
		t.Helper()
		if err := f.Cover(prefixes); err != nil {
			t.Fatal(err)
		}
	}
	must("fx:", "x:")
	must("x:", "fx:EUR", "fx:")
	if len(a.asked) != 1 || len(b.asked) != 1 || !slices.Equal(a.newest(), []string{"fx:"}) || !slices.Equal(b.newest(), []string{"x:"}) {
		t.Errorf("asked for %q and %q", a.asked, b.asked)
	}
	if err := f.Cover([]string{"n:1", "fx:USD"}); !errors.Is(err, errNoCover) {
		t.Errorf("error = %v", err)
	}
	if !slices.Equal(a.newest(), []string{"fx:"}) {
		t.Errorf("covered is %q, and is to be what it was", a.newest())
	}
	b.fail = errors.New("a cluster")
	if err := f.Cover([]string{"y:", "fx:USD"}); !errors.Is(err, b.fail) || !slices.Equal(a.newest(), []string{"fx:"}) {
		t.Errorf("%q is covered, error = %v", a.newest(), err)
	}
	b.fail = nil
	must()
	if len(a.newest()) > 0 || len(b.newest()) > 0 {
		t.Errorf("%q and %q are covered still", a.newest(), b.newest())
	}
}

// A broker may have ticks of topics that another source takes. They are not told, though somebody wants the topic.
func TestCoverOfAnothersTopics(t *testing.T) {
	a, b := new(coverable), new(coverable)
	f := feedOf(t, Config{{Patterns: []string{"fx:*"}, Broker: a}, {Broker: b}})
	id, err := f.table.Acquire([]byte("x"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Cover([]string{""}); err != nil {
		t.Fatal(err)
	}
	a.Tick("x", "1", 1)
	if row := f.table.Row(id); row != nil {
		t.Errorf("the source of fx:* has told %s of x", row.Value())
	}
	if err := f.Cover(nil); err != nil {
		t.Fatal(err)
	}
	a.Tick("x", "1", 1) // It comes late.
	if row := f.table.Row(id); row != nil {
		t.Errorf("the source of fx:* has told %s of x", row.Value())
	}
	b.Tick("x", "2", 1)
	if row := f.table.Row(id); row == nil || string(row.Value()) != "2" {
		t.Error("its own source is not heard")
	}
	if st := f.Stats(); st.Counts[broker.Unwanted] != 2 {
		t.Errorf("%d were unwanted, want 2", st.Counts[broker.Unwanted])
	}
}

// Both halves of a pair cover, or none; a topic that nobody wants leaves nothing behind.
func TestPairCovers(t *testing.T) {
	halves := [2]*coverable{{}, {}}
	f := feedOf(t, Config{{Broker: Pair{halves[0], halves[1]}}})
	if err := f.Cover([]string{"a"}); err != nil {
		t.Fatal(err)
	}
	for i, h := range halves {
		if !slices.Equal(h.newest(), []string{"a"}) {
			t.Errorf("half %d covers %q", i, h.newest())
		}
		h.SetUp(true)
		h.Tick("ab", `{"ver":1}`, 1)
	}
	if st, p := f.Stats(), f.sources[0].Source.(*pair); st.Counts[broker.Unwanted] != 2 || len(p.topics) != 0 {
		t.Errorf("%d were unwanted, %d topics are held", st.Counts[broker.Unwanted], len(p.topics))
	}
	halves[1].fail = errors.New("a cluster")
	if err := f.Cover([]string{"b"}); !errors.Is(err, halves[1].fail) || !slices.Equal(halves[0].newest(), []string{"a"}) {
		t.Errorf("%q is covered, error = %v", halves[0].newest(), err)
	}
	// Versions decide, as for all that is wanted.
	id, err := f.table.Acquire([]byte("ab"), 0)
	if err != nil {
		t.Fatal(err)
	}
	halves[0].Tick("ab", `{"ver":3}`, 1)
	halves[1].Tick("ab", `{"ver":2}`, 1)
	if row := f.table.Row(id); row == nil || string(row.Value()) != `{"ver":3}` {
		t.Error("the newer version does not count")
	}
}

// BenchmarkUnwanted is what a tick costs at the feed that nobody wants.
func BenchmarkUnwanted(b *testing.B) {
	p := new(puppet)
	log := slog.New(slog.DiscardHandler)
	cfg := Config{{Patterns: []string{"fx:*"}, Broker: new(puppet)}, {Broker: p}}
	if _, err := New(cfg, topics.New(topics.Config{Max: 100}), log); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Tick("AAPL", `{"p":189.87,"b":189.86,"a":189.88,"ts":1732181723411}`, 1)
	}
}
