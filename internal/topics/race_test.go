// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	raceMax        = 48  // Room for the hot topics and some of the cold ones.
	raceHot        = 16  // Topics that publishers and flushers share.
	raceCold       = 200 // Topics that come and go, so that ids are reused.
	racePublishers = 3
	raceFlushers   = 4
	raceVisitors   = 3
)

// market is what all goroutines of the race test share.
type market struct {
	table  *Table
	topics []*marketTopic // The hot ones, then the cold ones.
	clock  atomic.Int64   // Fake nanoseconds, moved by the feed.
}

func (m *market) now() time.Time { return at(time.Duration(m.clock.Load())) }

// marketTopic is the truth about a topic, against which rows are compared.
type marketTopic struct {
	name string
	mu   sync.Mutex // One publisher at a time: its numbers rise in commit order.
	// number is what was published last. It is raised before the tick is committed.
	number atomic.Uint64
	// droppedAt is a watermark from before the topic was given up last: no row up to it
	// may be seen by who acquires the topic after the feed was told of that.
	droppedAt atomic.Uint64
}

// publish commits the next number of a topic and reports whether it was wanted.
func (m *market) publish(tp *marketTopic) bool {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return m.table.Publish(tp.name, strconv.FormatUint(tp.number.Add(1), 10), Meta{At: m.now().UnixMilli()}) == Committed
}

// numberOf reads the number in a row, and fails the test if the row is not of the topic.
func numberOf(t *testing.T, tp *marketTopic, row *Row) uint64 {
	if !bytes.HasPrefix(row.JSON(), []byte(`{"s":"`+tp.name+`",`)) {
		t.Errorf("a row of %s under an id of %s", row.JSON(), tp.name)
		return 0
	}
	number, err := strconv.ParseUint(string(row.Value()), 10, 64)
	if err != nil {
		t.Errorf("%s: %v", row.JSON(), err)
	}
	return number
}

// acquire takes a topic and looks at it once. It reports false at the maximum.
func (m *market) acquire(t *testing.T, tp *marketTopic, by uint64) (ID, bool) {
	droppedAt := tp.droppedAt.Load()
	id, err := m.table.Acquire([]byte(tp.name), by)
	if err != nil {
		return 0, false
	}
	if row := m.table.Row(id); row != nil {
		numberOf(t, tp, row)
		if row.Seq <= droppedAt {
			t.Errorf("%s has row %d of a former time, it was dropped after %d", tp.name, row.Seq, droppedAt)
		}
	}
	return id, true
}

func (m *market) release(t *testing.T, tp *marketTopic, id ID) {
	if name := m.table.Name(id); name != tp.name {
		t.Errorf("id %d of %s became one of %s", id, tp.name, name)
	}
	m.table.Release(id, m.now())
}

// flusher reads topics as a conn does: by the rule of [Table.Watermark].
type flusher struct {
	market    *market
	random    *rand.Rand
	by        uint64
	served    uint64
	topics    []*flusherTopic
	withdrawn int // Topics that were taken away from it.
}

type flusherTopic struct {
	*marketTopic
	id          ID
	snapshot    bool // Subscribed since the last flush: its row may be older than served.
	seq, n      uint64
	number      uint64
	whenOpened  uint64 // The topic's number when the round began.
	heldAllTime bool   // Held since before the round began.
}

func (f *flusher) flush(t *testing.T) {
	table := f.market.table
	watermark := table.Watermark()
	if table.Notice() > f.served {
		f.giveBack(t)
	}
	for _, tp := range f.topics {
		seq := table.Seq(tp.id)
		if !tp.snapshot && seq <= f.served {
			continue
		}
		tp.snapshot = false
		row := table.Row(tp.id)
		if row == nil {
			if seq > 0 {
				t.Errorf("%s has sequence %d and no row", tp.name, seq)
			}
			continue
		}
		if row.Seq < seq {
			t.Errorf("%s has sequence %d and the older row %d", tp.name, seq, row.Seq)
		}
		number := numberOf(t, tp.marketTopic, row)
		if number < tp.number || row.Seq < tp.seq || row.N < tp.n {
			t.Errorf("%s went back: number %d to %d, seq %d to %d, n %d to %d",
				tp.name, tp.number, number, tp.seq, row.Seq, tp.n, row.N)
		}
		tp.number, tp.seq, tp.n = number, row.Seq, row.N
	}
	f.served = watermark
}

// giveBack releases the topics that were withdrawn.
func (f *flusher) giveBack(t *testing.T) {
	f.topics = slices.DeleteFunc(f.topics, func(tp *flusherTopic) bool {
		if !f.market.table.Withdrawn(tp.id) {
			return false
		}
		f.market.release(t, tp.marketTopic, tp.id)
		f.withdrawn++
		return true
	})
}

