package topics

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// model is a table that is slow and plain: one map, no shards, no ids of its own,
// no list. It says what a table must answer, step by step.
type model struct {
	max       int
	topics    map[string]*modelTopic
	watermark uint64
	notice    uint64
	up        bool
}

type modelTopic struct {
	id          ID
	subscribers int
	idleSince   time.Time
	dropping    bool // Given up, and the feed did not take that yet.
	told        bool
	n, seq      uint64
	value       string
	version     Version
	seen        time.Time // When its newest row came in, or when it was first seen without one.
	stale       uint64    // The sequence at which it went stale.
}

func (m *model) subscriptions() (sum int64) {
	for _, tp := range m.topics {
		sum += int64(tp.subscribers)
	}
	return sum
}

// always is a linger that is over at any time.
const always = -1 << 62

func (m *model) sweep(now time.Time, linger time.Duration) {
	for _, tp := range m.topics {
		if tp.subscribers == 0 && now.Sub(tp.idleSince) >= linger {
			tp.dropping = true
		}
	}
}

func (m *model) changes() (list []Change) {
	for name, tp := range m.topics {
		switch {
		case tp.dropping:
			if tp.told {
				list = append(list, Change{name, false})
			}
			delete(m.topics, name)
		case !tp.told:
			tp.told = true
			list = append(list, Change{name, true})
		}
	}
	return list
}

func (m *model) store(tp *modelTopic, value string, v Version, now time.Time) {
	m.watermark++
	tp.seq, tp.value, tp.version, tp.seen, tp.stale = m.watermark, value, v, now, 0
}

// modelStale is when all topics of a program are stale. Their rhythm is tested elsewhere.
const modelStale = linger / 2

func (m *model) watch(now time.Time) {
	for _, tp := range m.topics {
		if tp.seen.IsZero() {
			tp.seen = now
		}
	}
}

func (m *model) announce() uint64 {
	m.watermark++
	m.notice = m.watermark
	return m.notice
}

// program is a run of steps on a table and on its model. What differs fails the test.
type program struct {
	t     testing.TB
	table *Table
	model *model
	names []string
	now   time.Time
	marks map[string]uint64 // what Mark returned last
	feed  map[string]bool   // the topics that the feed was told to want
	trace strings.Builder
}

// Few names, so that they meet each other: more than fit into a small table, fewer
// than the linger of a large one is cut short for.
const (
	programNames    = 12
	programOps      = 12
	programMaxLimit = 16
)

// runProgram reads pairs of bytes, an operation and its argument.
func runProgram(t testing.TB, limit int, code []byte) {
	table := New(Config{Max: limit, Linger: linger, StaleAfter: modelStale})
	p := &program{
		t:     t,
		table: table,
		// Half of them share a shard, with its lists.
		names: append(neighbours(table, programNames/2), "A", "B", "C", "D", "E", "F"),
		model: &model{max: limit, topics: make(map[string]*modelTopic)},
		now:   at(0),
		marks: make(map[string]uint64),
		feed:  make(map[string]bool),
	}
	for ; len(code) >= 2; code = code[2:] {
		p.step(code[0], code[1])
		p.compare()
	}
	// Whatever the program did, an empty table can be reached from there.
	for name, tp := range p.model.topics {
		for ; tp.subscribers > 0; tp.subscribers-- {
			p.table.Release(tp.id, p.now)
			tp.idleSince = p.now
		}
		p.logf("release all of %s", name)
	}
	p.now = p.now.Add(linger)
	p.sweep()
	p.changes()
	p.compare()
	wantHeld(t, p.table, 0, 0)
	if len(p.feed) != 0 {
		p.fatalf("the feed still wants %v", p.feed)
	}
}

