// SPDX-License-Identifier: Apache-2.0

// Package fanout is one loop's half of the fan-out: which conn has which topics, the
// timer wheel that visits every conn in its turn, and all that a visit does. It
// gathers the rows that are news to a conn into one message, pings it, and finds it
// slow, silent, idle or late. It has no socket, no goroutine and no clock: time is passed in
// and what is to be written goes to a [Sink], so all of it is tested with explicit times.
//
//	shard.go    times and limits; conns come, open, and go
//	adjust.go   other times and limits, while there are conns
//	conn.go     what is known of a conn, and its states
//	wheel.go    which conn is visited when
//	visit.go    what a visit does
//	framing.go  what stands around payloads
//	backlog.go  what sockets have not taken, and which conns are slow
//	ladder.go   slow consumers are slowed down step by step
//	command.go  what a client's command changes, and its answer
//	resume.go   tokens, and what who comes back has already
//	rate.go     what commands cost, how many of them, of malformed ones and of new topics a client may send
//	screens.go  screens: subscriptions that choose their topics
//	asking.go   conns that have requests answered, and no messages
//	reason.go   why a conn is ended by the edge
//	validate.go what may be configured
//	stats.go    what a shard counts, and what operators call it
//	spans.go    how long things take: the age of rows, the lag of flushes, and what clients wait for
//	evidence.go what is known of conns, and of those that were evicted
//
// What a client has and lacks is a [Cursor], which knows no conn and no framing: each conn has
// one, and so can a goroutine without a shard.
//
//	cursor.go   the topics that are subscribed and given up
//	gather.go   rows: snapshots and updates, in pieces
//	news.go     feeds that are up or down, topics that are stale, and those that are taken away
//	sets.go     the topics of cursors, without pointers
//	rows.go     copies of rows, close to a loop
package fanout

import (
	"math"
	"math/rand/v2"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/screen"
	"tickedge/internal/topics"
)

// Sink is what a shard acts on: the loop that owns the sockets. Its methods may call
// [Shard.Closing], [Shard.Remove] and [Shard.Joined] for the conn that they are called
// with, and [Shard.At], and nothing else of the shard; of a conn that asks also what asking.go
// has.
type Sink interface {
	// Write sends whole messages, as they are framed. p is only valid during the call. What
	// the socket does not take of it joins the backlog, which the shard is told by
	// [Shard.Joined].
	Write(id ConnID, p []byte)
	// Backlog is how many bytes the conn's socket has not taken yet.
	Backlog(id ConnID) int
	// Evict ends a conn. It calls Closing or Remove before it returns.
	Evict(id ConnID, r Reason)
	// Drained says that a conn in closing has no backlog any more.
	Drained(id ConnID)
	// Acked reports whether the peer's kernel has acknowledged anything in the time since. Where
	// that can't be known it is true.
	Acked(id ConnID, since time.Duration) bool
	// Due says that the time has come which [Shard.Await] has named for a conn that asks. It is
	// called at the end of a visit and may call anything of the shard but [Shard.Turn].
	Due(id ConnID)
	// Prefix says where a conn is from, for what is bounded by prefix. 0 if that is not known.
	Prefix(id ConnID) guard.Prefix
}

