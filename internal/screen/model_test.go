// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/topics"
)

var modelSeeds = flag.Int("model-seeds", 60, "how many worlds TestModel plays")

// epoch is when every test begins.
var epoch = time.Unix(1_700_000_000, 0)

// A model is the plain reference: it evaluates every condition on every value.
type price struct{ p, v int }

type question struct {
	where string
	holds func(q price) bool
}

var questions = []question{
	{"", func(price) bool { return true }},
	{"p > 50", func(q price) bool { return q.p > 50 }},
	{"50 < p", func(q price) bool { return q.p > 50 }},
	{"p > 20 && v >= 5", func(q price) bool { return q.p > 20 && q.v >= 5 }},
	{"!(p > 20) || v == 3", func(q price) bool { return q.p <= 20 || q.v == 3 }},
	{"p - v * 10 < 0", func(q price) bool { return q.p-q.v*10 < 0 }},
	{"v in [1, 2, 3]", func(q price) bool { return q.v >= 1 && q.v <= 3 }},
	{"missing > 1", func(price) bool { return false }},
}

var patternLists = [][]string{{"*"}, {"a:*"}, {"b:*"}, {"a:*", "b:1"}, {"a:1", "a:2", "b:*"}, {"c:*"}}

// reader is a client of a view.
type reader struct {
	view     *View
	question question
	patterns []string
	top      int
	place    Place
	rows     map[string]string
	order    []string
}

type model struct {
	t        *testing.T
	rng      *rand.Rand
	now      time.Time
	table    *topics.Table
	registry *Registry
	values   map[string]*price // nil is delisted.
	readers  []*reader
	private  prefix
}

type prefix string

func (p prefix) Has(name []byte) bool { return bytes.HasPrefix(name, []byte(p)) }

// testRegistry makes a registry with a table of its own.
func testRegistry(max int, change func(*Config)) (*topics.Table, *Registry) {
	table := topics.New(topics.Config{Max: max, Linger: time.Second, Start: epoch})
	table.SetSourceState(0, true, epoch.UnixMilli())
	cfg := Config{Table: table, Private: prefix("secret:"), Clock: func() time.Duration { return 1 }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		MaxScreens: 100, MaxPerUser: 100, MaxTopics: 1000, Share: 1}
	if change != nil {
		change(&cfg)
	}
	return table, New(cfg)
}

// publish does what a feed does.
func publish(table *topics.Table, r *Registry, name, value string) {
	if table.Publish(name, value, topics.Meta{}) == topics.Unwanted && r.Offer(name) {
		table.Publish(name, value, topics.Meta{})
	}
}

func (m *model) publish() {
	name := fmt.Sprintf("%c:%d", "abs"[m.rng.IntN(3)], m.rng.IntN(30))
	name = strings.Replace(name, "s:", "secret:", 1)
	q := &price{m.rng.IntN(100), m.rng.IntN(10)}
	value := fmt.Sprintf(`{"v":%d,"p":%d,"x":"p"}`, q.v, q.p)
	if m.rng.IntN(20) == 0 {
		q, value = nil, topics.Delisted
	}
	m.values[name] = q
	publish(m.table, m.registry, name, value)
}

func (m *model) attach() {
	q := questions[m.rng.IntN(len(questions))]
	rd := &reader{question: q, patterns: patternLists[m.rng.IntN(len(patternLists))], rows: make(map[string]string)}
	by := ""
	if m.rng.IntN(3) == 0 {
		rd.top, by = 1+m.rng.IntN(6), "-p"
	}
	var list [][]byte
	for _, p := range rd.patterns {
		list = append(list, []byte(p))
	}
	spec, e := ParseSpec(list, q.where, rd.top, by, m.private)
	if e != nil {
		m.t.Fatal(q.where, e.Reason)
	}
	if rd.view, e = m.registry.Attach(spec, "me", m.now); e != nil {
		m.t.Fatal(e.Reason)
	}
	m.readers = append(m.readers, rd)
}

func (m *model) detach() {
	if len(m.readers) > 0 {
		i := m.rng.IntN(len(m.readers))
		m.registry.Detach(m.readers[i].view, "me", m.now)
		m.readers = slices.Delete(m.readers, i, i+1)
	}
}

// read has a client fetch a piece.
func (rd *reader) read(t *testing.T, most int) (more bool) {
	if !rd.view.Ready() {
		return false
	}
	var p Piece
	rd.view.Changes(&rd.place, most, &p)
	if p.Full {
		clear(rd.rows)
		rd.order = nil
	}
	size := 0
	for _, row := range p.Rows {
		size += len(row.JSON()) + rowCost
		rd.rows[string(row.Topic())] = string(row.Value())
		var q price
		if _, err := fmt.Sscanf(string(row.Value()), `{"v":%d,"p":%d`, &q.v, &q.p); err != nil || !rd.question.holds(q) {
			t.Fatalf("%q: a row that does not fulfil it: %s", rd.question.where, row.JSON())
		}
	}
	for _, name := range p.Out {
		size += len(name) + nameCost
		delete(rd.rows, name)
	}
	if size > most && len(p.Rows)+len(p.Out) > 1 {
		t.Fatalf("a piece of %d bytes, want %d at most", size, most)
	}
	if p.Order != nil {
		rd.order = p.Order
	}
	return p.More
}

