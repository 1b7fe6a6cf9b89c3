// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// owner notes what it is told. It may be held up.
type owner struct {
	mu    sync.Mutex
	said  []string
	told  chan struct{} // Has an element when something was said.
	calls chan struct{} // Has one when something is about to be.
	hold  sync.Mutex
	field string
}

func newOwner() *owner { return &owner{told: make(chan struct{}, 1), calls: make(chan struct{}, 1)} }

func (o *owner) say(s string) {
	select {
	case o.calls <- struct{}{}:
	default:
	}
	o.hold.Lock()
	defer o.hold.Unlock()
	o.mu.Lock()
	o.said = append(o.said, s)
	o.mu.Unlock()
	select {
	case o.told <- struct{}{}:
	default:
	}
}

func (o *owner) Now() int64                                          { return 1 }
func (o *owner) Tick(topic, value string, _ int64)                   { o.say(topic + "=" + value) }
func (o *owner) Drop(topic, value string, size int64, f broker.Flaw) { o.say("drop " + topic) }
func (o *owner) Mark(topic string) (uint64, bool)                    { return 7, true }
func (o *owner) Inspect(value string) (topics.Version, broker.Flaw) {
	return broker.InspectVersion(value, o.field)
}
func (o *owner) Repair(topic, value string, mark uint64, _ topics.Meta) topics.Outcome {
	o.say(fmt.Sprint("repair ", topic, "=", value, " ", mark))
	return topics.Committed
}
func (o *owner) Doubt(topic string)  { o.say("doubt " + topic) }
func (o *owner) Absent(topic string) { o.say("absent " + topic) }
func (o *owner) GoStale(topic string, _ uint64, c broker.Cause) {
	o.say("stale " + topic + " " + c.Label())
}
func (o *owner) SetUp(up bool) { o.say(fmt.Sprint("up ", up)) }
func (o *owner) More()         { o.say("more") }

// until waits until the owner was told something, and returns all that it was told.
func (o *owner) until(t *testing.T, last string) []string {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		o.mu.Lock()
		said := slices.Clone(o.said)
		o.mu.Unlock()
		if slices.Contains(said, last) {
			return said
		}
		select {
		case <-o.told:
		case <-late:
			t.Fatalf("never told %q, but %q at last", last, said[max(0, len(said)-20):])
		}
	}
}

