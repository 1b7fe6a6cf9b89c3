package feed

import (
	"sync"

	"tickedge/internal/topics"
)

// wants is what the table wants of Redis, and what of that is still to be written,
// confirmed and fetched. It does no I/O, so whoever calls it waits for nobody:
//
//	drain    ──apply──►  ┌───────┐ ──next──►   writer    SUBSCRIBE, UNSUBSCRIBE
//	receiver ──confirm─► │ wants │ ──fetch──►  fetcher   GETRANGE
//	receiver ──repair──► └───────┘
//
// Its topics are those that the table holds, and those that still have to be
// unsubscribed. The latter were all subscribed on the present connection, and are
// written before anything new is, so there are never more than twice the table's
// maximum. Beside them are the names in flight. Lock order: wants.mu, then the table's.
//
// A gap is a time in which ticks may have been missed. One is open from the beginning, and
// then from each end of a link whose values were current, until they are current again:
//
//	current  every topic that was wanted when the gap began is confirmed on the present
//	         link and has had its value read, or was refused, or was given up
//
// A topic that came later has no part in it, however often a link fails meanwhile: else
// clients, who choose the names, could keep the feed down. One that is refused is stale
// (see [topics.Table.GoStale]) and keeps nothing down.
type wants struct {
	table *topics.Table

	mu     sync.Mutex
	link   uint64 // Which connection this is, from 1.
	last   uint64 // The newest want.fetch.
	topics map[string]*want
	gap    uint64 // The newest gap, from 1.
	open   bool   // It has not ended.
	joined bool   // It is one of topics that came from another node alone; the others are current.
	behind int    // Topics with want.behind: 0 unless a gap is open.

	// whole holds if one subscription covers all topics: none is asked for by itself, and
	// those in subscribe wait to be fetched. covered holds while it is confirmed.
	whole, covered bool

	// Each want is in one of the first three at most. Sets, not queues, because a
	// want that is given up must leave nothing behind while Redis is away.
	unsubscribe set
	subscribe   set
	single      set // To be subscribed in a command of their own.
	unfetched   set
	failed      set // Their fetches have failed, and are to be done again in a while.
	// astray are subscribed elsewhere, if at all: their slots have moved. They are in
	// none of the sets above until somebody knows where to.
	astray  set
	stuck   int // Topics with more than straysMax want.strays.
	missing int // Those of them with want.missing.
	// failing holds while fetches fail. Then nobody waits for them to come to their topics.
	failing bool

	// flight holds the commands that Redis has not answered in full, in the order in which
	// they were taken, which is that of its answers.
	flight   []command
	flying   int    // Topics in flight; at most flightMax.
	answered int    // Topics of the first that were answered.
	answers  uint64 // Whatever of them was answered, over all links.

	more    chan struct{} // Shared: has an element when there is less to be done again. May be nil.
	written chan struct{} // Has an element when next may have something.
	room    chan struct{} // The same, because flight has room again.
	due     chan struct{} // The same for fetches.
}

// want is one topic in wants, under its lock.
type want struct {
	topic  string
	wanted bool // False only while the UNSUBSCRIBE is due.
	asked  bool // SUBSCRIBE was written, or is being written, on this connection.
	// alone holds once it was in a command that Redis refused for its permissions.
	alone     bool
	confirmed uint64 // The link that confirmed it last, 0 if none has.
	mark      uint64 // From table.Mark at the newest confirmation.
	// fetch names the fetch that the newest confirmation asks for. It is 0 once that
	// was done. No other is of any use: its value may be older.
	fetch uint64
	gap   uint64 // The newest gap that it was wanted at the beginning of, 0 if it is newer.
	// behind holds while the gap that is open waits for it.
	behind bool
	read   bool // Its value was read once, or it is from a node where it was.
	fails  int  // How often its fetch failed for itself, since it was confirmed last.
	strays int  // How often it went astray since it was confirmed last.
	// missing holds while it is stuck and had been read: its clients have a value that is old.
	missing bool
}

type set map[*want]struct{}

func newWants(table *topics.Table) *wants {
	return &wants{
		table:       table,
		link:        1,
		gap:         1,
		open:        true,
		topics:      make(map[string]*want),
		unsubscribe: make(set),
		subscribe:   make(set),
		single:      make(set),
		unfetched:   make(set),
		failed:      make(set),
		astray:      make(set),
		written:     make(chan struct{}, 1),
		room:        make(chan struct{}, 1),
		due:         make(chan struct{}, 1),
	}
}

