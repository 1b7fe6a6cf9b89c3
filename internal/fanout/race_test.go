// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

const (
	raceTopics     = 24
	raceConns      = 60
	racePublishers = 3
	raceTicks      = 5000 // Of each publisher.
	raceRepaired   = 4    // Topics that only ever get fetched values.
)

// Goroutines publish while a shard flushes conns whose backlogs come and go. No
// number ever goes down, and when all is quiet everybody holds the last ones.
func TestPublishersBesideFlushes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cfg := testConfig()
	cfg.SlowTimeout, cfg.PingInterval, cfg.IdleTimeout = time.Hour, time.Hour, time.Hour
	w := newWorld(t, cfg, 64, wrapAge)
	names := make([]string, raceTopics)
	for i := range names {
		names[i] = "T" + strconv.Itoa(i)
	}
	w.hold(names...) // So that the value of a topic is its count.

	last := make(map[ConnID]map[string]uint64) // By the topics that a conn has.
	rows := 0
	w.sink.onFrames = func(id ConnID, frames []byte) {
		for _, m := range decode(t, frames) {
			for _, r := range m.D {
				rows++
				n, ok := last[id][r.S]
				value, err := strconv.ParseUint(string(r.V), 10, 64)
				if !ok || err != nil || value != r.N || r.N < n {
					t.Fatalf("conn %d had %d of %s (subscribed: %v) and got %s", id, n, r.S, ok, r.raw)
				}
				last[id][r.S] = r.N
			}
		}
	}
	ids := make([]ConnID, raceConns)
	for i := range ids {
		ids[i] = w.connect([]int{100, 250, 500}[i%3])
		last[ids[i]] = make(map[string]uint64)
	}

	var publishers sync.WaitGroup
	for i := range racePublishers {
		publishers.Go(func() {
			for n := 1; n <= raceTicks; n++ {
				// Each topic has one publisher, so its values are in order.
				for topic := i; topic < raceTopics; topic += racePublishers {
					if topic >= raceRepaired {
						w.table.Publish(names[topic], strconv.Itoa(n), topics.Meta{})
					} else if mark, ok := w.table.Mark(names[topic]); ok {
						// The first value that is fetched counts as no tick.
						w.table.Repair(names[topic], strconv.Itoa(n-1), mark, topics.Meta{})
					}
					if (n+topic)%7 == 0 {
						runtime.Gosched()
					}
				}
			}
		})
	}
	quiet := make(chan struct{})
	go func() {
		publishers.Wait()
		close(quiet)
	}()

	turns := 0
	for running := true; running; turns++ {
		select {
		case <-quiet:
			running = false
		default:
		}
		id := ids[random.IntN(raceConns)]
		peer := w.sink.peer(id)
		peer.clogged = random.IntN(3) == 0
		if !peer.clogged {
			peer.backlog = 0
		}
		name := names[random.IntN(raceTopics)]
		if _, has := last[id][name]; has && random.IntN(4) == 0 {
			w.command(id, protocol.Command{Op: protocol.OpUnsubscribe, Topics: byteNames([]string{name})})
			delete(last[id], name)
		} else if !has {
			last[id][name] = 0
			w.subscribe(id, name)
		}
		w.tick(4 * SlotTime)
		if turns%64 == 0 {
			runtime.Gosched()
		}
	}
	for _, id := range ids {
		w.sink.peer(id).clogged, w.sink.peer(id).backlog = false, 0
	}
	for range 3 { // Windows, of those that were slowed down the most.
		w.tick(5 * time.Second)
	}
	w.check()
	held := 0
	for _, id := range ids {
		for name, n := range last[id] {
			row := w.table.Row(w.holds[name])
			if held++; n != row.N {
				t.Errorf("conn %d holds number %d of %s, the last is %s", id, n, name, row.JSON())
			}
		}
	}
	st := w.shard.Stats()
	t.Logf("%d turns, %d rows, %d flushes, %d snapshots, %d skipped; %d topics held at the end",
		turns, rows, st.Count[Flushes], st.Count[Snapshots], st.Count[Skipped], held)
	if st.Count[Flushes] == 0 || st.Count[Snapshots] == 0 || st.Count[Skipped] == 0 || held == 0 {
		t.Error("the run has shown nothing")
	}
}