// change swaps one topic for another.
func (f *flusher) change(t *testing.T) {
	if len(f.topics) > 4 {
		i := f.random.IntN(len(f.topics))
		f.market.release(t, f.topics[i].marketTopic, f.topics[i].id)
		f.topics[i] = f.topics[len(f.topics)-1]
		f.topics = f.topics[:len(f.topics)-1]
	}
	tp := f.market.topics[f.random.IntN(raceHot)]
	for _, other := range f.topics {
		if other.marketTopic == tp {
			return
		}
	}
	if id, ok := f.market.acquire(t, tp, f.by); ok {
		f.topics = append(f.topics, &flusherTopic{marketTopic: tp, id: id, snapshot: true})
	}
}

// open notes where the topics stand before the round's first tick.
func (f *flusher) open() {
	for _, tp := range f.topics {
		tp.whenOpened, tp.heldAllTime = tp.marketTopic.number.Load(), true
	}
}

// settled compares what was gathered with the truth, when nobody publishes any more.
func (f *flusher) settled(t *testing.T) {
	for _, tp := range f.topics {
		if f.market.table.Withdrawn(tp.id) {
			continue // The feed raises the notice for it when it comes by.
		}
		want := tp.marketTopic.number.Load()
		if tp.heldAllTime && want > tp.whenOpened && tp.number != want {
			t.Errorf("lost update: %s is at %d, the flusher at %d, served %d, watermark %d, seq %d",
				tp.name, want, tp.number, f.served, f.market.table.Watermark(), f.market.table.Seq(tp.id))
		}
	}
}

// visit is who comes and goes: it acquires a topic, looks at it, leaves.
func (m *market) visit(t *testing.T, random *rand.Rand, by uint64, stop *atomic.Bool) {
	type visited struct {
		tp *marketTopic
		id ID
	}
	var held []visited
	for !stop.Load() {
		if tp := m.topics[random.IntN(len(m.topics))]; len(held) < 8 {
			if id, ok := m.acquire(t, tp, by); ok {
				held = append(held, visited{tp, id})
				if tp.name[0] == 'C' && random.IntN(2) == 0 { // The others may never have a row.
					m.publish(tp)
				}
			}
		}
		for _, v := range held {
			if row := m.table.Row(v.id); row != nil {
				numberOf(t, v.tp, row)
			}
		}
		if i := random.IntN(8); i < len(held) {
			m.release(t, held[i].tp, held[i].id)
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
		}
		runtime.Gosched()
	}
	for _, v := range held {
		m.release(t, v.tp, v.id)
	}
}

// feedState is the feed's side: it takes changes, sweeps with a time of its own, and
// fetches the values of topics that are newly wanted.
type feedState struct {
	market  *market
	byName  map[string]*marketTopic
	wanted  map[string]bool
	changes []Change
	drops   int
	before  uint64 // The watermark before the changes were taken last.
}

func (f *feedState) step(t *testing.T) {
	table := f.market.table
	f.market.clock.Add(int64(linger / 8))
	now := f.market.now()
	table.Sweep(now)
	table.Watch(now.UnixMilli())
	table.Age(now.UnixMilli())
	for by := range ByTicks + 1 {
		for _, of := range table.Top(by, 3, func(string) bool { return true }) {
			if f.byName[of.Topic] == nil || of.Subscribers < 0 || of.Bytes.Over > of.Bytes.Sum {
				t.Errorf("by %d: %+v", by, of)
			}
		}
	}
	table.SetSourceState(0, !table.SourceState(0).Up, now.UnixMilli())
	before := table.Watermark()
	f.changes = table.Changes(0, f.changes[:0], 8) // Not all at once.
	for _, change := range f.changes {
		if f.wanted[change.Topic] == change.Wanted {
			t.Errorf("the feed was told %v, which it knew", change)
		}
		tp := f.byName[change.Topic]
		if !change.Wanted {
			delete(f.wanted, change.Topic)
			tp.droppedAt.Store(f.before) // It was given up after that.
			f.drops++
			continue
		}
		f.wanted[change.Topic] = true
	}
	f.before = before
	// A value that is older than a tick must not take its place: the number is read
	// after the mark, and ticks may be committed before it is brought in.
	for name := range f.wanted {
		if mark, ok := table.Mark(name); ok {
			number := f.byName[name].number.Load()
			runtime.Gosched()
			table.Repair(name, strconv.FormatUint(number, 10), mark, Meta{At: now.UnixMilli()})
		}
	}
}

