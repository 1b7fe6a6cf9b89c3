// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// check says what is broken of the invariants of wants, nil if nothing is. The caller holds
// s.mu, or is alone.
func (s *wants) check() error {
	nBehind, nMissing, listed := 0, 0, 0
	causes := [broker.Causes]int64{broker.NoCause: s.causes[broker.NoCause]}
	ids := make(map[uint64]bool)
	members := make(map[*list]map[*want]bool) // Of each list, which is walked once.
	in := func(l *list, w *want) bool {
		if members[l] == nil {
			members[l] = l.members()
		}
		return members[l][w]
	}
	for name, w := range s.topics {
		for _, rule := range []struct {
			what string
			kept bool
		}{
			{"it is held under its name", w.topic == name},
			{"it has states", w.ask <= leaving && w.reading <= fetched && w.part <= caughtUp},
			{"under a blanket nothing is written, else all is", s.blanket && w.ask <= due || !s.blanket && w.ask != quiet},
			{"who leaves is not waited for, nor fetched, nor read, nor refused",
				w.ask != leaving || w.part == newcomer && !w.read && w.strays == 0 && (w.reading == fetched || !w.reading.confirmed()) &&
					w.cause == broker.NoCause && w.refusals == [2]uint8{}},
			{"what is refused has a cause", (w.ask != refusedAsk && w.reading != refusedRead) || w.cause != broker.NoCause},
			{"what has a cause is refused, or about to be asked for again, or fails", w.cause == broker.NoCause ||
				w.refusals != [2]uint8{} || w.fails > 0},
			{"nobody waits for what is refused, unless it was served by another node",
				w.part != behind || w.refusals[byAsk] == 0 && w.reading != refusedRead || w.missing},
			{"what is confirmed has a fetch of its own", !w.reading.confirmed() || w.id > 0 && w.id <= s.last && !ids[w.id]},
			{"what is confirmed is not astray any more", !w.reading.confirmed() || w.strays == 0},
			{"what goes astray is not confirmed, on whatever link", w.strays == 0 || w.reading == unconfirmed},
			{"what is missing is stuck", !w.missing || w.strays > straysMax},
			{"without a gap, nothing has a part in it", s.open || w.part == newcomer},
			{"it is in the list of its ask", s.askList(w, w.ask) == nil || in(s.askList(w, w.ask), w)},
			{"it is in the list of its reading", s.readingList(w, w.reading) == nil || in(s.readingList(w, w.reading), w)},
		} {
			if !rule.kept {
				return fmt.Errorf("%s: not so: %s: %+v", name, rule.what, *w)
			}
		}
		if w.id > 0 {
			ids[w.id] = true
		}
		nBehind += one(w.part == behind)
		nMissing += one(w.missing)
		listed += one(s.askList(w, w.ask) != nil) + one(s.readingList(w, w.reading) != nil)
		if w.cause != broker.NoCause {
			causes[w.cause]++
		}
	}
	inLists := s.asks[due].len + s.asks[dueAlone].len + s.asks[astray].len + s.asks[leaving].len +
		s.readings[unfetched].len + s.readings[failed].len + s.patience[byAsk].len() + s.patience[byReading].len()
	flying, trying := 0, 0
	for _, c := range s.flight {
		flying += len(c.topics)
		if c.trial {
			trying += len(c.topics)
		}
	}
	switch {
	case listed != inLists:
		return fmt.Errorf("the lists hold %d wants, and %d are to be in one", inLists, listed)
	case nBehind != s.behind || nMissing != s.missing:
		return fmt.Errorf("behind %d, missing %d; counted as %d, %d", nBehind, nMissing, s.behind, s.missing)
	case causes != s.causes:
		return fmt.Errorf("refused %v, counted as %v", causes, s.causes)
	case trying != s.trying:
		return fmt.Errorf("%d topics in flight that were refused, counted as %d", trying, s.trying)
	case s.joined && !s.open:
		return fmt.Errorf("some have joined a gap that is not open")
	case s.covered && !s.blanket:
		return fmt.Errorf("covered, without a blanket")
	case flying != s.flying || flying > flightMax || flying > 0 && s.blanket:
		return fmt.Errorf("%d topics in flight, counted as %d; blanket: %v", flying, s.flying, s.blanket)
	case s.answered != 0 && (flying == 0 || s.answered >= len(s.flight[0].topics)):
		return fmt.Errorf("%d answers to the first command of %v", s.answered, s.flight)
	}
	return nil
}

