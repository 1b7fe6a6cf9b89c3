// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// The model of resuming: two edges behind one broker, whose clocks differ by as much as the
// tolerance, and clients who lose their connections, with the last that was sent, and come back at
// either edge. Links of edges die, which is noticed later, topics move to another place of the broker,
// and clocks are set. All times are the
// model's. Whoever comes back has of each topic what its edge has, or what was published later. When
// all is calm again every client has the newest value of each topic.
//
// There are only two values, so that they come again: a client may have one that its edge has
// missed, and the edge, which has the one before and after it, sees no change.
const (
	resumeStep      = 50 // Milliseconds.
	resumeTolerance = 2000
	resumeValues    = 2
)

type resumeModel struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	now     int64 // The true time, in milliseconds.
	names   []string
	values  map[string]int   // What the broker has.
	rate    int              // One step in so many has a tick.
	pubs    map[string]int64 // When it came.
	edges   []*resumeEdge
	clients []*resumeClient

	steps                     bool // Clocks are set.
	resumed, spared, repeated int
}

func newResumeModel(t *testing.T, seed uint64) *resumeModel {
	m := &resumeModel{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000, values: make(map[string]int), pubs: make(map[string]int64)}
	for i := range 6 {
		m.names = append(m.names, "T"+strconv.Itoa(i))
	}
	for _, offset := range []int64{-resumeTolerance / 2, resumeTolerance / 2} {
		m.edges = append(m.edges, newResumeEdge(m, offset))
	}
	for range 6 {
		m.clients = append(m.clients, &resumeClient{m: m, have: make(map[string]int), pubs: make(map[string]int64)})
	}
	return m
}

func (m *resumeModel) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, time %d: %s", m.seed, m.now, fmt.Sprintf(format, args...))
}

func (m *resumeModel) at() time.Time      { return epoch.Add(time.Duration(m.now) * time.Millisecond) }
func (m *resumeModel) chance(n int) bool  { return m.rng.IntN(n) == 0 }
func (m *resumeModel) after(ms int) int64 { return m.now + int64(m.rng.IntN(ms+1)) }
func (m *resumeModel) edge() *resumeEdge  { return m.edges[m.rng.IntN(len(m.edges))] }
func (m *resumeModel) some() (list []string) {
	for _, name := range m.names {
		if m.chance(2) {
			list = append(list, name)
		}
	}
	return list
}

func (m *resumeModel) publish(name string) {
	m.values[name], m.pubs[name] = m.rng.IntN(resumeValues), m.now
	for _, e := range m.edges {
		if e.wants[name] && !e.dead && !e.moves(name) {
			e.send(resumeItem{kind: "tick", topic: name, value: m.values[name], sent: m.now})
		}
	}
}

// step goes on for a moment.
func (m *resumeModel) step() {
	m.now += resumeStep
	for _, e := range m.edges {
		e.step()
	}
	for _, c := range m.clients {
		c.read()
	}
}

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

// resumeWrite is what was written at once, and when the rows were published that the edge had then.
type resumeWrite struct {
	bytes []byte
	rows  map[string]int64
}

// resumeClient is a client, as those of ours are.
type resumeClient struct {
	m     *resumeModel
	edge  *resumeEdge // Nil if it is not connected.
	id    ConnID
	wants []string
	have  map[string]int
	token string
	upTo  int64 // The true time that the token stands for.
	inbox []resumeWrite
	pubs  map[string]int64 // When what it has was published.
	ack   bool             // The next snapshot is behind the ack of a resume that was taken.
}

func (c *resumeClient) connect(e *resumeEdge, wants []string) {
	c.edge, c.wants, c.inbox, c.ack = e, wants, nil, false
	cmd := &protocol.Command{Op: protocol.OpSubscribe, HasSince: true, Since: []byte(c.token)}
	for name := range c.have {
		if !slices.Contains(wants, name) {
			delete(c.have, name)
			delete(c.pubs, name)
		}
	}
	for _, name := range wants {
		cmd.Topics = append(cmd.Topics, []byte(name))
		if _, has := c.have[name]; !has {
			cmd.Fresh = append(cmd.Fresh, []byte(name))
		}
	}
	s := e.shard
	s.At(c.m.at())
	c.id = s.Add()
	e.homes[c.id] = c
	out := s.Open(c.id, PlainEvents, 1, 0, nil)
	s.Resumable(c.id)
	before := len(c.have)
	c.deliver(s.Command(c.id, cmd, anything, out))
	for len(c.inbox) > 0 {
		c.read()
	}
	if c.ack {
		c.m.resumed++
		c.m.spared += before
	}
	c.ack = false
	for _, name := range wants {
		id, held := e.table.Find([]byte(name))
		if !held || e.table.Row(id) == nil || string(e.table.Row(id).Value()) == strconv.Itoa(c.have[name]) {
			continue
		}
		if c.pubs[name] < e.rows[name] {
			c.m.fatalf("who comes back with %q, which is of %d, has of %s what was published at %d, and the edge what was at %d",
				c.token, c.upTo, name, c.pubs[name], e.rows[name])
		}
	}
}

func (c *resumeClient) deliver(p []byte) {
	c.inbox = append(c.inbox, resumeWrite{bytes.Clone(p), maps.Clone(c.edge.rows)})
}

// leave ends the connection, with or without what was sent last.
func (c *resumeClient) leave() {
	delete(c.edge.homes, c.id)
	c.edge.shard.At(c.m.at())
	c.edge.shard.Remove(c.id)
	if c.m.chance(2) {
		c.read()
	}
	c.edge, c.inbox = nil, nil
}