func (p *program) step(op, arg byte) {
	name := p.names[arg%programNames]
	value := fmt.Sprint(arg / programNames % 3) // Few values, so that some are equal.
	v := Version{Whole: int64(arg / programNames / 3), Set: arg/programNames/3 > 0}
	switch op % programOps {
	case 0, 1:
		p.acquire(name)
	case 2, 3:
		p.release(name)
	case 4:
		p.publish(name, value, v)
	case 5:
		p.mark(name)
	case 6:
		p.repair(name, value, v)
	case 7: // Up to four lingers.
		p.now = p.now.Add(time.Duration(arg) * linger / 64)
		p.logf("wait until %v", p.now.Sub(at(0)))
	case 8:
		p.sweep()
	case 9:
		p.changes()
	case 10:
		p.watch()
	case 11:
		p.setFeed(arg%2 == 1)
	}
}

func (p *program) acquire(name string) {
	tp, ok := p.model.topics[name]
	full := !ok && len(p.model.topics) == p.model.max
	id, err := p.table.Acquire([]byte(name))
	p.logf("acquire %s = %d, %v", name, id, err)
	switch {
	case full:
		if !errors.Is(err, ErrFull) {
			p.fatalf("want ErrFull")
		}
		p.model.sweep(p.now, always) // All that linger give way.
		return
	case err != nil:
		p.fatalf("want no error")
	case !ok:
		for other, otherTopic := range p.model.topics {
			if otherTopic.id == id {
				p.fatalf("%s and %s share an id", name, other)
			}
		}
		tp = &modelTopic{id: id}
		p.model.topics[name] = tp
	case tp.id != id:
		p.fatalf("%s had id %d", name, tp.id)
	}
	tp.subscribers++
	tp.dropping = false
}

func (p *program) release(name string) {
	tp, ok := p.model.topics[name]
	if !ok || tp.subscribers == 0 {
		return
	}
	p.logf("release %s", name)
	p.table.Release(tp.id, p.now)
	tp.subscribers--
	tp.idleSince = p.now
}

func (p *program) publish(name, value string, v Version) {
	tp, ok := p.model.topics[name]
	got := p.table.Publish(name, value, Meta{At: p.now.UnixMilli(), Version: v})
	p.logf("publish %s %s %v = %v", name, value, v, got)
	want := Committed
	switch {
	case !ok:
		want = Unwanted
	case !v.Set || !tp.version.Set:
	case v.Whole < tp.version.Whole:
		want = Older
	case v == tp.version && tp.value == value:
		want = Repeated
	}
	if got != want {
		p.fatalf("want %v", want)
	}
	if want == Committed {
		tp.n++
		p.model.store(tp, value, v, p.now)
	}
}

// watch compares which topics are stale. The order in which they became so is free.
func (p *program) watch() {
	p.logf("watch at %v", p.now.Sub(at(0)))
	p.table.Watch(p.now.UnixMilli())
	p.model.watch(p.now)
	seen := make(map[uint64]bool)
	for name, tp := range p.model.topics {
		if tp.stale > 0 || p.now.Sub(tp.seen) <= modelStale {
			continue
		}
		p.model.announce()
		tp.stale = p.table.Stale(tp.id)
		if tp.stale == 0 || seen[tp.stale] {
			p.fatalf("%s has the stale mark %d", name, tp.stale)
		}
		seen[tp.stale] = true
	}
	for seq := range seen {
		if seq > p.model.watermark || seq <= p.model.watermark-uint64(len(seen)) {
			p.fatalf("a stale mark of %d, the watermark is %d", seq, p.model.watermark)
		}
	}
}

func (p *program) setFeed(up bool) {
	p.logf("feed up: %v", up)
	p.table.SetFeed(0, up, p.now.UnixMilli())
	if p.model.up != up {
		p.model.up = up
		if want := (Feed{Up: up, Since: p.now.UnixMilli(), Seq: p.model.announce()}); *p.table.Feed(0) != want {
			p.fatalf("the feed is %+v, want %+v", *p.table.Feed(0), want)
		}
	}
}