// apply takes what the table wants and does not want any more.
func (s *wants) apply(changes []topics.Change) {
	for _, c := range changes {
		s.mu.Lock() // Per change: the receiver must get its turn among 100,000 of them.
		w := s.topics[c.Topic]
		switch {
		case c.Wanted && w == nil:
			s.add(c.Topic)
		case c.Wanted:
			s.wantAgain(w)
		case w == nil:
		case w.asked:
			s.giveUp(w)
			s.unsubscribe[w] = struct{}{}
		default:
			s.forget(w)
		}
		s.mu.Unlock()
	}
	signal(s.written)
	if s.whole {
		signal(s.due)
	}
}

// add adds a topic. The caller holds s.mu.
func (s *wants) add(topic string) *want {
	w := &want{topic: topic, wanted: true}
	s.topics[topic] = w
	s.toSubscribe(w)
	return w
}

// wantAgain has a topic subscribed that is here already. Redis may have it still. It is
// asked all the same: the confirmation is what makes us fetch the newest value. The caller
// holds s.mu.
func (s *wants) wantAgain(w *want) {
	w.wanted = true
	delete(s.unsubscribe, w)
	delete(s.astray, w)
	s.toSubscribe(w)
}

// giveUp takes out of all sets a topic that nobody wants any more, and lets nobody wait for
// it. Who wants it after that finds a new one. The caller holds s.mu.
func (s *wants) giveUp(w *want) {
	s.caughtUp(w)
	s.settle(w)
	w.wanted, w.gap, w.read, w.fetch = false, 0, false, 0
	for _, in := range []set{s.unsubscribe, s.subscribe, s.single, s.unfetched, s.failed, s.astray} {
		delete(in, w)
	}
}

func (s *wants) toSubscribe(w *want) {
	if w.alone {
		s.single[w] = struct{}{}
	} else {
		s.subscribe[w] = struct{}{}
	}
}

func (s *wants) forget(w *want) {
	s.giveUp(w)
	delete(s.topics, w.topic)
}

// reset prepares for the next connection, which has to be asked for everything. If values
// were current on this one, a gap begins.
func (s *wants) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := !s.open || s.joined
	if begins {
		s.begin()
	}
	s.link++
	clear(s.unfetched) // Their confirmation will come again.
	clear(s.failed)
	clear(s.astray)
	s.flight, s.flying, s.answered = nil, 0, 0
	s.covered = false
	for _, w := range s.topics {
		if !w.wanted {
			s.forget(w)
			continue
		}
		w.asked, w.fetch = false, 0 // A value that was read before shows nothing of the time since.
		if begins {
			w.gap = s.gap
		}
		if w.gap == s.gap {
			s.fallBehind(w)
		}
		s.toSubscribe(w)
	}
}

// command is one SUBSCRIBE or UNSUBSCRIBE.
type command struct {
	name   string
	topics []string
}

const (
	subscribe   = "subscribe"
	unsubscribe = "unsubscribe"
)

const (
	// commandMax bounds the channels in one command, so that Redis serves others
	// between two of them.
	commandMax = 500
	// flightMax bounds the channels in commands without an answer. Redis takes about a
	// millisecond for so many, and the receiver for their confirmations. Without it, the
	// ticks of all others would wait behind a hundred thousand of them. Two commands,
	// so that Redis has one while the other is answered.
	flightMax = 2 * commandMax
)

// next returns the next command to be written, of at most limit topics. It has no
// topics when nothing is left to be written, or when so much is unanswered that limit
// more would be too many. Then room has an element as soon as they are not.
func (s *wants) next(limit int) command {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.whole || s.flying+limit > flightMax {
		return command{}
	}
	c := s.take(limit)
	if len(c.topics) > 0 {
		s.flight = append(s.flight, c)
		s.flying += len(c.topics)
	}
	return c
}

