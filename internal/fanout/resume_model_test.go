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

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// The model of resuming: two edges behind one broker, whose clocks differ by as much as the
// tolerance, and clients who lose their connections, with the last that was sent, and come back at
// either edge. Links of edges die, which is noticed later, topics move to another place of the broker,
// and clocks are set. All times are the model's. Whoever comes back has of each topic what its edge
// has, or what was published later. When all is calm again every client has the newest value of each
// topic.
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

	// Of so many steps one has a link die, a topic move, a client leave, one come back, and a clock set.
	// Each run has its own mixture, as what is rare in one of all kinds is frequent in another.
	dies, moves, leaves, returns, sets int

	steps                     bool // Clocks are set.
	resumed, spared, repeated int
}

func newResumeModel(t *testing.T, seed uint64) *resumeModel {
	m := &resumeModel{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000, values: make(map[string]int), pubs: make(map[string]int64)}
	m.dies, m.moves, m.leaves, m.returns, m.sets = 40<<m.rng.IntN(4), 5<<m.rng.IntN(5), 10<<m.rng.IntN(4), 4<<m.rng.IntN(5), 200<<m.rng.IntN(3)
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
	token, upTo := c.token, c.upTo
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
	var coming []topics.ID
	for _, entry := range s.sets.entries(s.conn(c.id).topics) {
		if entry.mark() == owed {
			coming = append(coming, entry.id())
		}
	}
	for _, name := range wants {
		id, held := e.table.Find([]byte(name))
		if !held || slices.Contains(coming, id) || e.table.Row(id) == nil || string(e.table.Row(id).Value()) == strconv.Itoa(c.have[name]) {
			continue
		}
		if c.pubs[name] < e.rows[name] {
			c.m.fatalf("who comes back with %q, which is of %d, has of %s what was published at %d, and the edge what was at %d",
				token, upTo, name, c.pubs[name], e.rows[name])
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
	if m.chance(m.dies) {
		m.edge().die()
	}
	if m.chance(m.moves) {
		m.edge().move(m.names[m.rng.IntN(len(m.names))])
	}
	for _, c := range m.clients {
		switch {
		case c.edge == nil && m.chance(m.returns):
			wants := c.wants
			if len(wants) == 0 || m.chance(8) {
				wants = m.some()
			}
			c.connect(m.edge(), wants)
		case c.edge != nil && m.chance(m.leaves):
			c.leave()
		}
	}
	if m.steps && m.chance(m.sets) {
		step := int64(500 + m.rng.IntN(5000)) // More than clients are away for would have their tokens be of the future.
		if m.chance(8) {
			step *= 20
		}
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
	seeds := uint64(250) // Most mistakes show within 70, some take a thousand and more.
	if testing.Short() || raced {
		seeds = 30
	}
	resumed, spared := 0, 0
	for seed := range seeds {
		m := newResumeModel(t, seed)
		m.steps = seed%3 == 2 // The offsets of clocks that were set are right again within a quarter of an hour.
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