// want is what a client has to have at rest.
func (m *model) want(rd *reader) (rows map[string]string, order []string) {
	rows = make(map[string]string)
	for name, q := range m.values {
		has := slices.ContainsFunc(rd.patterns, func(p string) bool { return matches(p, name) })
		if has && q != nil && !m.private.Has([]byte(name)) && rd.question.holds(*q) {
			rows[name] = fmt.Sprintf(`{"v":%d,"p":%d,"x":"p"}`, q.v, q.p)
			order = append(order, name)
		}
	}
	if rd.top == 0 {
		return rows, nil
	}
	slices.SortFunc(order, func(a, b string) int { return cmp.Or(m.values[b].p-m.values[a].p, cmp.Compare(a, b)) })
	for len(order) > rd.top {
		delete(rows, order[len(order)-1])
		order = order[:len(order)-1]
	}
	return rows, order
}

// turn is a turn of the registry, and what a feed does with what the table wants.
func (m *model) turn() {
	m.registry.Turn(m.now)
	for _, c := range m.table.Changes(0, nil, 1000) {
		if !c.Wanted {
			continue
		}
		if q := m.values[c.Topic]; q != nil {
			mark, _ := m.table.Mark(c.Topic)
			m.table.Repair(c.Topic, fmt.Sprintf(`{"v":%d,"p":%d,"x":"p"}`, q.v, q.p), mark, topics.Meta{})
		} else {
			m.table.Absent(c.Topic)
		}
	}
}

// names is what the source has.
func (m *model) names() (names []string, all bool) {
	for name, q := range m.values {
		if q != nil {
			names = append(names, name)
		}
	}
	return names, true
}

// rest lets everything come to rest and compares.
func (m *model) rest() {
	m.t.Helper()
	for range 4 {
		m.now = m.now.Add(settleWait)
		m.turn()
	}
	for i, rd := range m.readers {
		for rd.read(m.t, 100) {
		}
		rows, order := m.want(rd)
		if fmt.Sprint(rows) != fmt.Sprint(rd.rows) {
			m.t.Fatalf("client %d of %v %q top %d has\n%v, want\n%v", i, rd.patterns, rd.question.where, rd.top, rd.rows, rows)
		}
		if !slices.Equal(order, rd.order) {
			m.t.Fatalf("client %d of %v %q top %d has the order\n%v, want\n%v", i, rd.patterns, rd.question.where, rd.top, rd.order, order)
		}
	}
}

func (m *model) step() {
	switch n := m.rng.IntN(100); {
	case n < 60:
		m.publish()
	case n < 68:
		m.now = m.now.Add(time.Duration(m.rng.IntN(400)) * time.Millisecond)
		m.turn()
	case n < 72:
		if len(m.readers) < 12 {
			m.attach()
		}
	case n < 75:
		m.detach()
	case n < 76:
		m.now = m.now.Add(Linger + sweepEvery)
		m.turn()
		m.table.Sweep(m.now)
	case n < 78: // It comes back.
		if len(m.readers) > 0 {
			rd := m.readers[m.rng.IntN(len(m.readers))]
			rd.place, rd.rows, rd.order = Place{}, make(map[string]string), nil
		}
	default:
		if len(m.readers) > 0 {
			m.readers[m.rng.IntN(len(m.readers))].read(m.t, 30+m.rng.IntN(300))
		}
	}
}

// TestModel plays random ticks, screens and clients that read now and then, against the reference.
func TestModel(t *testing.T) {
	before := tombsMin
	tombsMin = 3 // So that names are forgotten.
	defer func() { tombsMin = before }()
	first := rand.Uint64N(1 << 32)
	for i := range *modelSeeds {
		seed := first + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, values: make(map[string]*price), private: "secret:"}
			m.table, m.registry = testRegistry(1000, func(c *Config) { c.Names = m.names })
			for range 8 {
				for range 250 {
					m.step()
				}
				m.rest()
			}
			for len(m.readers) > 0 {
				m.detach()
			}
			m.now = m.now.Add(2 * Linger)
			m.registry.Turn(m.now)
			if s := m.registry.Stats(); s.Screens != 0 || s.Covered != 0 || s.Holders != 0 || m.table.Subscriptions() != 0 {
				t.Fatalf("left over: %+v, %d subscriptions", s, m.table.Subscriptions())
			}
		})
	}
}
