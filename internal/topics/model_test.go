// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"errors"
	"fmt"
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
	withdrawn []*modelTopic // Those that somebody holds still.
	drops     []string      // What the feed was told of and nobody wants any more.
	steps     int           // Each change of a topic's place among others has a number.
	unsaid    bool          // A notice is due, as topics were withdrawn.
	watermark uint64
	notice    uint64
	up        bool
}

type modelTopic struct {
	name        string
	id          ID
	subscribers int
	by          uint64 // Who asked for it, while it has no row.
	known       bool   // Somebody who holds it knew that it exists.
	since       int    // The number of when it was told, became idle, or was asked for, whatever came last.
	idleSince   time.Time
	told        bool
	absent      bool
	n, seq      uint64
	value       string
	version     Version
	seen        time.Time // When its newest row came in, or when it was first seen without one.
	stale       uint64    // The sequence at which it went stale.
}

// rowless is whether the topic has no value: no row, or a row that says so.
func (tp *modelTopic) rowless() bool { return tp.seq == 0 || tp.value == Delisted }

func (m *model) subscriptions() (sum int64) {
	for _, tp := range m.topics {
		sum += int64(tp.subscribers)
	}
	for _, tp := range m.withdrawn {
		sum += int64(tp.subscribers)
	}
	return sum
}

func (m *model) next() int {
	m.steps++
	return m.steps
}

// giveUp takes a topic away, from whoever holds it.
func (m *model) giveUp(tp *modelTopic) {
	delete(m.topics, tp.name)
	if tp.told {
		m.drops = append(m.drops, tp.name)
	}
	if tp.subscribers > 0 {
		m.withdrawn = append(m.withdrawn, tp)
		m.unsaid = true
		tp.stale = 0
	}
}

// sweep gives up what is due, and all that linger without a row under pressure.
func (m *model) sweep(now time.Time, linger time.Duration) {
	pressed := func() bool { return len(m.topics) > m.max-m.max/8 }
	for {
		oldest := m.oldest(func(tp *modelTopic) bool { return tp.subscribers == 0 && tp.rowless() })
		if oldest == nil || now.Sub(oldest.idleSince) < linger && !pressed() {
			break
		}
		m.giveUp(oldest)
	}
	for _, tp := range m.topics {
		if tp.subscribers == 0 && !tp.rowless() && now.Sub(tp.idleSince) >= linger {
			m.giveUp(tp)
		}
	}
}

// oldest is the topic that has been where it is for longest, of those that are asked for.
func (m *model) oldest(of func(*modelTopic) bool) (oldest *modelTopic) {
	for _, tp := range m.topics {
		if of(tp) && (oldest == nil || tp.since < oldest.since) {
			oldest = tp
		}
	}
	return oldest
}

// standing is that of a topic without a row: the lowest gives way first.
func (tp *modelTopic) standing() (s int) {
	if tp.known {
		s += 2
	}
	if !tp.absent {
		s++
	}
	return s
}

// mustGiveWay are the topics one of which gives way to a new one of an asker: one, or one of
// each asker that has as many as another. None if there is none.
func (m *model) mustGiveWay(by uint64, isKnown bool) (any []*modelTopic) {
	if tp := m.oldest(func(tp *modelTopic) bool { return tp.subscribers == 0 && tp.rowless() }); tp != nil {
		return []*modelTopic{tp}
	}
	mine := (&modelTopic{known: isKnown}).standing()
	room := m.max
	if mine < 2 {
		room -= room / ownPart
	}
	full := false
	for st := 0; st <= mine; st++ {
		counts, most := make(map[uint64]int), 0
		for _, tp := range m.topics {
			if tp.subscribers > 0 && tp.rowless() && tp.standing() == st {
				counts[tp.by]++
				most = max(most, counts[tp.by])
			}
		}
		if most == 0 {
			continue
		}
		if full = most == 1 && len(m.withdrawn) >= max(1, room/ownPart); full {
			continue // Single topics are passed over.
		}
		own := st == mine && counts[by] > 0 && counts[by]+1 >= most
		for asker, count := range counts {
			if own && asker != by || !own && count < most {
				continue
			}
			if len(m.withdrawn) >= room || asker == by && len(m.withdrawn) >= max(1, room/ownPart) {
				any = append(any, nil) // If it is this one's turn, nobody gives way.
				continue
			}
			of := func(told bool) *modelTopic {
				return m.oldest(func(tp *modelTopic) bool {
					return tp.by == asker && tp.standing() == st && tp.told == told && tp.subscribers > 0 && tp.rowless()
				})
			}
			oldest := of(true)
			if oldest == nil {
				oldest = of(false)
			}
			any = append(any, oldest)
		}
		return any
	}
	if tp := m.oldest(func(tp *modelTopic) bool { return tp.subscribers == 0 }); tp != nil && !full {
		return []*modelTopic{tp}
	}
	return nil
}