// run runs a source of c for as long as the test.
func run(t *testing.T, c Config, o *owner) broker.Source {
	t.Helper()
	s, err := c.Source(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	t.Cleanup(func() {
		end()
		<-done
		if s.Stats().Connected {
			t.Error("connected after its end")
		}
	})
	return s
}

func want(s broker.Source, names ...string) {
	var changes []topics.Change
	for _, name := range names {
		topic, gone := strings.CutPrefix(name, "-")
		changes = append(changes, topics.Change{Topic: topic, Wanted: !gone})
	}
	s.Apply(changes)
}

func publisherOf(t *testing.T, c Config) broker.Publisher {
	t.Helper()
	p, err := c.Publisher(context.Background(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// publish publishes topic=value or topic=value@version, and returns the fates.
func publish(t *testing.T, p broker.Publisher, ticks ...string) (fates []broker.Fate) {
	t.Helper()
	var all []broker.Tick
	for _, s := range ticks {
		topic, value, _ := strings.Cut(s, "=")
		value, ver, _ := strings.Cut(value, "@")
		tick := broker.Tick{Topic: topic, Value: []byte(value)}
		fmt.Sscan(ver, &tick.Ver)
		all = append(all, tick)
	}
	if !p.Publish(context.Background(), all) {
		t.Fatal("not published")
	}
	for _, tick := range all {
		fates = append(fates, tick.Fate)
	}
	return fates
}

func TestWantsAndTicks(t *testing.T) {
	c, o := Private(), newOwner()
	p, s := publisherOf(t, c), run(t, c, o)
	publish(t, p, "A=1", "B=2")
	o.until(t, "up true")
	want(s, "A", "C", "A")
	publish(t, p, "A=3", "B=4", "C=5", "A=6")
	o.until(t, "A=6")
	want(s, "-A", "-A", "-X", "-C", "D")
	publish(t, p, "A=7", "C=8", "D=9")
	said := o.until(t, "D=9")
	if wanted := []string{"up true", "repair A=1 7", "absent C", "A=3", "C=5", "A=6", "absent D", "D=9"}; !slices.Equal(said, wanted) {
		t.Errorf("told %q, want %q", said, wanted)
	}
	if st := s.Stats(); !st.Connected || st.Held != 1 || st.Channels != 1 || time.Since(st.Heard) > time.Minute {
		t.Errorf("stats = %+v", st)
	}
}

// Two sources of one broker hear the same, and one that ends takes nothing from the other.
func TestTwoSources(t *testing.T) {
	c := Config{URL: "memory://" + t.Name()}
	p := publisherOf(t, c)
	a := newOwner()
	want(run(t, c, a), "A")
	t.Run("other", func(t *testing.T) {
		b := newOwner()
		want(run(t, c, b), "A", "B")
		publish(t, p, "A=1", "B=1")
		b.until(t, "B=1")
		a.until(t, "A=1")
	})
	publish(t, p, "B=2", "A=2")
	if said := a.until(t, "A=2"); slices.Contains(said, "B=2") {
		t.Errorf("told %q", said)
	}
	if n := len(stores.of[t.Name()].values["B"].wanters); n != 0 {
		t.Errorf("%d sources that have ended want the topic", n)
	}
}

func TestFence(t *testing.T) {
	c, o := Private(), newOwner()
	p, s := publisherOf(t, c), run(t, c, o)
	want(s, "A")
	fates := publish(t, p, `A={"p":1}@10`, `A={"p":2}@9`, `A={"p":3}@10`, `A={"p":4}@11`, `A={"p":5,"ver":50}`, `A={"p":6}@49`,
		`A=7`, `A={"p":8}@3`, `A=null@20`, `A={"p":9}@19`, `A=null`, `A={"p":10}@1`, `A={`, "a b=1", `A=5@3`)
	const taken, outdated, flawed = broker.Taken, broker.Outdated, broker.Flawed
	if wanted := []broker.Fate{taken, outdated, outdated, taken, taken, outdated, taken, taken, taken, outdated, taken, taken, flawed, flawed, flawed}; !slices.Equal(fates, wanted) {
		t.Errorf("fates = %v, want %v", fates, wanted)
	}
	said := o.until(t, `A={"p":10,"ver":1}`)
	if wanted := []string{`A={"p":1,"ver":10}`, `A={"p":4,"ver":11}`, `A={"p":5,"ver":50}`, `A=7`, `A={"p":8,"ver":3}`,
		`A={"tombstone":true,"ver":20}`, `A=null`, `A={"p":10,"ver":1}`}; !slices.Equal(said[2:], wanted) {
		t.Errorf("told %q, want %q", said[2:], wanted)
	}
}

// A topic that is withdrawn with a version stays fenced, is not listed, and who wants it is told the tombstone.
func TestTombstones(t *testing.T) {
	c, o := Private(), newOwner()
	p, s := publisherOf(t, c), run(t, c, o)
	publish(t, p, "A={}@5", "A=null@6", "B={}@1", "C=1", "C=null")
	want(s, "A", "C")
	o.until(t, "absent C")
	if said := o.until(t, `repair A={"tombstone":true,"ver":6} 7`); len(said) != 3 {
		t.Errorf("told %q", said)
	}
	var names []string
	all, err := c.List(context.Background(), func(topic string) bool { names = append(names, topic); return true })
	if !all || err != nil || !slices.Equal(names, []string{"B"}) {
		t.Errorf("listed %q, %v, %v", names, all, err)
	}
}

// What is to be told, and was published before a time, was told when Stats says so.
func TestHeardWaitsForTheOwner(t *testing.T) {
	c, o := Private(), newOwner()
	p, s := publisherOf(t, c), run(t, c, o)
	o.until(t, "up true")
	want(s, "A")
	o.until(t, "absent A")
	o.hold.Lock()
	select {
	case <-o.calls:
	default:
	}
	publish(t, p, "A=1")
	<-o.calls
	after := time.Now()
	publish(t, p, "A=2")
	if heard := s.Stats().Heard; heard.After(after) {
		t.Error("heard what was not told")
	}
	o.hold.Unlock()
	o.until(t, "A=2")
	want(s, "E") // What is told with it, or later, came after.
	o.until(t, "absent E")
	if s.Stats().Heard.Before(after) {
		t.Error("told, and not heard")
	}
}

func TestUnusableValue(t *testing.T) {
	c, o := Private(), newOwner()
	o.field = "seq"
	publish(t, publisherOf(t, c), "A=1")
	want(run(t, c, o), "A")
	if said := o.until(t, "stale A bad_value"); said[1] != "drop A" {
		t.Errorf("told %q", said)
	}
}

func TestURLs(t *testing.T) {
	for url, name := range map[string]string{
		"memory": "", "memory://": "", "memory://a-B_1": "a-B_1", "memory://x?topics=5&mib=2": "x", "memory?mib=1": "",
	} {
		if got, _, err := (Config{URL: url}).parse(); err != nil || got != name {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
	for _, url := range []string{"", "memorys", "memory:/", "memory://a/b", "memory://u:secret@h", "memory://" + strings.Repeat("x", 65),
		"memory?topics=0", "memory?mib=x", "memory?secret=1", "memory?mib=1&mib=2", "memory?mib=70000", "memory?%zz"} {
		if err := (Config{URL: url}).Validate(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	_, most, _ := (Config{URL: "memory?topics=5&mib=2"}).parse()
	if most != (limits{5, 2 << 20}) {
		t.Errorf("limits = %+v", most)
	}
}

// Publishers, sources and topics that come and go, all at a time: whoever holds a topic at the end has its newest value.
func TestRace(t *testing.T) {
	c := Private()
	p := []broker.Publisher{publisherOf(t, c), publisherOf(t, c)}
	owners := []*owner{newOwner(), newOwner()}
	var sources []broker.Source
	for _, o := range owners {
		sources = append(sources, run(t, c, o))
	}
	var work sync.WaitGroup
	for i := range p {
		work.Go(func() {
			for k := range 500 {
				publish(t, p[i], fmt.Sprintf("A={}@%d", 2*k+i+1), fmt.Sprintf("B%d=%d", k%10, k))
			}
		})
		work.Go(func() {
			for k := range 500 {
				want(sources[i], "A", fmt.Sprint("B", k%10))
				want(sources[i], "-A", fmt.Sprint("-B", k%7))
				sources[i].Stats()
			}
			want(sources[i], "A")
		})
	}
	work.Wait()
	publish(t, p[0], "A={}@2000", "E=1")
	for i, o := range owners {
		want(sources[i], "E")
		said := o.until(t, "repair E=1 7")
		before := slices.Index(said, `A={"ver":2000}`)
		if before < 0 {
			t.Errorf("source %d: the newest value is missing", i)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, wanted := range []bool{false, true} {
		b.Run(fmt.Sprint("wanted ", wanted), func(b *testing.B) {
			c := Private()
			p, _ := c.Publisher(context.Background(), slog.New(slog.DiscardHandler))
			s, _ := c.Source(deaf{newOwner()}, slog.New(slog.DiscardHandler))
			ctx, end := context.WithCancel(context.Background())
			defer end()
			go s.Run(ctx)
			ticks := make([]broker.Tick, 1000)
			for i := range ticks {
				ticks[i] = broker.Tick{Topic: fmt.Sprintf("GEN-%06d", i), Value: []byte(`{"p":189.87,"v":1234}`)}
				if wanted {
					want(s, ticks[i].Topic)
				}
			}
			var clock broker.Clock
			for b.Loop() {
				now := time.Now()
				for i := range ticks {
					ticks[i].Ver = clock.Next(now)
				}
				p.Publish(ctx, ticks)
			}
			b.ReportMetric(float64(b.N*len(ticks))/b.Elapsed().Seconds(), "ticks/s")
		})
	}
}

// deaf is an owner that keeps nothing.
type deaf struct{ *owner }

func (deaf) Tick(string, string, int64) {}