func TestNoUpdateIsLost(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	// Topics go stale all the time.
	m := &market{table: New(Config{Max: raceMax, Linger: linger, StaleAfter: linger / 16, Window: window})}
	feed := &feedState{market: m, byName: make(map[string]*marketTopic), wanted: make(map[string]bool)}
	for i := range raceHot + raceCold {
		tp := &marketTopic{name: fmt.Sprintf("H%d", i)}
		if i >= raceHot {
			tp.name = fmt.Sprintf("C%d", i)
		}
		m.topics = append(m.topics, tp)
		feed.byName[tp.name] = tp
	}

	var stop atomic.Bool
	var visitors, feeding sync.WaitGroup
	for i := range raceVisitors {
		visitors.Go(func() { m.visit(t, rand.New(rand.NewPCG(seed, uint64(i))), uint64(i)%2, &stop) })
	}
	feeding.Go(func() {
		for !stop.Load() {
			feed.step(t)
			runtime.Gosched()
		}
	})

	var flushers []*flusher
	for i := range raceFlushers {
		f := &flusher{market: m, by: 2, random: rand.New(rand.NewPCG(seed, uint64(100+i)))}
		for range 10 {
			f.change(t)
		}
		flushers = append(flushers, f)
	}
	// In each round publishers tick while flushers flush and subscribe. When the
	// publishers have finished, one more flush must leave each flusher at the final
	// value of each of its topics: the last tick of every topic and round is a chance
	// to lose one.
	deadline := time.Now().Add(2 * time.Second)
	rounds := 0
	for ; time.Now().Before(deadline) && !t.Failed(); rounds++ {
		var open atomic.Bool
		open.Store(true)
		var publishing, flushing sync.WaitGroup
		for _, f := range flushers {
			f.open()
		}
		for _, f := range flushers {
			flushing.Go(func() {
				for i := 0; open.Load(); i++ {
					f.flush(t)
					if i%16 == 8 {
						f.change(t)
					}
					runtime.Gosched()
				}
				f.flush(t)
				f.settled(t)
			})
		}
		for i := range racePublishers {
			publishing.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(rounds*racePublishers+i+1000)))
				for range 24 {
					m.publish(m.topics[random.IntN(raceHot)])
				}
			})
		}
		publishing.Wait()
		open.Store(false)
		flushing.Wait()
	}
	stop.Store(true)
	visitors.Wait()
	feeding.Wait()
	t.Logf("%d rounds, %d commits, %d drops", rounds, m.table.Watermark(), feed.drops)
	check(t, m.table)

	feed.step(t)
	for _, f := range flushers {
		f.flush(t)
		for _, tp := range f.topics {
			if m.table.Withdrawn(tp.id) {
				t.Errorf("%s was withdrawn, and there was no notice", tp.name)
			}
			m.release(t, tp.marketTopic, tp.id)
		}
	}
	m.clock.Add(int64(linger))
	feed.step(t)
	check(t, m.table)
	withdrawn, lingering := m.table.Reclaimed()
	seen := 0
	for _, f := range flushers {
		seen += f.withdrawn
	}
	t.Logf("%d topics were withdrawn, %d of them from the flushers, and %d gave way while they lingered", withdrawn, seen, lingering)
	if withdrawn < 10 || seen == 0 || lingering < 10 {
		t.Error("too few for anything to go wrong with them")
	}
	wantHeld(t, m.table, 0, 0)
	if len(feed.wanted) != 0 {
		t.Errorf("nobody holds a topic and the feed wants %v", feed.wanted)
	}
	if _, total := m.table.StaleTopics(); total < 10 {
		t.Errorf("topics went stale %d times", total)
	}
	if feed.drops < 10 {
		t.Errorf("%d drops: too few for ids to be reused", feed.drops)
	}
}

// Who has seen a row does not see a stale mark that the row has ended, whenever it looks.
func TestARowIsSeenWithItsFreshness(t *testing.T) {
	tb := New(Config{Max: 1, Linger: linger, StaleAfter: time.Millisecond})
	id := acquire(t, tb, "A")
	var stop atomic.Bool
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for at := int64(1); !stop.Load(); at += 10 {
			tb.Publish("A", "1", Meta{At: at})
			tb.Watch(at + 5)
		}
	})
	stale := 0
	for begin := time.Now(); time.Since(begin) < 500*time.Millisecond && !t.Failed(); {
		for range 1000 {
			seq := tb.Seq(id)
			if mark := tb.Stale(id); mark > 0 {
				if stale++; mark < seq {
					t.Errorf("stale at %d, after row %d", mark, seq)
					break
				}
			}
		}
	}
	stop.Store(true)
	feeding.Wait()
	if stale == 0 {
		t.Error("it never was stale")
	}
	check(t, tb)
}

// Who is served up to the watermark finds the notice at least as high, if news is all that
// was committed.
func TestNoticeIsNotBehindTheWatermark(t *testing.T) {
	tb := newTable(1)
	var stop atomic.Bool
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for at := int64(0); !stop.Load(); at++ {
			tb.SetSourceState(0, at%2 == 0, at)
		}
	})
	for begin := time.Now(); time.Since(begin) < 500*time.Millisecond && !t.Failed(); {
		for range 1000 {
			watermark := tb.Watermark()
			if notice := tb.Notice(); notice < watermark {
				t.Errorf("notice %d, after watermark %d", notice, watermark)
				break
			}
		}
	}
	stop.Store(true)
	feeding.Wait()
	if tb.Watermark() < 100 {
		t.Errorf("%d changes", tb.Watermark())
	}
	check(t, tb)
}