// take takes the next command out of the sets. The caller holds s.mu.
func (s *wants) take(limit int) command {
	c := command{name: unsubscribe}
	for w := range s.unsubscribe {
		if len(c.topics) == limit {
			break
		}
		c.topics = append(c.topics, w.topic)
		s.forget(w)
	}
	if len(c.topics) > 0 {
		return c
	}
	c.name = subscribe
	from := s.subscribe
	if len(from) == 0 {
		from, limit = s.single, 1
	}
	for w := range from {
		if len(c.topics) == limit {
			break
		}
		c.topics = append(c.topics, w.topic)
		w.asked = true
		delete(from, w)
	}
	return c
}

// answer takes the answer for one topic of a command. It is false if no such answer was
// due.
func (s *wants) answer(name, topic string) (due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 {
		return false
	}
	first := s.flight[0]
	if first.name != name || first.topics[s.answered] != topic {
		return false
	}
	s.answers++
	if s.answered++; s.answered == len(first.topics) {
		s.landed()
	}
	return true
}

// landed takes the first command out of the flight. The caller holds s.mu.
func (s *wants) landed() {
	s.answers++
	before := s.flying
	s.flying -= len(s.flight[0].topics)
	s.flight[0] = command{}
	s.flight, s.answered = s.flight[1:], 0
	if before > flightMax-commandMax {
		signal(s.room)
	}
	signal(s.more)
}

// aheadMax bounds the topics of new commands and fetches that are still to come, or under way:
// what fills the flight, as much again that waits behind it, and a pipeline of fetches. That
// is some 20 ms of work for Redis. Beyond it topics wait in the table, see Feed.
const aheadMax = 2*flightMax + fetchMax

// ahead is how many topics are still to be subscribed and fetched, those of a fetch that is
// under way excepted.
func (s *wants) ahead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.subscribe) + len(s.single) + s.flying
	if !s.failing {
		n += len(s.unfetched)
	}
	return n
}

// unanswered reports whether Redis owes an answer to a command, and counts those that it
// has given.
func (s *wants) unanswered() (answers uint64, owed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers, len(s.flight) > 0 || s.whole && !s.covered
}

// refused notes that Redis refused the first command that it has not answered, for one
// of its topics, and does not say which. They are asked for again one by one, so that a
// topic which is not permitted costs nobody another. A topic that was refused alone
// is not asked for again on this connection, and is stale.
func (s *wants) refused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 {
		return
	}
	first := s.flight[0]
	s.landed()
	if first.name != subscribe {
		return
	}
	for _, topic := range first.topics {
		w := s.topics[topic]
		switch {
		case w == nil || !w.wanted || !w.asked:
		case w.alone:
			s.goStale(w)
		default:
			w.alone = true
			delete(s.subscribe, w)
			s.single[w] = struct{}{}
		}
	}
	signal(s.written)
}

// lost notes that Redis has ended the subscription of a topic unasked.
func (s *wants) lost(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.topics[topic]; w != nil && w.wanted && w.confirmed == s.link {
		s.stray(w)
	}
}

// misplaced notes that Redis refused the first command that it has not answered because
// it does not serve its topics, which are those that concerned reports.
func (s *wants) misplaced(concerned func(topic string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 || !concerned(s.flight[0].topics[0]) {
		return // The loss of the subscription was taken for the answer to its end.
	}
	first := s.flight[0]
	s.landed()
	if first.name != subscribe {
		return
	}
	for _, topic := range first.topics {
		if w := s.topics[topic]; w != nil && w.wanted && w.asked {
			s.stray(w)
		}
	}
}

// stray takes a topic out of what Redis is asked for. The caller holds s.mu.
func (s *wants) stray(w *want) {
	w.asked, w.confirmed, w.fetch = false, 0, 0
	delete(s.subscribe, w)
	delete(s.single, w)
	delete(s.unfetched, w)
	delete(s.failed, w)
	s.astray[w] = struct{}{}
	if w.strays++; w.strays != straysMax+1 {
		return
	}
	s.stuck++
	if w.missing = w.read || w.behind; w.missing {
		s.missing++
	} else {
		s.goStale(w) // It is new: nothing that was current is missing.
	}
}

// settle ends that a topic goes astray. The caller holds s.mu.
func (s *wants) settle(w *want) {
	if w.strays > straysMax {
		s.stuck--
	}
	if w.missing {
		s.missing--
	}
	w.strays, w.missing = 0, false
}

// straysMax is how often a topic may go astray, one time behind the other, before it counts
// as stuck. In a migration it is once, or twice if who is asked about it is behind.
const straysMax = 2

// stuckTopics is how many topics Redis does not serve, however often it is asked, and how
// many of these it has served, here or at another node.
func (s *wants) stuckTopics() (all, missing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stuck, s.missing
}

// again has the topics asked for again that went astray and are still here.
func (s *wants) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.astray {
		s.toSubscribe(w)
	}
	clear(s.astray)
	signal(s.written)
}