// Config holds the times and limits of a shard. All of them must be above 0, but where
// 0 is said to mean something.
type Config struct {
	Interval         time.Duration // The window, unless a client asks for another.
	Heartbeat        time.Duration // Silence after which a client gets a heartbeat.
	PingInterval     time.Duration // Mean time between two pings of a silent client.
	PongTimeout      time.Duration // From a ping until the client is taken for dead.
	SlowTimeout      time.Duration // How long a backlog may last without progress, see backlog.go.
	SlowRate         int           // Bytes per second that a socket has to take for progress, up to SlowRateMax.
	IdleTimeout      time.Duration // How long a client may have no topic.
	HandshakeTimeout time.Duration // From accept to the end of the request head.
	CloseTimeout     time.Duration // From our last word until the socket is closed.
	MaxAge           time.Duration // How long a conn may be open, ±25 %, at most 90 days. 0: for ever.
	MaxTopics        int           // Topics per conn, at most 4096.
	CommandRate      int           // Commands per second and conn, up to RateMax. 0: no limit.
	CommandBurst     int           // Commands at once, up to BurstMax.
	SubscribeRate    int           // New topics per second and conn, up to RateMax. 0: no limit.
	SubscribeBurst   int           // New topics at once, from MaxTopics up to BurstMax. 0: twice MaxTopics.
	MaxValueless     int           // Topics per conn that are known to have no value. 0: no limit.
	MaxScreens       int           // Screens per conn. 0: none.
	Backlogs         *Backlogs     // Of all shards of the process. nil: the shard has its own, without a limit.
	Seed             uint64        // Of the jitter.

	// What all shards share. Nil is no limit.
	NewTopics *guard.PrefixLimit // Topics that the table does not hold yet.
	Snapshots *guard.PrefixLimit // Of [SnapshotUnit] bytes.
	Screens   *screen.Registry   // Nil is none.
}

// Shard is one loop's half of the fan-out. Owned by its loop's goroutine: no method
// may be called from elsewhere.
type Shard struct {
	Cursors // Of its conns.
	cfg     Config
	sink    Sink
	rng     *rand.Rand
	times   times

	slabs   []*[1 << slabBits]conn
	asides  []*[1 << slabBits]aside // As many.
	free    []ConnID
	counts  [5]int // conns by state
	wheel   wheel
	scratch []byte
	written int // Bytes, of all visits.

	backlogs *Backlogs // Of all shards.
	backlog  int64     // This shard's part of them.
	relieved beat      // When conns were last evicted because there is too much of them.
	crowded  []crowder // Scratch of relieve.

	rejected []protocol.Rejected        // Of one command.
	ages     [RowAgeSlowed + 1]spanAges // Of rows.
	lags     tally                      // Of flushes.
	waits    map[ConnID]time.Time       // Of conns that wait for a snapshot: since when, see spans.go.
	brought  bool                       // The last command has brought a snapshot at once.
	lacking  bool                       // And has left topics of which one may come.
	mistakes map[ConnID]beat            // Of conns that have erred: when that will be forgiven.
	screens  map[ConnID]*Screens        // Of conns that are screening.
	screened screen.Piece               // Scratch of one message.

	start    time.Time
	now      beat
	visiting ConnID
	visited  bool // Whether visiting means anything.

	draining  bool
	drainFrom beat
	drainSpan beat

	commands, subscribes               guard.Limit
	tooManyCommands, tooManySubscribes string // What the clients are told.
	tooManyTopics, tooManyValueless    string
	newTopics                          int // Made in this turn.

	evictions []Eviction // A ring once it is full.
	oldest    int
}

// times is Config in beats.
type times struct {
	interval, heartbeat, ping, pong, slow, idle, handshake, close beat
	climb                                                         beat // A quarter of slow.
	age                                                           beat // 0: for ever.
}

// MaxAgeLimit bounds Config.MaxAge: with its jitter and some patience, that stays below
// the 248 days after which beats begin anew.
const MaxAgeLimit = 90 * 24 * time.Hour

// New returns an empty shard whose time begins at start.
func New(cfg Config, table *topics.Table, sink Sink, start time.Time) *Shard {
	if err := cfg.check(); err != nil {
		panic("fanout: Config." + err.Error())
	}
	s := &Shard{Cursors: *NewCursors(table), cfg: cfg, sink: sink, start: start, screens: make(map[ConnID]*Screens), waits: make(map[ConnID]time.Time)}
	for i := range s.ages {
		s.ages[i] = newAges()
	}
	s.lags.unit = SlotTime
	s.clock = start
	s.rng = rand.New(rand.NewPCG(cfg.Seed, cfg.Seed>>32))
	s.times = times{
		interval: beats(cfg.Interval), heartbeat: beats(cfg.Heartbeat),
		ping: beats(cfg.PingInterval), pong: beats(cfg.PongTimeout),
		handshake: beats(cfg.HandshakeTimeout), close: beats(cfg.CloseTimeout),
	}
	if s.backlogs = cfg.Backlogs; s.backlogs == nil {
		s.backlogs = NewBacklogs(math.MaxInt64)
	}
	s.relieved = s.now - 1
	s.follow()
	return s
}

