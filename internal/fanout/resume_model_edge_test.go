// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// The edges of the model of resuming, and the broker's side of them.

// resumeItem is something on its way from the broker to an edge, in its turn.
type resumeItem struct {
	at    int64
	kind  string
	topic string
	value int // Below 0: there is none.
	mark  uint64
	sent  int64 // Of a ping; of a value, when it was published.
	ask   int
}

// resumeEdge is an edge, and a source as the one of Redis is.
type resumeEdge struct {
	m      *resumeModel
	table  *topics.Table
	shard  *Shard
	offset int64 // Of its clock.
	homes  map[ConnID]*resumeClient

	wants  map[string]bool
	behind map[string]bool // Those that keep it down.
	read   map[string]int64
	rows   map[string]int64 // When the rows were published.
	queue  []resumeItem
	fetch  []resumeItem     // Values that are asked for.
	asks   map[string]int   // The newest ask for each.
	moved  map[string]int64 // Topics that are not heard, and until when.
	dead   bool             // Nothing comes over the link any more.
	ends   int64            // When that is noticed, if it is dead and not noticed; 0 otherwise.
	begins int64            // When it is connected again, if it is not.
	heard  int64
	pings  int64
	stamps int64
}

func newResumeEdge(m *resumeModel, offset int64) *resumeEdge {
	e := &resumeEdge{m: m, offset: offset, homes: make(map[ConnID]*resumeClient), wants: make(map[string]bool),
		behind: make(map[string]bool), read: make(map[string]int64), rows: make(map[string]int64),
		moved: make(map[string]int64), asks: make(map[string]int)}
	e.table = topics.New(topics.Config{Max: 100, Linger: 3 * time.Second, ResumeTolerance: resumeTolerance * time.Millisecond, Start: m.at()})
	cfg := testConfig()
	cfg.IdleTimeout, cfg.Seed = 24*time.Hour, m.seed
	e.shard = New(cfg, e.table, e, m.at())
	e.shard.At(m.at())
	if m.seed%3 == 0 {
		e.shard.piece = 50 // A row or two: snapshots and updates are long on their way.
	}
	e.table.SetSourceState(0, true, 0)
	return e
}

func (e *resumeEdge) Write(id ConnID, p []byte) {
	e.homes[id].deliver(p)
}
func (e *resumeEdge) Backlog(ConnID) int               { return 0 }
func (e *resumeEdge) Evict(id ConnID, r Reason)        { e.m.fatalf("conn %d is evicted: %v", id, r) }
func (e *resumeEdge) Drained(ConnID)                   {}
func (e *resumeEdge) Acked(ConnID, time.Duration) bool { return true }
func (e *resumeEdge) Due(ConnID)                       {}
func (e *resumeEdge) Prefix(ConnID) guard.Prefix       { return 1 }
func (e *resumeEdge) clock() (wall, steady int64)      { return e.m.now + e.offset, e.m.now }

func (e *resumeEdge) send(item resumeItem) {
	item.at = e.m.after(300)
	if n := len(e.queue); n > 0 {
		item.at = max(item.at, e.queue[n-1].at)
	}
	e.queue = append(e.queue, item)
}

// die has the link end, without a word.
func (e *resumeEdge) die() {
	if e.dead || e.begins > 0 {
		return
	}
	e.dead, e.queue, e.fetch, e.ends = true, nil, nil, e.m.after(4000)+1
	clear(e.moved)
}

func (e *resumeEdge) moves(name string) bool {
	_, moves := e.moved[name]
	return moves
}

// move has a topic not be heard for a while, while the source as a whole is up.
func (e *resumeEdge) move(name string) {
	if e.wants[name] && !e.dead && e.begins == 0 && !e.moves(name) {
		e.moved[name] = e.m.after(3000) + 1
		e.send(resumeItem{kind: "lost", topic: name})
	}
}