// read takes what was sent, but often not the last of it.
func (c *resumeClient) read() {
	keep := 0
	if len(c.inbox) > 0 && c.edge != nil && len(c.inbox) < 3 && c.m.chance(3) {
		keep = 1
	}
	for len(c.inbox) > keep {
		for event := range bytes.SplitSeq(c.inbox[0].bytes, []byte("\n\n")) {
			c.event(event, c.inbox[0].rows)
		}
		c.inbox = c.inbox[1:]
	}
}

func (c *resumeClient) event(event []byte, rows map[string]int64) {
	for line := range bytes.SplitSeq(event, []byte("\n")) {
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			c.message(data, rows)
		} else if id, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			c.took(string(id))
		}
	}
}

func (c *resumeClient) took(token string) {
	if token == topics.NoToken {
		c.token = token
		return
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(token) > topics.TokenMax {
		c.m.fatalf("token %q: %v", token, err)
	}
	upTo := int64(binary.BigEndian.Uint64(b[9:])) - c.edge.offset
	if upTo > c.m.now && !c.m.steps {
		c.m.fatalf("a token of the future: %d", upTo)
	}
	c.token, c.upTo = token, upTo
}

func (c *resumeClient) message(data []byte, rows map[string]int64) {
	var msg struct {
		T       string `json:"t"`
		Resumed bool   `json:"resumed"`
		D       []struct {
			S string `json:"s"`
			V int    `json:"v"`
		} `json:"d"`
	}
	if err := json.Unmarshal(data, &msg); err != nil {
		c.m.fatalf("%q: %v", data, err)
	}
	if msg.T == "ack" {
		c.ack = msg.Resumed
	}
	for _, row := range msg.D {
		if was, has := c.have[row.S]; has && c.ack && msg.T == "snapshot" {
			c.m.spared--
			// A token is up to two seconds old when it is made, and what it stands for is found to a second.
			const slack = 2*resumeTolerance + 4000
			if was == row.V && !c.m.steps && c.m.pubs[row.S] < c.upTo-slack && c.edge.read[row.S] < c.upTo-slack {
				c.m.repeated++
				c.m.t.Errorf("seed %d, time %d: %s is repeated: published at %d, read at %d, and the client had all up to %d",
					c.m.seed, c.m.now, row.S, c.m.pubs[row.S], c.edge.read[row.S], c.upTo)
			}
		}
		c.have[row.S], c.pubs[row.S] = row.V, rows[row.S]
	}
}

// trouble is one thing that happens, or none.
func (m *resumeModel) trouble() {
	if m.chance(m.rate) {
		m.publish(m.names[m.rng.IntN(len(m.names))])
	}
	if m.chance(200) {
		m.edge().die()
	}
	if m.chance(40) {
		m.edge().move(m.names[m.rng.IntN(len(m.names))])
	}
	for _, c := range m.clients {
		switch {
		case c.edge == nil && m.chance(20):
			wants := c.wants
			if len(wants) == 0 || m.chance(8) {
				wants = m.some()
			}
			c.connect(m.edge(), wants)
		case c.edge != nil && m.chance(100):
			c.leave()
		}
	}
	if m.steps && m.chance(600) {
		step := int64(1000 + m.rng.IntN(120_000))
		if m.chance(2) {
			step = -step
		}
		m.edge().offset += step
	}
}

// calm waits until nothing is under way, has clients come back, and looks at what they have.
func (m *resumeModel) calm() {
	wait := func(ms int) {
		for range ms / resumeStep {
			m.step()
		}
	}
	wait(1000 * m.rng.IntN(12)) // Links may be dead, or down, or up again.
	for _, c := range m.clients {
		if c.edge != nil && m.chance(2) {
			c.leave()
		}
		if c.edge == nil {
			c.connect(m.edge(), c.wants)
		}
		wait(m.rng.IntN(2000))
	}
	wait(12_000)
	for i, c := range m.clients {
		for len(c.inbox) > 0 {
			c.read()
		}
		for _, name := range c.wants {
			want, has := m.values[name]
			if got, had := c.have[name]; has && (!had || got != want) {
				m.fatalf("client %d has %d (%v) of %s, want %d, published at %d", i, got, had, name, want, m.pubs[name])
			}
		}
	}
}

func TestResumeModel(t *testing.T) {
	seeds := uint64(150) // 2,500 find all that is known to go wrong.
	if testing.Short() {
		seeds = 30
	}
	resumed, spared := 0, 0
	for seed := range seeds {
		m := newResumeModel(t, seed)
		m.steps = seed%4 == 3 // The offsets of clocks that were set are right again within a quarter of an hour.
		offsets := []int64{m.edges[0].offset, m.edges[1].offset}
		for range 4 {
			m.rate = 2 << m.rng.IntN(6)
			for range 1 + m.rng.IntN(1200) {
				m.trouble()
				m.step()
			}
			m.calm()
			for i, e := range m.edges {
				e.offset = offsets[i]
			}
		}
		if !m.steps {
			resumed, spared = resumed+m.resumed, spared+m.spared
		}
	}
	if resumed < int(seeds) || spared < resumed/2 {
		t.Errorf("%d resumes that were taken spared %d rows, in %d runs", resumed, spared, seeds)
	}
	t.Logf("%d resumes spared %d rows", resumed, spared)
}