// At tells the shard the time, before any other call of the same turn. Time must not
// go back.
func (s *Shard) At(now time.Time) {
	s.Cursors.At(now)
	s.now = s.beatOf(now)
}

// Add makes a conn that has opened a socket. Its request head is awaited.
func (s *Shard) Add() ConnID {
	if len(s.free) == 0 {
		base := ConnID(len(s.slabs)) << slabBits
		s.slabs = append(s.slabs, new([1 << slabBits]conn))
		s.asides = append(s.asides, new([1 << slabBits]aside))
		for i := ConnID(1 << slabBits); i > 0; i-- {
			s.free = append(s.free, base+i-1)
		}
	}
	if s.Conns() == 0 {
		s.wheel.turned = s.now // Nobody turned it meanwhile, and nobody missed it.
	}
	id := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	c := s.conn(id)
	*c = conn{pos: nowhere, interval: uint16(s.times.interval)}
	s.enter(c, opening)
	s.place(id, c, s.now+s.times.handshake)
	return id
}

// Open makes an opening conn open, with a framing, and appends its hello to dst, and the
// feeds that are down. name is what the hello calls it. ms is the window that the client asks
// for, 0 for none.
func (s *Shard) Open(id ConnID, f Framing, name uint32, ms int, dst []byte) []byte {
	c := s.conn(id)
	if c.state != opening {
		panic("fanout: Open of a conn that is not opening")
	}
	s.enter(c, open)
	c.flags = uint8(f) << framingShift
	if ms > 0 {
		c.interval = uint16(beats(time.Duration(ms) * time.Millisecond))
	}
	s.Start(&c.Cursor)
	c.heard, c.sent = s.now, s.now
	at := s.clock.Sub(s.start)
	*s.aside(id) = aside{bare: s.now, commands: s.commands.Full(at), subscribes: s.subscribes.Full(at)}
	c.ping = s.now + s.jitter(s.times.ping)
	s.unplace(c)
	c.flush = s.firstFlush(id, c.window())
	s.schedule(id, c)
	hello := protocol.AppendHello(f.begin(dst), name, millis(c.window()), int(s.cfg.Heartbeat.Milliseconds()), s.cfg.MaxTopics)
	dst = f.end(hello, len(dst))
	for i := range s.table.Sources() { // What changes after served is told as to anybody.
		if feed := s.table.SourceState(i); !feed.Up && feed.Seq <= c.served {
			dst = f.end(s.feed(feed, f.begin(dst)), len(dst))
		}
	}
	return dst
}

// Heard notes that bytes came from an open conn, which answers a ping as well as a
// pong does. It reports whether there was a ping to answer.
func (s *Shard) Heard(id ConnID) (answered bool) {
	c := s.conn(id)
	c.heard = s.now
	if c.flags&pinged == 0 {
		return false
	}
	c.flags &^= pinged
	c.rtt = uint16(min(s.now-c.ping+1, math.MaxUint16))
	s.stats.Spans[RoundTrip].observe(duration(beat(c.rtt)))
	c.ping = s.now + s.jitter(s.times.ping)
	return true
}

// Closing notes that the last word to a conn was sent. Its topics are given up, and
// it is evicted with [CloseTimeout] if [Shard.Remove] does not come first.
func (s *Shard) Closing(id ConnID) {
	c := s.conn(id)
	s.Release(&c.Cursor)
	s.dropScreens(id, c)
	s.forgetBacklog(id, c)
	delete(s.waits, id)
	s.enter(c, closing)
	s.unplace(c)
	if left := s.sink.Backlog(id); left > 0 {
		s.Joined(id, left)
		s.place(id, c, s.now+drainLook)
		return
	}
	s.place(id, c, s.now+s.times.close)
}