func (p *program) mark(name string) {
	tp, ok := p.model.topics[name]
	mark, got := p.table.Mark(name)
	p.logf("mark %s = %d, %v", name, mark, got)
	if got != ok || ok && mark != tp.seq {
		p.fatalf("want %v", ok)
	}
	p.marks[name] = mark
}

func (p *program) repair(name, value string, v Version) {
	tp, ok := p.model.topics[name]
	got := p.table.Repair(name, value, p.marks[name], Meta{At: p.now.UnixMilli(), Version: v})
	p.logf("repair %s %s %v, mark %d = %v", name, value, v, p.marks[name], got)
	want := Committed
	switch {
	case !ok:
		want = Unwanted
	case tp.seq != p.marks[name] || tp.seq > 0 && tp.value == value:
		want = Unchanged
	case v.Set && tp.version.Set && v.Whole < tp.version.Whole:
		want = Older
	}
	if got != want {
		p.fatalf("want %v", want)
	}
	if want == Committed {
		if tp.seq != 0 {
			tp.n++
		}
		p.model.store(tp, value, v, p.now)
	}
}

func (p *program) sweep() {
	p.logf("sweep")
	p.table.Sweep(p.now)
	if held := len(p.model.topics); held > p.model.max-p.model.max/8 {
		p.model.sweep(p.now, always)
	} else {
		p.model.sweep(p.now, linger)
	}
}

func (p *program) changes() {
	got, want := p.table.Changes(nil), p.model.changes()
	p.logf("changes = %v", got)
	for _, change := range got {
		if p.feed[change.Topic] == change.Wanted {
			p.fatalf("%v is no change", change)
		}
		if change.Wanted {
			p.feed[change.Topic] = true
		} else {
			delete(p.feed, change.Topic)
		}
	}
	slices.SortFunc(got, byTopic)
	slices.SortFunc(want, byTopic)
	if !slices.Equal(got, want) {
		p.fatalf("want %v", want)
	}
	if !maps.EqualFunc(p.feed, p.model.topics, func(bool, *modelTopic) bool { return true }) {
		p.fatalf("the feed wants %v", p.feed)
	}
}

// compare looks at all that a table shows.
func (p *program) compare() {
	check(p.t, p.table)
	if p.table.Held() != int64(len(p.model.topics)) || p.table.Subscriptions() != p.model.subscriptions() {
		p.fatalf("Held, Subscriptions = %d, %d", p.table.Held(), p.table.Subscriptions())
	}
	if p.table.Watermark() != p.model.watermark || p.table.Notice() != p.model.notice {
		p.fatalf("watermark, notice = %d, %d, want %d, %d", p.table.Watermark(), p.table.Notice(), p.model.watermark, p.model.notice)
	}
	for name, tp := range p.model.topics {
		if got := p.table.Name(tp.id); got != name {
			p.fatalf("id %d is %q, want %q", tp.id, got, name)
		}
		if got := p.table.Stale(tp.id); got != tp.stale {
			p.fatalf("%s: stale mark %d, want %d", name, got, tp.stale)
		}
		seq, row := p.table.Seq(tp.id), p.table.Row(tp.id)
		if seq != tp.seq || (row != nil) != (seq > 0) {
			p.fatalf("%s: seq = %d, want %d", name, seq, tp.seq)
		}
		if row == nil {
			continue
		}
		want := fmt.Sprintf(`{"s":"%s","n":%d,"v":%s}`, name, tp.n, tp.value)
		if string(row.JSON()) != want || row.Seq != tp.seq || row.N != tp.n {
			p.fatalf("row = %d %d %s, want %d %d %s", row.Seq, row.N, row.JSON(), tp.seq, tp.n, want)
		}
	}
}

func (p *program) logf(format string, args ...any) {
	fmt.Fprintf(&p.trace, format+"\n", args...)
}

func (p *program) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("after\n%s%s", &p.trace, fmt.Sprintf(format, args...))
}