// deliver has a tick committed, if its topic is subscribed on this connection. In a
// cluster, what comes in late from a server that has lost the topic would take it back in
// time: another may have published newer ticks of it already.
func (s *wants) deliver(topic string, commit func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.topics[topic]; w == nil || !w.wanted || w.confirmed != s.link {
		return false
	}
	commit()
	return true
}

// confirm notes that a topic is subscribed from now on, and has its newest value
// fetched. It is true if an earlier connection had it subscribed, which means that
// ticks may have been missed.
func (s *wants) confirm(topic string) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.topics[topic]
	if w == nil || !w.wanted {
		return false
	}
	again, ok := s.mark(w)
	if !ok {
		return false
	}
	s.unfetched[w] = struct{}{}
	signal(s.due)
	return again
}

// mark takes the mark of a topic that is subscribed. It is false for one that the table
// does not know any more. The caller holds s.mu.
//
// The mark of the newest confirmation is the one that counts. A tick since an older
// one proves nothing about the gap before the newer.
func (s *wants) mark(w *want) (again, ok bool) {
	mark, ok := s.table.Mark(w.topic)
	if !ok {
		return false, false
	}
	s.settle(w)
	s.last++
	again = w.confirmed != 0 && w.confirmed != s.link
	w.confirmed, w.mark, w.fetch, w.alone, w.fails = s.link, mark, s.last, false, 0
	return again, true
}

// cover notes that one subscription covers all topics from now on, and has their newest
// values fetched. It is true if an earlier connection had some of them.
func (s *wants) cover() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.covered = true
	s.answers++
	signal(s.due)
	return s.behind > 0
}

// fetch is a topic whose newest value is to be fetched, and the mark for repair.
type fetch struct {
	topic string
	mark  uint64
	id    uint64
}

// fetches appends up to limit topics that are to be fetched.
func (s *wants) fetches(dst []fetch, limit int) []fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.more)
	for w := range s.unfetched {
		if limit--; limit < 0 {
			break
		}
		dst = append(dst, fetch{w.topic, w.mark, w.fetch})
		delete(s.unfetched, w)
	}
	if !s.covered {
		return dst
	}
	// Here and not all at once when that is confirmed: the receiver would have to wait.
	for w := range s.subscribe {
		if limit--; limit < 0 {
			break
		}
		delete(s.subscribe, w)
		if _, ok := s.mark(w); ok {
			dst = append(dst, fetch{w.topic, w.mark, w.fetch})
		}
	}
	return dst
}

// fetched is the topic of a fetch, if it is still wanted and no confirmation came
// since. The caller holds s.mu.
//
// A confirmation that came since has its own fetch coming. Were this value committed
// first, it would change the sequence that the later mark remembers, the newer value
// would be refused for it, and the older one would stay. So the look at w.fetch and the
// commit are one step under the lock.
func (s *wants) fetched(f fetch) *want {
	if w := s.topics[f.topic]; w != nil && w.wanted && w.fetch == f.id {
		return w
	}
	return nil
}

// repair commits a fetched value, unless a tick or a confirmation came since, and ends
// its fetch.
func (s *wants) repair(f fetch, value string, m topics.Meta) topics.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.fetched(f)
	if w == nil {
		return topics.Unchanged
	}
	s.failing = false
	s.done(w)
	return s.table.Repair(f.topic, value, f.mark, m)
}

// unrepaired ends a fetch that brought no value.
func (s *wants) unrepaired(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = false
	if w := s.fetched(f); w != nil {
		s.done(w)
	}
}

// done ends a fetch. The caller holds s.mu.
func (s *wants) done(w *want) {
	w.fetch, w.read = 0, true
	s.caughtUp(w)
}

// forbidden ends a fetch that Redis refuses for good. The topic is stale until it ticks.
func (s *wants) forbidden(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.fetched(f); w != nil {
		w.fetch = 0
		s.goStale(w)
	}
}