// members walks over the list, which is to be the same in both directions, and as long as it says:
// else nothing counts as in it.
func (l *list) members() map[*want]bool {
	all := make(map[*want]bool)
	n := 0
	var before *want
	for at := l.first; at != nil; at = at.ties[l.by].next {
		if at.ties[l.by].prev != before {
			return map[*want]bool{}
		}
		all[at] = true
		before = at
		n++
	}
	if l.last != before || n != l.len {
		return map[*want]bool{}
	}
	return all
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// A scene is a desk with a Redis that is a model: what it holds and what it was asked.
type scene struct {
	*desk
	cluster, stream bool // One node of a cluster, a stream. Else one server, with a blanket or without.

	mended   bool            // What was refused is permitted.
	values   map[string]int  // The newest, 0 while there is none.
	has      map[string]bool // Subscribed.
	away     map[string]bool // In a slot of another node.
	asked    []command       // Without an answer yet.
	unread   []arrival       // Entries of the stream that were not read.
	read     []arrival       // Values that were fetched, and are to come.
	answered int             // Topics of the first command.
}

// An arrival is a value on its way to the table.
type arrival struct {
	fetch
	n int
}

// sceneNames are all the topics. The channel of the first is not permitted, nor is the key of the second,
// until that is mended.
var sceneNames = []string{"CHANNEL", "KEY", "A", "B", "C", "D", "E", "F"}

func newScene(t *testing.T, kind byte) *scene {
	s := &scene{desk: newDesk(t, 50), values: make(map[string]int), has: make(map[string]bool), away: make(map[string]bool)}
	s.cluster, s.stream = kind%4 == 1, kind%4 == 2
	s.blanket = kind%4 >= 2
	return s
}

// FuzzWants reads its input as a program: which kind of source it is, and then steps of two bytes.
// The invariants hold after each; values are current whenever wants says so; and when
// nothing more goes wrong, all that is wanted is subscribed and read in the end.
func FuzzWants(f *testing.F) {
	random := rand.New(rand.NewPCG(11, 4))
	for i := range 400 {
		program := []byte{byte(i)}
		for range 2 * (20 + random.IntN(400)) {
			program = append(program, byte(random.Uint32()))
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) == 0 {
			return
		}
		s := newScene(t, program[0])
		for program = program[1:]; len(program) >= 2; program = program[2:] {
			s.step(program[0], int(program[1]))
			s.check()
			s.known()
		}
		s.settle()
	})
}

func (s *scene) step(op byte, arg int) {
	name := sceneNames[arg%len(sceneNames)]
	_, held := s.ids[name]
	switch op % 22 {
	case 0, 1:
		if !held {
			s.want(name)
		}
	case 2:
		if held {
			s.leave(name)
		}
	case 3, 4:
		limit := 1 + arg%3
		if s.cluster {
			limit = 1
		}
		if c := s.next(limit); len(c.topics) > 0 {
			s.asked = append(s.asked, c)
		}
	case 5, 6, 7:
		s.answerNext()
	case 8, 9:
		s.fetchSome(1 + arg%3)
	case 10, 11:
		if len(s.read) > 0 {
			s.come(arg%len(s.read), arg/16)
		}
	case 12, 13:
		s.tick(name)
	case 14:
		s.refetch()
	case 15:
		s.end(arg)
	case 16:
		s.begin()
	case 17:
		s.look()
	case 18:
		if s.cluster && arg%3 > 0 {
			s.away[name] = !s.away[name]
			if s.away[name] && s.has[name] {
				delete(s.has, name)
				s.lost(name)
			}
		} else if s.cluster {
			s.again()
		}
	case 20:
		s.beat()
	case 21:
		s.mended = arg%2 == 0
	case 19:
		if s.cluster && !held {
			id, err := s.table.Acquire([]byte(name), 0)
			if err != nil {
				s.t.Fatal(err)
			}
			s.ids[name] = id
			s.inherit([]string{name}, arg%3 == 0)
			s.check()
			s.drain()
		}
	}
}

// known fails if Redis has a topic, or is going to, that nobody would unsubscribe. Which of them a
// node of a cluster has it decides itself.
func (s *scene) known() {
	for _, name := range sceneNames {
		has := s.has[name] && !s.cluster
		for _, c := range s.asked {
			if slices.Contains(c.topics, name) {
				has = c.name == subscribe && !s.cluster
			}
		}
		if w := s.topics[name]; has && (w == nil || !w.ask.written()) {
			s.t.Fatalf("%s is subscribed, and wants does not know: %+v", name, w)
		}
	}
}

// answerNext has Redis answer for the next topic that it was asked for.
func (s *scene) answerNext() {
	if len(s.asked) == 0 {
		return
	}
	c := s.asked[0]
	topic := c.topics[s.answered]
	if c.name == subscribe && s.answered == 0 {
		switch {
		case slices.Contains(c.topics, "CHANNEL") && !s.mended:
			s.asked = s.asked[1:]
			s.refused(broker.NotPermitted)
			return
		case s.away[topic]:
			s.asked = s.asked[1:]
			s.misplaced(broker.Elsewhere, func(string) bool { return true })
			return
		}
	}
	if s.answered++; s.answered == len(c.topics) {
		s.asked, s.answered = s.asked[1:], 0
	}
	if !s.answer(c.name, topic) {
		s.t.Fatalf("the answer of %s to %s is not due", topic, c.name)
	}
	if s.has[topic] = c.name == subscribe; s.has[topic] {
		s.confirm(topic)
	}
}

