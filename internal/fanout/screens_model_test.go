// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

var screenSeed = flag.Uint64("screen-seed", 0, "the first seed of TestScreensModel; 0 is any")

// screenWorld is a world with screens, and what their clients have.
type screenWorld struct {
	*world
	rng      *rand.Rand
	registry *screen.Registry
	values   map[string]int // By topic; below 0 is delisted.
	clients  map[ConnID]map[string]*shown
	asked    map[ConnID]map[string]ask
}

// shown is what a client has of a screen, as its messages say.
type shown struct {
	rows  map[string]int
	order []string
	more  bool
}

// ask is a screen, and its plain reference.
type ask struct {
	pattern string
	above   int // p > above; below 0 is all.
	top     int
}

func newScreenWorld(t *testing.T, seed uint64) *screenWorld {
	cfg := testConfig()
	w := &screenWorld{rng: rand.New(rand.NewPCG(seed, 2)), values: make(map[string]int), clients: make(map[ConnID]map[string]*shown), asked: make(map[ConnID]map[string]ask)}
	table := topics.New(topics.Config{Max: 1000, Linger: 30 * time.Second, Start: epoch})
	w.registry = screen.New(screen.Config{Table: table, Clock: func() time.Duration { return 1 }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		MaxScreens: 100, MaxPerUser: 20, MaxTopics: 1000, Share: 1})
	cfg.Screens, cfg.MaxScreens, cfg.CommandRate = w.registry, 4, 0
	w.world = newWorldOf(t, cfg, topics.Config{Max: 1}, 0)
	w.table = table
	table.SetSourceState(0, true, epoch.UnixMilli())
	w.shard = New(cfg, table, w.sink, epoch)
	w.shard.piece = 400
	w.sink.shard = w.shard
	w.shard.At(w.now)
	w.sink.onFrames = w.hear
	return w
}

// hear takes what a conn is sent.
func (w *screenWorld) hear(id ConnID, frames []byte) {
	for _, m := range decode(w.t, frames) {
		var got struct {
			Screen     string
			Full, More bool
			D          []struct {
				S string
				V struct{ P int }
			}
			Out, Order []string
		}
		if m.T == "error" {
			w.t.Fatalf("conn %d: %s", id, m.raw)
		}
		if m.T != "screen" {
			continue
		}
		if err := json.Unmarshal(m.raw, &got); err != nil {
			w.t.Fatal(err)
		}
		if len(m.raw) > 400+200 {
			w.t.Fatalf("a message of %d bytes: %s", len(m.raw), m.raw)
		}
		s := w.clients[id][got.Screen]
		if s == nil {
			continue // It was given up meanwhile.
		}
		if got.Full {
			*s = shown{rows: make(map[string]int)}
		} else if s.rows == nil {
			w.t.Fatalf("conn %d: a screen does not begin with all of it: %s", id, m.raw)
		}
		s.more = got.More
		for _, row := range got.D {
			s.rows[row.S] = row.V.P
			if a := w.asked[id][got.Screen]; row.V.P <= a.above {
				w.t.Fatalf("conn %d: a row that is not above %d: %s", id, a.above, m.raw)
			}
		}
		for _, name := range got.Out {
			delete(s.rows, name)
		}
		if got.Order != nil {
			s.order = got.Order
		}
	}
}

func (w *screenWorld) publish() {
	name := fmt.Sprintf("%c:%d", "ab"[w.rng.IntN(2)], w.rng.IntN(20))
	p := w.rng.IntN(100)
	value := fmt.Sprintf(`{"p":%d}`, p)
	if w.rng.IntN(20) == 0 {
		p, value = -1, topics.Delisted
	}
	if w.table.Publish(name, value, topics.Meta{}) == topics.Unwanted {
		if !w.registry.Offer(name) {
			return
		}
		w.table.Publish(name, value, topics.Meta{})
	}
	w.values[name] = p
}

func (w *screenWorld) ask(id ConnID) {
	a := ask{pattern: []string{"*", "a:*", "b:1*"}[w.rng.IntN(3)], above: w.rng.IntN(100) - 1}
	if w.rng.IntN(4) == 0 { // A wildcard.
		a.above = -1
		if w.asked[id][a.pattern] == a {
			return // It has that, and is told nothing anew.
		}
		w.asked[id][a.pattern], w.clients[id][a.pattern] = a, &shown{}
		w.command(id, protocol.Command{Op: protocol.OpSubscribe, Topics: [][]byte{[]byte(a.pattern)}})
		return
	}
	name := fmt.Sprint("s", w.rng.IntN(2))
	cmd := protocol.Command{Op: protocol.OpScreen, Topics: [][]byte{[]byte(a.pattern)},
		Screen: protocol.Screen{Name: []byte(name), Where: fmt.Appendf(nil, "p > %d", a.above)}}
	if w.rng.IntN(2) == 0 {
		a.top = 1 + w.rng.IntN(5)
		cmd.Screen.Top, cmd.Screen.By = a.top, []byte("-p")
	}
	w.asked[id][name], w.clients[id][name] = a, &shown{}
	w.command(id, cmd)
}