func (m *model) store(tp *modelTopic, value string, v Version, now time.Time) {
	m.watermark++
	gone := value == Delisted
	switch {
	case gone != tp.rowless() && tp.subscribers == 0: // Now it lingers behind those that are like it.
		for _, other := range m.topics {
			if other.rowless() == gone && other.subscribers == 0 && other.idleSince.After(tp.idleSince) {
				tp.idleSince = other.idleSince
			}
		}
		tp.since = m.next()
	case gone && !tp.rowless(): // Nobody knows who has asked for it first.
		tp.by, tp.known, tp.since = 0, false, m.next()
	case gone && !tp.absent && tp.subscribers > 0:
		tp.since = m.next()
	}
	if gone && !v.Set {
		v = tp.version
	}
	tp.absent = gone
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
	programOps      = 14
	programMaxLimit = 16
	programAskers   = 3
)

// runProgram reads pairs of bytes, an operation and its argument.
func runProgram(t testing.TB, limit int, code []byte) {
	table := New(Config{Max: limit, Linger: linger, StaleAfter: modelStale, Window: window})
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
		for tp.subscribers > 0 {
			p.release(name)
		}
	}
	for len(p.model.withdrawn) > 0 {
		p.releaseWithdrawn(0)
	}
	p.now = p.now.Add(linger)
	p.sweep()
	p.changes(all)
	p.compare()
	wantHeld(t, p.table, 0, 0)
	if len(p.feed) != 0 {
		p.fatalf("the feed still wants %v", p.feed)
	}
}

func (p *program) step(op, arg byte) {
	name := p.names[arg%programNames]
	value := [...]string{"0", "1", Delisted}[arg/programNames%3] // Few values, so that some are equal.
	v := Version{Whole: int64(arg / programNames / 3), Set: arg/programNames/3 > 0}
	switch op % programOps {
	case 0, 1:
		p.acquire(name, uint64(arg/programNames%programAskers), arg/programNames/programAskers%2 == 1)
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
		p.changes([]int{all, 1, 2, 4, all}[arg%5])
	case 10:
		p.watch()
	case 11:
		p.setFeed(arg%2 == 1)
	case 12:
		p.releaseWithdrawn(int(arg))
	case 13:
		p.logf("%s is absent", name)
		p.table.Absent(name)
		if tp, ok := p.model.topics[name]; ok && tp.rowless() && !tp.absent {
			if tp.absent = true; tp.subscribers > 0 {
				tp.since = p.model.next()
			}
		}
	}
}

func (p *program) acquire(name string, by uint64, isKnown bool) {
	tp, ok := p.model.topics[name]
	var victims []*modelTopic
	full := !ok && len(p.model.topics) == p.model.max
	if full {
		victims = p.model.mustGiveWay(by, isKnown)
	}
	acquire := p.table.Acquire
	if isKnown {
		acquire = p.table.AcquireKnown
	}
	id, err := acquire([]byte(name), by)
	p.logf("acquire %s by %d, known: %v = %d, %v", name, by, isKnown, id, err)
	if full && errors.Is(err, ErrFull) && (len(victims) == 0 || slices.Contains(victims, nil)) {
		return
	}
	if err != nil || full && len(victims) == 0 {
		p.fatalf("want another error")
	}
	if full {
		var gone *modelTopic
		for _, v := range victims {
			if v == nil {
				continue
			}
			if _, ok := p.table.Find([]byte(v.name)); !ok {
				gone = v
			}
		}
		if gone == nil {
			p.fatalf("none of %d topics has given way that had to", len(victims))
		}
		p.logf("%s gives way", gone.name)
		p.model.giveUp(gone)
	}
	if !ok {
		for _, other := range p.model.topics {
			if other.id == id {
				p.fatalf("%s and %s share an id", name, other.name)
			}
		}
		for _, other := range p.model.withdrawn {
			if other.id == id {
				p.fatalf("%s has the id of %s, which is withdrawn and held", name, other.name)
			}
		}
		tp = &modelTopic{name: name, id: id}
		p.model.topics[name] = tp
	} else if tp.id != id {
		p.fatalf("%s had id %d", name, tp.id)
	}
	switch {
	case tp.subscribers == 0:
		tp.by, tp.known, tp.since = by, isKnown, p.model.next()
	case isKnown && !tp.known && tp.rowless():
		tp.known, tp.since = true, p.model.next()
	}
	tp.subscribers++
}

func (p *program) release(name string) {
	tp, ok := p.model.topics[name]
	if !ok || tp.subscribers == 0 {
		return
	}
	p.logf("release %s", name)
	p.table.Release(tp.id, p.now)
	if tp.subscribers--; tp.subscribers > 0 {
		return
	}
	tp.idleSince, tp.since = p.now, p.model.next()
	if !tp.told {
		delete(p.model.topics, name)
	}
}