func (e *resumeEdge) step() {
	now := e.m.now
	for _, name := range slices.Sorted(maps.Keys(e.moved)) {
		if e.moved[name] <= now {
			delete(e.moved, name)
			e.send(resumeItem{kind: "confirm", topic: name})
		}
	}
	if e.ends > 0 && e.ends <= now { // As wants.reset and reconnect do.
		e.ends, e.heard, e.begins = 0, 0, e.m.after(3000)+1
		for name := range e.wants {
			e.behind[name] = true
		}
		e.table.SetSourceState(0, false, now)
	}
	if e.begins > 0 && e.begins <= now {
		e.begins, e.dead = 0, false
		for _, name := range slices.Sorted(maps.Keys(e.wants)) {
			e.send(resumeItem{kind: "confirm", topic: name})
		}
	}
	e.table.Sweep(e.m.at())
	for _, c := range e.table.Changes(0, nil, 100) {
		e.change(c)
	}
	e.fetch = slices.DeleteFunc(e.fetch, func(i resumeItem) bool {
		if i.at > now {
			return false
		}
		i.kind, i.sent, i.value = "value", e.m.pubs[i.topic], -1
		if value, has := e.m.values[i.topic]; has {
			i.value = value
		}
		e.send(i)
		return true
	})
	for len(e.queue) > 0 && e.queue[0].at <= now {
		item := e.queue[0]
		e.queue = e.queue[1:]
		e.take(item)
	}
	if up := e.begins == 0 && e.ends == 0 && !e.dead && len(e.behind) == 0; up {
		e.table.SetSourceState(0, true, now)
	}
	if !e.dead && now >= e.pings {
		e.pings = e.m.after(1000)
		e.send(resumeItem{kind: "pong", sent: now})
	}
	if now >= e.stamps {
		e.stamps = now + 800 + int64(e.m.rng.IntN(400))
		e.table.Heard(0, e.heard)
		e.table.Stamp(e.clock)
	}
	for e.shard.Turn(e.m.at()) {
	}
}

func (e *resumeEdge) change(c topics.Change) {
	if !c.Wanted {
		delete(e.wants, c.Topic)
		delete(e.behind, c.Topic)
		delete(e.moved, c.Topic)
		e.asks[c.Topic]++
		return
	}
	e.wants[c.Topic] = true
	e.table.Doubt(c.Topic)
	if !e.dead {
		e.send(resumeItem{kind: "confirm", topic: c.Topic})
	}
}

func (e *resumeEdge) take(i resumeItem) {
	switch i.kind {
	case "pong":
		e.heard = i.sent
	case "tick":
		if e.table.Publish(i.topic, strconv.Itoa(i.value), topics.Meta{At: e.m.now}) == topics.Committed {
			e.rows[i.topic] = i.sent
		}
	case "confirm":
		mark, held := e.table.Mark(i.topic)
		if !held || !e.wants[i.topic] || e.moves(i.topic) {
			return
		}
		e.asks[i.topic]++ // The newest counts.
		e.fetch = append(e.fetch, resumeItem{at: e.m.after(2000), topic: i.topic, mark: mark, ask: e.asks[i.topic]})
	case "lost":
		e.asks[i.topic]++
		e.read[i.topic] = e.m.now
		e.table.Doubt(i.topic)
	case "value":
		if i.ask != e.asks[i.topic] {
			return
		}
		delete(e.behind, i.topic)
		e.read[i.topic] = e.m.now
		if i.value < 0 {
			e.table.Absent(i.topic)
		} else if e.table.Repair(i.topic, strconv.Itoa(i.value), i.mark, topics.Meta{At: e.m.now}) == topics.Committed {
			e.rows[i.topic] = i.sent
		} else if id, held := e.table.Find([]byte(i.topic)); held && string(e.table.Row(id).Value()) == strconv.Itoa(i.value) {
			e.rows[i.topic] = max(e.rows[i.topic], i.sent) // Its row is that value.
		}
	}
}