// failsMax is how many fetches of a topic may fail for an error of its own, one behind the
// other, before it counts as refused. It is fetched on, but nobody waits for it: with the
// pauses between them that is some three seconds.
const failsMax = 6

// failedAlone counts a failed fetch whose error is that of its topic and not that of Redis
// as a whole.
func (s *wants) failedAlone(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.fetched(f); w != nil {
		if w.fails++; w.fails == failsMax {
			s.goStale(w)
		}
	}
}

// fail keeps failed fetches for refetch, those that are still wanted. Their topics stay
// behind.
func (s *wants) fail(fetches []fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = true
	signal(s.more)
	for _, f := range fetches {
		if w := s.fetched(f); w != nil && w.confirmed == s.link {
			s.failed[w] = struct{}{}
		}
	}
}

// refetch has the failed fetches done again.
func (s *wants) refetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.failed {
		s.unfetched[w] = struct{}{}
	}
	clear(s.failed)
	signal(s.due)
}

// goStale makes a topic stale that Redis refuses, and lets nobody wait for it. The caller
// holds s.mu.
func (s *wants) goStale(w *want) {
	s.caughtUp(w)
	if mark, held := s.table.Mark(w.topic); held && (w.confirmed != s.link || mark == w.mark) {
		s.table.GoStale(w.topic, mark) // Without a tick since it was confirmed, if it was.
	}
}

// inherit adds topics that were at another node of a cluster. With behind they were behind
// there, so the values of this node are not current until they were read here. Else they had
// been read there, and are waited for here if a gap is open.
func (s *wants) inherit(names []string, behind bool) {
	if len(names) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if behind && !s.open {
		s.begin()
		s.joined = true
	}
	for _, name := range names {
		w := s.topics[name]
		if w == nil {
			w = s.add(name)
		} else {
			s.wantAgain(w)
		}
		w.read = true
		if s.open {
			w.gap = s.gap
			s.fallBehind(w)
		}
	}
	signal(s.written)
}

// unread are the topics whose values were never read, here or at another node.
func (s *wants) unread() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.topics {
		if w.wanted && !w.read {
			names = append(names, w.topic)
		}
	}
	return names
}

// hasRead reports whether the value of a topic was read once, and whether it is behind.
func (s *wants) hasRead(topic string) (read, behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.topics[topic]
	return w != nil && w.read, w != nil && w.behind
}

// begin begins a gap. The caller holds s.mu.
func (s *wants) begin() {
	s.open, s.joined = true, false
	s.gap++
}

// fallBehind begins that a topic is behind. The caller holds s.mu.
func (s *wants) fallBehind(w *want) {
	if !w.behind {
		w.behind = true
		s.behind++
	}
}

// refetchAll prepares for the next connection of a stream, which goes on where this one
// has ended. What was not fetched by then is fetched anew, and belongs to the gap.
func (s *wants) refetchAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := !s.open
	if begins {
		s.begin()
	}
	clear(s.failed)
	for _, w := range s.topics {
		unread := w.confirmed != s.link
		if !unread && w.fetch != 0 {
			unread = true
			s.unfetched[w] = struct{}{}
		}
		if begins && unread {
			w.gap = s.gap
			s.fallBehind(w)
		}
	}
	signal(s.due)
}

// caughtUp ends that a topic is behind. The caller holds s.mu.
func (s *wants) caughtUp(w *want) {
	if w.behind {
		w.behind = false
		s.behind--
	}
}

// endGap ends the gap that is open, if values are current now. From then on clients who are
// told that the feed is up may trust what they have. What came in the gap and was read over
// a link that has ended since, and not over this one, is the exception, and so it is stale.
func (s *wants) endGap() (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.behind > 0 || s.whole && !s.covered {
		return false
	}
	s.open, s.joined = false, false
	for _, w := range s.topics {
		if !w.wanted || !w.read || w.gap == s.gap || w.confirmed == s.link && w.fetch == 0 {
			continue
		}
		if mark, _ := s.table.Mark(w.topic); mark > 0 { // Without a row, nobody has an old one.
			s.goStale(w)
		}
	}
	return true
}

// lacking is how many topics the gap waits for.
func (s *wants) lacking() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind
}

// len is how many topics are held.
func (s *wants) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.topics)
}

// signal puts an element into a channel of capacity 1 unless it has one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