// releaseWithdrawn releases one of those who hold a topic that was withdrawn.
func (p *program) releaseWithdrawn(which int) {
	if len(p.model.withdrawn) == 0 {
		return
	}
	which %= len(p.model.withdrawn)
	tp := p.model.withdrawn[which]
	p.logf("release %s, which is withdrawn", tp.name)
	p.table.Release(tp.id, p.now)
	if tp.subscribers--; tp.subscribers == 0 {
		p.model.withdrawn = slices.Delete(p.model.withdrawn, which, which+1)
	}
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
	case v == tp.version && tp.value == Delisted:
		want = Older
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
		if tp.stale > 0 || tp.value == Delisted || p.now.Sub(tp.seen) <= modelStale {
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
	p.table.SetSourceState(0, up, p.now.UnixMilli())
	if p.model.up != up {
		p.model.up = up
		if want := (SourceState{Up: up, Since: p.now.UnixMilli(), Seq: p.model.announce()}); *p.table.SourceState(0) != want {
			p.fatalf("the feed is %+v, want %+v", *p.table.SourceState(0), want)
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
	case tp.seq != p.marks[name]:
		want = Unchanged
	case tp.seq > 0 && tp.value == value:
		if want = Unchanged; v.Compare(tp.version) > 0 {
			tp.version = v
		}
	case v.Set && tp.version.Set && v.Whole < tp.version.Whole,
		v.Set && v == tp.version && tp.value == Delisted:
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
	p.say()
	p.table.Sweep(p.now)
	p.model.sweep(p.now, linger)
}

// say is when the table raises the notice for what was withdrawn.
func (p *program) say() {
	if p.model.unsaid {
		p.model.unsaid = false
		p.model.announce()
	}
}

func (p *program) changes(most int) {
	p.say()
	type asker struct {
		by       uint64
		standing int
	}
	waits, wait := make(map[asker]int), 0 // Those with a row have their turn before.
	withRow := 0
	for _, tp := range p.model.topics {
		switch {
		case tp.told:
		case !tp.rowless():
			withRow++
			wait++
		default:
			waits[asker{tp.by, tp.standing()}]++
			wait++
		}
	}
	if p.table.Waiting() != wait {
		p.fatalf("%d topics wait, want %d", p.table.Waiting(), wait)
	}
	got := p.table.Changes(0, nil, most)
	p.logf("at most %d changes = %v", most, got)
	slices.Sort(p.model.drops)
	var drops []string
	told := make(map[asker]int)
	for i, change := range got {
		if p.feed[change.Topic] == change.Wanted {
			p.fatalf("%v is no change", change)
		}
		if !change.Wanted {
			if i != len(drops) {
				p.fatalf("a drop behind what is wanted")
			}
			drops = append(drops, change.Topic)
			delete(p.feed, change.Topic)
			continue
		}
		p.feed[change.Topic] = true
		tp := p.model.topics[change.Topic]
		if tp == nil || tp.told {
			p.fatalf("%v is told again, or is not wanted", change)
		}
		tp.told, tp.since = true, p.model.next()
		if tp.rowless() {
			told[asker{tp.by, tp.standing()}]++
		}
	}
	slices.Sort(drops)
	if !slices.Equal(drops, p.model.drops) {
		p.fatalf("want drops of %v", p.model.drops)
	}
	p.model.drops = nil
	wants := len(got) - len(drops)
	if wants != min(wait, most) {
		p.fatalf("%d topics are wanted, want %d", wants, min(wait, most))
	}
	for a, n := range told {
		for b, of := range waits {
			if n > told[b]+1 && told[b] < of {
				p.fatalf("asker %v has %d topics told, and %v has %d of %d", a, n, b, told[b], of)
			}
		}
	}
	for name := range p.feed {
		if tp := p.model.topics[name]; tp == nil || !tp.told {
			p.fatalf("the feed wants %s", name)
		}
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
	rowless := 0
	for _, tp := range p.model.topics {
		if tp.rowless() {
			rowless++
		}
	}
	if p.table.Rowless() != rowless {
		p.fatalf("%d topics without a row, want %d", p.table.Rowless(), rowless)
	}
	for _, tp := range p.model.withdrawn {
		id := tp.id
		if !p.table.Withdrawn(id) || p.table.Name(id) != tp.name || !tp.rowless() || p.table.Seq(id) != tp.seq || p.table.Stale(id) != 0 {
			p.fatalf("%s was withdrawn, id %d is %q: %v", tp.name, id, p.table.Name(id), p.table.Withdrawn(id))
		}
	}
	for name, tp := range p.model.topics {
		if got := p.table.Name(tp.id); got != name {
			p.fatalf("id %d is %q, want %q", tp.id, got, name)
		}
		if p.table.Withdrawn(tp.id) || p.table.IsAbsent(tp.id) != tp.absent {
			p.fatalf("%s is withdrawn: %v, absent: %v", name, p.table.Withdrawn(tp.id), p.table.IsAbsent(tp.id))
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