// A tick that is committed while a conn's topics are looked at is not lost, though
// nothing ticks after it. In each round some topics tick once, beside flushes or
// beside a subscription, and then all is quiet.
func TestTickBesideScan(t *testing.T) {
	for _, beside := range []string{"update", "snapshot"} {
		topicCount, ticks, rounds := 1000, 1000, 60
		if beside == "update" {
			topicCount, ticks, rounds = 2000, 20, 300 // A scan of old rows is quick.
		}
		t.Run(beside, func(t *testing.T) {
			cfg := testConfig()
			cfg.MaxTopics = topicCount
			cfg.IdleTimeout, cfg.PingInterval = time.Hour, time.Hour
			w := newWorld(t, cfg, 2*topicCount, 0)
			names := make([]string, topicCount)
			for i := range names {
				names[i] = "T" + strconv.Itoa(i)
			}
			w.hold(names...)
			for _, name := range names {
				w.publish(name, 0)
			}
			last := make(map[string]uint64)
			w.sink.onFrames = func(_ ConnID, frames []byte) {
				for _, m := range decode(t, frames) {
					for _, r := range m.D {
						last[r.S] = r.N
					}
				}
			}
			w.sink.onEvict = func(_ ConnID, r Reason) { t.Fatalf("evicted: %s", r) }
			id := w.connect(100)
			w.subscribe(id, names...)

			begin, ended := make(chan struct{}), make(chan struct{})
			go func() {
				for range begin {
					for _, i := range rand.Perm(topicCount)[:ticks] {
						w.table.Publish(names[i], "1", topics.Meta{})
						for range rand.IntN(200) { // Some spinning, so that ticks come all over a scan.
							w.table.Watermark()
						}
					}
					ended <- struct{}{}
				}
			}()
			defer close(begin)
			for round := range rounds {
				if beside == "snapshot" {
					w.unsubscribe(id, names...)
				}
				begin <- struct{}{}
				for running := true; running; {
					if beside == "snapshot" && w.shard.conn(id).topics.n == 0 {
						w.subscribe(id, names...)
					}
					if beside == "update" {
						w.shard.Heard(id)
						w.tick(100 * time.Millisecond)
					}
					select {
					case <-ended:
						running = false
					default:
					}
				}
				w.tick(100 * time.Millisecond)
				for _, name := range names {
					if row := w.table.Row(w.holds[name]); last[name] != row.N {
						t.Fatalf("round %d: the conn has tick %d of %s, the last is %d", round, last[name], name, row.N)
					}
				}
			}
			w.check()
		})
	}
}

// News that is committed while a conn's topics are looked at is not lost, is not told
// twice, and never contradicts the rows: when all is quiet, a conn takes the topics for
// stale that are, and the feed for what it is. One conn is flushed at each visit, one
// only once a minute.
func TestNewsBesideScan(t *testing.T) {
	for _, beside := range []string{"update", "snapshot"} {
		t.Run(beside, func(t *testing.T) {
			const topicCount, rounds = 50, 1000
			cfg := testConfig()
			cfg.MaxTopics = topicCount
			cfg.IdleTimeout, cfg.PingInterval = time.Hour, time.Hour
			w := newWorldOf(t, cfg, topics.Config{Max: 2 * topicCount, StaleAfter: time.Second}, 0)
			names := make([]string, topicCount)
			for i := range names {
				names[i] = "T" + strconv.Itoa(i)
			}
			w.hold(names...)
			for _, name := range names {
				w.publish(name, 0)
			}
			type seen struct {
				stale map[string]bool
				up    bool
				since int64
			}
			known := make(map[ConnID]*seen)
			told := 0
			w.sink.onFrames = func(id ConnID, frames []byte) {
				k := known[id]
				if k == nil {
					k = &seen{stale: make(map[string]bool), up: true}
					known[id] = k
				}
				for _, m := range decode(t, frames) {
					for _, r := range m.D {
						k.stale[r.S] = false
					}
					switch m.T {
					case "feed":
						if k.since == m.Since {
							t.Fatalf("conn %d is told twice of the feed: %s", id, m)
						}
						k.up, k.since = m.State == "up", m.Since
					case "stale":
						var list []string
						if err := json.Unmarshal(m.Topics, &list); err != nil {
							t.Fatal(err)
						}
						for _, name := range list {
							if k.stale[name] {
								t.Fatalf("conn %d is told twice that %s is stale", id, name)
							}
							k.stale[name] = true
							told++
						}
					}
				}
			}
			w.sink.onEvict = func(_ ConnID, r Reason) { t.Fatalf("evicted: %s", r) }
			often, seldom := w.connect(100), w.connect(60_000)
			for _, id := range []ConnID{often, seldom} {
				w.subscribe(id, names...)
			}

			begin, ended := make(chan struct{}), make(chan struct{})
			go func() {
				at := int64(0)
				for range begin {
					for range 4 { // So few that what goes wrong is not made good by the next.
						switch at += 2000; rand.IntN(4) {
						case 0:
							w.table.SetSourceState(0, !w.table.SourceState(0).Up, at)
						case 1: // All but a few are overdue.
							w.table.Watch(at)
						default:
							for range 20 {
								w.table.Publish(names[rand.IntN(topicCount)], "1", topics.Meta{At: at})
							}
						}
						for range rand.IntN(2000) { // Some spinning, so that news comes all over a scan.
							w.table.Watermark()
						}
					}
					ended <- struct{}{}
				}
			}()
			defer close(begin)
			for round := range rounds {
				begin <- struct{}{}
				for running := true; running; {
					if beside == "snapshot" {
						w.unsubscribe(often, names[:20]...)
						for _, name := range names[:20] {
							known[often].stale[name] = false
						}
						w.subscribe(often, names[:20]...)
					}
					for _, id := range []ConnID{often, seldom} {
						w.shard.Heard(id)
					}
					w.tick(100 * time.Millisecond)
					select {
					case <-ended:
						running = false
					default:
					}
				}
				for range 11 {
					w.tick(100 * time.Millisecond)
				}
				for id, k := range known {
					if k.up != w.table.SourceState(0).Up {
						t.Fatalf("round %d: conn %d takes the feed for up: %v", round, id, k.up)
					}
					for _, name := range names {
						// What is fresh again, who is flushed seldom may not know yet.
						if stale := w.table.Stale(w.holds[name]) > 0; k.stale[name] != stale && (stale || id == often) {
							t.Fatalf("round %d: conn %d takes %s for stale: %v", round, id, name, k.stale[name])
						}
					}
				}
			}
			w.check()
			if t.Logf("stale was told %d times", told); told < rounds {
				t.Error("the run has shown nothing")
			}
		})
	}
}