// fetchSome has Redis read values. They come later.
func (s *scene) fetchSome(limit int) {
	for _, f := range s.fetches(nil, limit) {
		if slices.ContainsFunc(s.read, func(v arrival) bool { return v.fetch == f }) {
			s.t.Fatalf("%v is fetched twice at a time", f)
		}
		s.read = append(s.read, arrival{f, s.values[f.topic]})
	}
}

// come has a value come, or an error in its place.
func (s *scene) come(i, how int) {
	v := s.read[i]
	s.read = slices.Delete(s.read, i, i+1)
	s.readOn() // A value does not overtake the entries before it.
	switch {
	case v.topic == "KEY" && !s.mended:
		s.forbidden(v.fetch, broker.WrongType)
	case how%4 == 1:
		s.fail([]fetch{v.fetch}, broker.Unreachable)
	case how%4 == 2:
		s.fail([]fetch{v.fetch}, []broker.Cause{broker.Loading, broker.NotLetIn}[how/4%2])
	case v.n == 0:
		s.unrepaired(v.fetch)
	default:
		s.repairs(v.fetch, fmt.Sprint(v.n))
	}
}

// tick has a publisher set and publish a value.
func (s *scene) tick(name string) {
	s.values[name]++
	switch {
	case s.stream:
		s.unread = append(s.unread, arrival{fetch{topic: name}, s.values[name]})
	case s.cluster && s.has[name]:
		s.deliver(name, func() { s.commit(name, s.values[name]) })
	case s.has[name] || s.blanket && s.covered:
		s.commit(name, s.values[name])
	}
}

func (s *scene) commit(name string, n int) { s.table.Publish(name, fmt.Sprint(n), topics.Meta{}) }

func (s *scene) readOn() {
	for _, v := range s.unread {
		s.commit(v.topic, v.n)
	}
	s.unread = nil
}

// end ends the link, or has entries of a stream get lost over a link that goes on.
func (s *scene) end(arg int) {
	if s.stream && s.covered && arg%2 == 0 {
		s.unread = nil
		s.reset()
		s.cover()
		return
	}
	clear(s.has)
	s.asked, s.answered, s.read = nil, 0, nil
	if s.stream {
		s.refetchAll()
	} else {
		s.reset()
	}
}

// begin has Redis confirm the blanket, or tells the position in the stream.
func (s *scene) begin() {
	if s.blanket && !s.covered {
		s.unread = nil
		s.cover()
	}
}

// look looks whether values are current. They have to be, if wants says so.
func (s *scene) look() {
	if s.readOn(); !s.endGap() {
		return
	}
	for name := range s.ids {
		if w := s.topics[name]; w.read && !s.isStale(name) && s.value(name) != "" && s.value(name) != fmt.Sprint(s.values[name]) {
			s.t.Fatalf("values are current, and that of %s is %s, not %d: %+v", name, s.value(name), s.values[name], *w)
		}
	}
}

// settle has nothing more go wrong, and looks at what comes of it.
func (s *scene) settle() {
	clear(s.away)
	s.mended = true
	for range 20 {
		s.again()
		s.beat()
		s.begin()
		s.refetch()
		for range 3 * len(sceneNames) {
			c := s.next(1)
			if len(c.topics) == 0 {
				break
			}
			s.asked = append(s.asked, c)
			s.check()
		}
		for len(s.asked) > 0 {
			s.answerNext()
			s.check()
		}
		s.fetchSome(len(sceneNames))
		for len(s.read) > 0 {
			s.come(0, 0)
			s.check()
		}
	}
	if s.look(); s.open {
		s.t.Fatalf("a gap is open: %+v", s.wants)
	}
	s.check()
	if len(s.topics) != len(s.ids) || s.flying > 0 {
		s.t.Fatalf("%d topics, want %d; %d in flight", len(s.topics), len(s.ids), s.flying)
	}
	for name := range s.ids {
		w, value := s.topics[name], fmt.Sprint(s.values[name])
		switch {
		case w.reading != fetched || w.ask != asked && w.ask != quiet || s.has[name] == s.blanket || w.cause != broker.NoCause:
			s.t.Errorf("%s is not served: %+v", name, *w)
		case s.values[name] > 0 && s.value(name) != value || !w.read:
			s.t.Errorf("%s is %s, want %s: %+v", name, s.value(name), value, *w)
		}
	}
	for name := range maps.Keys(s.has) {
		if _, held := s.ids[name]; s.has[name] && !held {
			s.t.Errorf("%s is subscribed, and nobody wants it", name)
		}
	}
}