// turn is a turn of the registry, and what a feed does with what the table wants.
func (w *screenWorld) turn() {
	w.registry.Turn(w.now)
	for _, c := range w.table.Changes(0, nil, all) {
		switch p, has := w.values[c.Topic]; {
		case !c.Wanted:
		case has && p >= 0:
			mark, _ := w.table.Mark(c.Topic)
			w.table.Repair(c.Topic, fmt.Sprintf(`{"p":%d}`, p), mark, topics.Meta{})
		default:
			w.table.Absent(c.Topic)
		}
	}
}

func (w *screenWorld) join() {
	id := w.connect(100 + 100*w.rng.IntN(8))
	w.clients[id], w.asked[id] = make(map[string]*shown), make(map[string]ask)
}

func (w *screenWorld) some() (ConnID, bool) {
	if len(w.clients) == 0 {
		return 0, false
	}
	ids := make([]ConnID, 0, len(w.clients))
	for id := range w.clients {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids[w.rng.IntN(len(ids))], true
}

func (w *screenWorld) leave(id ConnID) {
	w.shard.Remove(id)
	delete(w.clients, id)
	delete(w.asked, id)
}

func (w *screenWorld) step() {
	id, any := w.some()
	switch n := w.rng.IntN(100); {
	case !any || n < 2 && len(w.clients) < 8:
		w.join()
	case n < 60:
		w.publish()
	case n < 87:
		w.turn()
		w.tick(time.Duration(w.rng.IntN(100)) * time.Millisecond)
	case n < 92 && len(w.asked[id]) < 4 && w.sink.peer(id).backlog == 0:
		w.ask(id)
	case n < 94:
		for name := range w.asked[id] {
			op, list := protocol.OpUnscreen, [][]byte(nil)
			if strings.HasSuffix(name, "*") {
				op, list = protocol.OpUnsubscribe, [][]byte{[]byte(name)}
			}
			delete(w.asked[id], name)
			delete(w.clients[id], name)
			w.command(id, protocol.Command{Op: op, Topics: list, Screen: protocol.Screen{Name: []byte(name)}})
			break
		}
	case n < 95:
		w.leave(id)
	case n < 98: // It reads, or does not.
		p := w.sink.peer(id)
		if p.clogged = !p.clogged && w.rng.IntN(2) == 0; !p.clogged {
			p.backlog = 0
		}
	}
}

func (w *screenWorld) rest() {
	for id := range w.clients {
		p := w.sink.peer(id)
		p.clogged, p.backlog = false, 0
	}
	for range 60 { // Windows of slow clients have become longer.
		w.turn()
		w.tick(100 * time.Millisecond)
	}
	for id, screens := range w.clients {
		for name, s := range screens {
			a := w.asked[id][name]
			want, order := make(map[string]int), []string(nil)
			for topic, p := range w.values {
				if strings.HasPrefix(topic, strings.TrimSuffix(a.pattern, "*")) && p >= 0 && p > a.above {
					want[topic] = p
					order = append(order, topic)
				}
			}
			if a.top > 0 {
				slices.SortFunc(order, func(x, y string) int { return cmp.Or(want[y]-want[x], cmp.Compare(x, y)) })
				for len(order) > a.top {
					delete(want, order[len(order)-1])
					order = order[:len(order)-1]
				}
			} else {
				order = nil
			}
			if fmt.Sprint(s.rows) != fmt.Sprint(want) || !slices.Equal(s.order, order) || s.more {
				w.t.Fatalf("conn %d, %q of %+v has\n%v %v more %t, want\n%v %v", id, name, a, s.rows, s.order, s.more, want, order)
			}
		}
	}
}

// TestScreensModel plays ticks, screens, slow clients, messages cut into pieces, and clients that come back, against a plain
// reference.
func TestScreensModel(t *testing.T) {
	first := *screenSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	for i := range uint64(20) {
		t.Run(fmt.Sprint(first+i), func(t *testing.T) {
			w := newScreenWorld(t, first+i)
			evicted := func(id ConnID, _ Reason) { delete(w.clients, id); delete(w.asked, id) }
			w.sink.onEvict = evicted
			for range 4 {
				for range 300 {
					w.step()
				}
				w.rest()
			}
			for id := range w.clients {
				w.leave(id)
			}
			w.now = w.now.Add(time.Minute)
			w.registry.Turn(w.now)
			if s := w.registry.Stats(); s.Holders != 0 || s.Screens != 0 || s.Covered != 0 || len(w.shard.screens) != 0 {
				t.Fatalf("left over: %+v", s)
			}
		})
	}
}
