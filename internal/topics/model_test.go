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
}

type modelTopic struct {
	id          ID
	subscribers int
	idleSince   time.Time
	dropping    bool // Given up, and the feed did not take that yet.
	told        bool
	n, seq      uint64
	value       string
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

func (m *model) store(tp *modelTopic, value string) {
	m.watermark++
	tp.seq, tp.value = m.watermark, value
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
	programMaxLimit = 16
)

// runProgram reads pairs of bytes, an operation and its argument.
func runProgram(t testing.TB, limit int, code []byte) {
	table := newTable(limit)
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
	switch op % 10 {
	case 0, 1:
		p.acquire(name)
	case 2, 3:
		p.release(name)
	case 4:
		p.publish(name, value)
	case 5:
		p.mark(name)
	case 6:
		p.repair(name, value)
	case 7: // Up to four lingers.
		p.now = p.now.Add(time.Duration(arg) * linger / 64)
		p.logf("wait until %v", p.now.Sub(at(0)))
	case 8:
		p.sweep()
	case 9:
		p.changes()
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

func (p *program) publish(name, value string) {
	tp, ok := p.model.topics[name]
	got := p.table.Publish(name, value, Meta{}) == Committed
	p.logf("publish %s %s = %v", name, value, got)
	if got != ok {
		p.fatalf("want %v", ok)
	}
	if ok {
		tp.n++
		p.model.store(tp, value)
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

func (p *program) repair(name, value string) {
	tp, ok := p.model.topics[name]
	got := p.table.Repair(name, value, p.marks[name], Meta{}) == Committed
	p.logf("repair %s %s, mark %d = %v", name, value, p.marks[name], got)
	want := ok && tp.seq == p.marks[name] && (tp.seq == 0 || tp.value != value)
	if got != want {
		p.fatalf("want %v", want)
	}
	if want {
		if tp.seq != 0 {
			tp.n++
		}
		p.model.store(tp, value)
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
	if p.table.Watermark() != p.model.watermark {
		p.fatalf("watermark = %d, want %d", p.table.Watermark(), p.model.watermark)
	}
	for name, tp := range p.model.topics {
		if got := p.table.Name(tp.id); got != name {
			p.fatalf("id %d is %q, want %q", tp.id, got, name)
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