// Announce appends a text of an operator to an open conn.
func (s *Shard) Announce(id ConnID, text string, dst []byte) []byte {
	c, f, start := s.conn(id), s.conn(id).framing(), len(dst)
	if c.state != open {
		panic("fanout: Announce to a conn that is not open")
	}
	c.sent = s.now
	s.stats.Count[Announcements]++
	dst = f.end(protocol.AppendAnnouncement(f.begin(dst), text), start)
	s.wrote(id, c, len(dst)-start)
	return dst
}

// Bye appends our last word to an open conn. retryMS of 0 is no advice.
func (s *Shard) Bye(id ConnID, r Reason, retryMS int, dst []byte) []byte {
	return s.ByeWith(id, r.Code(), r.Text(), retryMS, dst)
}

// ByeWith is Bye with a code and a text of the caller's.
func (s *Shard) ByeWith(id ConnID, code protocol.Code, text string, retryMS int, dst []byte) []byte {
	f := s.conn(id).framing()
	dst = f.end(protocol.AppendBye(f.begin(dst), code, text, retryMS), len(dst))
	return f.close(dst, code, text, retryMS)
}

// Has reports whether a conn has a topic. One that asks has those of a request at a time.
func (s *Shard) Has(id ConnID, topic []byte) bool {
	_, _, i := s.Find(&s.conn(id).Cursor, topic)
	return i >= 0
}

// Remove forgets a conn whose socket is closed.
func (s *Shard) Remove(id ConnID) {
	c := s.conn(id)
	if c.state == free {
		panic("fanout: Remove of a conn that is free")
	}
	s.Release(&c.Cursor)
	s.dropScreens(id, c)
	s.forgetBacklog(id, c)
	delete(s.waits, id)
	if c.erred {
		delete(s.mistakes, id)
	}
	s.unplace(c)
	s.enter(c, free)
	s.free = append(s.free, id)
}

// Drain begins to evict all conns, spread evenly over the time given. The wheel does
// it, to a second.
func (s *Shard) Drain(over time.Duration) {
	s.draining = true
	s.drainFrom = s.now
	s.drainSpan = beat(over / SlotTime)
}

// EvictAll evicts every conn at once, but for those that are on their way already.
func (s *Shard) EvictAll(r Reason) {
	for i := range s.slabs {
		for j := range s.slabs[i] {
			if st := s.slabs[i][j].state; st == opening || st == open || st == asking {
				s.Evict(ConnID(i<<slabBits|j), r)
			}
		}
	}
}

// Visiting is the conn that the wheel is visiting, for the loop that recovers from a
// panic in [Shard.Turn].
func (s *Shard) Visiting() (id ConnID, ok bool) { return s.visiting, s.visited }

// Conns is how many conns there are, in whatever state.
func (s *Shard) Conns() int {
	return s.counts[opening] + s.counts[open] + s.counts[closing] + s.counts[asking]
}

// Stats returns a copy of the counters.
func (s *Shard) Stats() Stats {
	for i := range s.ages {
		s.stats.Spans[i] = s.ages[i].fold()
	}
	s.stats.Spans[FlushLag] = *s.lags.fold()
	st := s.stats
	st.Opening, st.Open, st.Closing, st.Asking = s.counts[opening], s.counts[open], s.counts[closing], s.counts[asking]
	return st
}

func (s *Shard) enter(c *conn, st state) {
	if c.state != free {
		s.counts[c.state]--
	}
	if st != free {
		s.counts[st]++
	}
	c.state, c.since, c.flags, c.pace = st, s.now, 0, 0
	c.backlog = s.now
}

// Evict ends a conn through the sink, counts why, and keeps what is known of it for
// [Shard.Evictions].
func (s *Shard) Evict(id ConnID, r Reason) {
	s.stats.Evicted[r]++
	s.note(id, r)
	s.sink.Evict(id, r)
}
