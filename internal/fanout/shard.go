// Package fanout is one loop's half of the fan-out: which conn has which topics, the
// timer wheel that visits every conn in its turn, and all that a visit does. It
// gathers the rows that are news to a conn into one frame, pings it, and finds it
// slow, silent, idle or late.
//
// It has no socket, no goroutine and no clock: time is passed in and frames go to a
// [Sink], so every behaviour is tested with explicit ticks.
//
//	shard.go    conns, their states, and what a visit does
//	wheel.go    who is visited when
//	gather.go   rows to frames: snapshots and updates, in pieces
//	news.go     feeds that are up or down, topics that are stale, and those that are taken away
//	backlog.go  what sockets have not taken, and who is slow
//	ladder.go   slow consumers are slowed down step by step
//	sets.go     the topics of the conns, without pointers
//	command.go  what a client's command changes, and its answer
//	rate.go     what commands cost, how many of them and how many new topics a client may send
//	validate.go what may be configured
//	stats.go    what a shard counts, and what operators call it
//	evidence.go what is known of conns, and of those that were evicted
package fanout

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
	"unsafe"

	"tickedge/internal/guard"
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// ConnID names a conn in its shard. It is used again after [Shard.Remove].
type ConnID uint32

// Sink is what a shard acts on: the loop that owns the sockets. Its methods may call
// [Shard.Closing], [Shard.Remove] and [Shard.Joined] for the conn that they are called
// with, and [Shard.At], and nothing else of the shard.
type Sink interface {
	// Write sends whole frames. p is only valid during the call. What the socket does not
	// take of it joins the backlog, which the shard is told by [Shard.Joined].
	Write(id ConnID, p []byte)
	// Backlog is how many bytes the conn's socket has not taken yet.
	Backlog(id ConnID) int
	// Evict ends a conn. It calls Closing or Remove before it returns.
	Evict(id ConnID, r Reason)
	// Drained says that a conn in closing has no backlog any more.
	Drained(id ConnID)
	// Source says who a conn is from, for what is bounded by source. 0 if that is not known.
	Source(id ConnID) guard.Source
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
	CloseTimeout     time.Duration // From our close frame until the socket is closed.
	MaxAge           time.Duration // How long a conn may be open, ±25 %, at most 90 days. 0: for ever.
	MaxTopics        int           // Topics per conn, at most 4096.
	CommandRate      int           // Commands per second and conn, up to RateMax. 0: no limit.
	CommandBurst     int           // Commands at once, up to BurstMax.
	SubscribeRate    int           // New topics per second and conn, up to RateMax. 0: no limit.
	SubscribeBurst   int           // New topics at once, from MaxTopics up to BurstMax. 0: twice MaxTopics.
	MaxValueless     int           // Topics per conn that are known to have no value. 0: no limit.
	Backlogs         *Backlogs     // Of all shards of the process. nil: the shard has its own, without a limit.
	Seed             uint64        // Of the jitter.

	// What all shards share. Nil is no limit.
	NewTopics *guard.SourceLimit // Topics that the table does not hold yet.
	Snapshots *guard.SourceLimit // Of [SnapshotUnit] bytes.
}

// conn is what a shard knows of one client connection. It holds no pointer, so a
// slab of them is nothing to the garbage collector.
//
// Invariants, where at = 0 and upto = served unless the conn is passing (see aside), and
// sent(i), for an entry i of its topics, is
//
//		snapped  if the entry is marked snapped
//		upto     if it is plain and i < at
//		served   if it is plain and i >= at
//		0        if it is owed or awaited
//
//	  - served <= upto <= table.Watermark().
//	  - served <= snapped <= table.Watermark() while an entry is marked snapped, and
//	    upto <= snapped while one with i < at is.
//	  - Every row of the topic of entry i whose sequence is <= sent(i) has been written to
//	    the conn, or a newer one has.
//	  - The same holds of the news of that topic, and with max(served, told) of feeds (see
//	    news.go): it has been written, or was over before it could be, or is older than the
//	    conn or than its subscription, which are told what holds then.
//	  - An entry with any mark but plain implies the flag marked.
//	  - A topic that the table has withdrawn is among its topics until it was told so, which
//	    it is when it is next served.
//	  - pos != nowhere, but for the time of its own visit.
type conn struct {
	served   uint64
	snapped  uint64
	topics   span
	due      tick   // Next visit.
	flush    tick   // Next flush; visits before it only look after the conn.
	since    tick   // When its state began.
	heard    tick   // Last byte from it.
	sent     tick   // Last text frame to it.
	ping     tick   // Next ping or, while a pong is awaited, the last one.
	backlog  tick   // Where its backlog stands in time, see backlog.go.
	pos      uint32 // Its place in the wheel slot due % wheelSize.
	interval uint16 // The window, in ticks.
	state    state
	flags    uint8
	bad      uint8 // Malformed commands so far.
	pace     pace
	rtt      uint16 // From the last answered ping to the next byte, in ticks and one more. 0: not known.
}

const connSizeMax = 64 // A million conns in 64 MB.
const _ = uint(connSizeMax - unsafe.Sizeof(conn{}))

// aside is the part of a conn that ordinary visits have no use for. It is kept apart,
// so that the other part stays one line of the CPU's cache.
type aside struct {
	upto uint64 // While it is passing: the watermark that was read before, where served moves at the end.
	told uint64 // The news of feeds up to here was told, if this is above served.
	at   uint16 // While it is passing: the entry of its topics to go on with.

	left       uint32       // Bytes of its backlog, as far as is known. 0 without the flag backlogged.
	bare       tick         // When the conn was opened or its last topic went, whichever was later.
	commands   guard.Bucket // What it has used of the rate of commands.
	subscribes guard.Bucket // The same of new topics.
}

const asideSizeMax = 40 // A million conns in 40 MB.
const _ = uint(asideSizeMax - unsafe.Sizeof(aside{}))
const _ = uint(math.MaxUint16 - topicsLimit) // An index fits into at.

// state says what holds of a conn. Package loop says which of its stages go with it.
type state uint8

const (
	free    state = iota
	opening       // The request head is awaited. No topics.
	open          // Frames go both ways.
	closing       // Our last word is sent; the peer's is awaited. No topics.
)

const (
	marked     uint8 = 1 << iota // An entry of its topics has a mark other than plain.
	backlogged                   // It has a backlog, or had one when it was looked at last.
	pinged                       // A pong is awaited.
	passing                      // An update is under way in pieces.
	owing                        // More of a snapshot can be sent as soon as the socket takes it.
)

const (
	slabBits = 8
	slabMask = 1<<slabBits - 1
)

// Shard is one loop's half of the fan-out. Owned by its loop's goroutine: no method
// may be called from elsewhere.
type Shard struct {
	cfg   Config
	table *topics.Table
	sink  Sink
	rng   *rand.Rand
	times times

	slabs   []*[1 << slabBits]conn
	asides  []*[1 << slabBits]aside // As many.
	free    []ConnID
	counts  [4]int // conns by state
	sets    sets
	rows    *rows
	wheel   wheel
	scratch []byte
	piece   int      // pieceMax, but in tests.
	stale   []uint16 // Indices of entries of one visit, to be told behind the rows.
	written int      // Bytes, of all visits.

	backlogs *Backlogs // Of all shards.
	backlog  int64     // This shard's part of them.
	relieved tick      // When conns were last evicted because there is too much of them.
	crowded  []crowder // Scratch of relieve.

	rejected []wsproto.Rejected // Of one command.

	start    time.Time
	clock    time.Time
	now      tick
	visiting ConnID
	visited  bool // Whether visiting means anything.

	draining  bool
	drainFrom tick
	drainSpan tick

	commands, subscribes               guard.Limit
	tooManyCommands, tooManySubscribes string // What the clients are told.
	tooManyTopics, tooManyValueless    string
	newTopics                          int // Made in this turn.

	evictions []Eviction // A ring once it is full.
	oldest    int

	stats Stats
}

// times is Config in ticks.
type times struct {
	interval, heartbeat, ping, pong, slow, idle, handshake, close tick
	climb                                                         tick // A quarter of slow.
	age                                                           tick // 0: for ever.
}

// MaxAgeLimit bounds Config.MaxAge: with its jitter and some patience, that stays below
// the 248 days after which ticks begin anew.
const MaxAgeLimit = 90 * 24 * time.Hour

// New returns an empty shard whose time begins at start.
func New(cfg Config, table *topics.Table, sink Sink, start time.Time) *Shard {
	if err := cfg.check(); err != nil {
		panic("fanout: Config." + err.Error())
	}
	if cfg.SubscribeBurst == 0 {
		cfg.SubscribeBurst = 2 * cfg.MaxTopics
	}
	s := &Shard{cfg: cfg, table: table, sink: sink, start: start, clock: start, rows: new(rows), piece: pieceMax}
	s.rng = rand.New(rand.NewPCG(cfg.Seed, cfg.Seed>>32))
	s.times = times{
		interval: ticks(cfg.Interval), heartbeat: ticks(cfg.Heartbeat),
		ping: ticks(cfg.PingInterval), pong: ticks(cfg.PongTimeout),
		slow: ticks(cfg.SlowTimeout), idle: ticks(cfg.IdleTimeout),
		handshake: ticks(cfg.HandshakeTimeout), close: ticks(cfg.CloseTimeout),
		climb: max(1, ticks(cfg.SlowTimeout)/4),
	}
	if cfg.MaxAge > 0 {
		s.times.age = ticks(cfg.MaxAge)
	}
	if s.backlogs = cfg.Backlogs; s.backlogs == nil {
		s.backlogs = NewBacklogs(math.MaxInt64)
	}
	s.relieved = s.now - 1
	s.commands = newLimit(cfg.CommandRate, cfg.CommandBurst, patience*cfg.CommandBurst)
	s.tooManyCommands = fmt.Sprintf("too many commands: at most %d per second", cfg.CommandRate)
	s.subscribes = newLimit(cfg.SubscribeRate, cfg.SubscribeBurst, 0)
	s.tooManySubscribes = fmt.Sprintf("too many new topics: at most %d per second", cfg.SubscribeRate)
	s.tooManyTopics = fmt.Sprintf("at most %d topics per connection", cfg.MaxTopics)
	s.tooManyValueless = fmt.Sprintf("at most %d topics without a value per connection", cfg.MaxValueless)
	return s
}

// At tells the shard the time, before any other call of the same turn. Time must not
// go back.
func (s *Shard) At(now time.Time) {
	s.clock = now
	s.now = s.tickOf(now)
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
		s.wheel.cursor = s.now // Nobody turned it meanwhile, and nobody missed it.
	}
	id := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	c := s.conn(id)
	*c = conn{pos: nowhere, interval: uint16(s.times.interval)}
	s.enter(c, opening)
	s.place(id, c, s.now+s.times.handshake)
	return id
}

// Open makes an opening conn open and appends its hello to dst, and the feeds that are
// down. name is what the hello calls it. ms is the window that the client asks for, 0 for
// none.
func (s *Shard) Open(id ConnID, name uint32, ms int, dst []byte) []byte {
	c := s.conn(id)
	if c.state != opening {
		panic("fanout: Open of a conn that is not opening")
	}
	s.enter(c, open)
	if ms > 0 {
		c.interval = uint16(ticks(time.Duration(ms) * time.Millisecond))
	}
	c.served = s.table.Watermark()
	c.heard, c.sent = s.now, s.now
	at := s.clock.Sub(s.start)
	*s.aside(id) = aside{bare: s.now, commands: s.commands.Full(at), subscribes: s.subscribes.Full(at)}
	c.ping = s.now + s.jitter(s.times.ping)
	s.unplace(c)
	c.flush = s.firstFlush(id, c.window())
	s.schedule(id, c)
	dst = wsproto.AppendHello(dst, name, millis(c.window()), int(s.cfg.Heartbeat.Milliseconds()), s.cfg.MaxTopics)
	return s.feedsDown(c.served, dst)
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
	c.ping = s.now + s.jitter(s.times.ping)
	return true
}

// Closing notes that the last word to a conn was sent. Its topics are given up, and
// it is evicted with [CloseTimeout] if [Shard.Remove] does not come first.
func (s *Shard) Closing(id ConnID) {
	c := s.conn(id)
	s.releaseTopics(c)
	s.forgetBacklog(id, c)
	s.enter(c, closing)
	s.unplace(c)
	if left := s.sink.Backlog(id); left > 0 {
		s.Joined(id, left)
		s.place(id, c, s.now+drainLook)
		return
	}
	s.place(id, c, s.now+s.times.close)
}

// Remove forgets a conn whose socket is closed.
func (s *Shard) Remove(id ConnID) {
	c := s.conn(id)
	if c.state == free {
		panic("fanout: Remove of a conn that is free")
	}
	s.releaseTopics(c)
	s.forgetBacklog(id, c)
	s.unplace(c)
	s.enter(c, free)
	s.free = append(s.free, id)
}

// Drain begins to evict all conns, spread evenly over the time given. The wheel does
// it, to a second.
func (s *Shard) Drain(over time.Duration) {
	s.draining = true
	s.drainFrom = s.now
	s.drainSpan = tick(over / SlotTime)
}

// EvictAll evicts every conn at once, but for those that are on their way already.
func (s *Shard) EvictAll(r Reason) {
	for i := range s.slabs {
		for j := range s.slabs[i] {
			if st := s.slabs[i][j].state; st == opening || st == open {
				s.Evict(ConnID(i<<slabBits|j), r)
			}
		}
	}
}

// Visiting is the conn that the wheel is visiting, for the loop that recovers from a
// panic in [Shard.Tick].
func (s *Shard) Visiting() (id ConnID, ok bool) { return s.visiting, s.visited }

// Conns is how many conns there are, in whatever state.
func (s *Shard) Conns() int { return s.counts[opening] + s.counts[open] + s.counts[closing] }

// Stats returns a copy of the counters.
func (s *Shard) Stats() Stats {
	st := s.stats
	st.Opening, st.Open, st.Closing = s.counts[opening], s.counts[open], s.counts[closing]
	return st
}

func (s *Shard) conn(id ConnID) *conn { return &s.slabs[id>>slabBits][id&slabMask] }

func (s *Shard) aside(id ConnID) *aside { return &s.asides[id>>slabBits][id&slabMask] }

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

func (s *Shard) releaseTopics(c *conn) {
	for _, e := range s.sets.entries(c.topics) {
		s.table.Release(e.id(), s.clock)
	}
	s.sets.release(&c.topics)
}

// Evict ends a conn through the sink, counts why, and keeps what is known of it for
// [Shard.Evictions].
func (s *Shard) Evict(id ConnID, r Reason) {
	s.stats.Evicted[r]++
	s.note(id, r)
	s.sink.Evict(id, r)
}

// visit looks after one conn whose time has come. The next visit is scheduled first,
// as the conn may be gone after any call of the sink.
func (s *Shard) visit(id ConnID, c *conn) {
	s.stats.Count[Visits]++
	switch c.state {
	case opening:
		s.place(id, c, s.now+s.times.handshake)
		s.Evict(id, HandshakeTimeout)
		return
	case closing:
		s.visitClosing(id, c)
		return
	}
	flush := !c.flush.after(s.now)
	s.schedule(id, c)
	if s.draining && !s.drainAt(id).after(s.now) {
		s.Evict(id, Drain)
		return
	}
	if s.times.age > 0 && s.now-c.since >= s.ageAt(id) {
		s.Evict(id, MaxAge)
		return
	}
	left := s.sink.Backlog(id)
	if c.flags&backlogged != 0 || left > 0 {
		s.progress(id, c, left)
	}
	// Who takes bytes is alive, and its pong may be behind more of them.
	if c.flags&pinged != 0 && s.now-c.ping >= s.times.pong && s.now-c.backlog >= s.times.pong {
		s.Evict(id, NoPong)
		return
	}
	if left > 0 {
		s.visitBacklogged(id, c, flush)
		return
	}
	if c.topics.n == 0 && s.now-s.aside(id).bare >= s.times.idle {
		s.Evict(id, Idle)
		return
	}

	out := s.scratch[:0]
	if c.flags&marked != 0 {
		out = s.snapshot(id, c, out)
	}
	if flush && c.pace != 0 && c.flags&passing == 0 {
		out = s.keepPace(id, c, out)
	}
	if flush || c.flags&passing != 0 || s.table.Notice() > c.served {
		out = s.deliver(id, c, s.table.Watermark(), flush, out)
	}
	if len(out) == 0 && s.now-c.sent >= s.times.heartbeat {
		out = s.heartbeat(out)
	}
	if len(out) > 0 {
		c.sent = s.now // A ping does not count: a browser's JavaScript can't see it.
	}
	if s.pingDue(c) {
		out = wsproto.AppendPing(out)
		s.stats.Count[Pings]++
	}
	if c.flags&(passing|owing) != 0 {
		s.stats.Count[Pieces]++
		s.sooner(id, c, s.now+1)
	}
	s.scratch = out[:0]
	if len(out) > 0 {
		s.written += len(out)
		s.sink.Write(id, out)
	}
}

// sooner has a conn visited at due, if that is before its next visit.
func (s *Shard) sooner(id ConnID, c *conn, due tick) {
	if c.due.after(due) {
		s.unplace(c)
		s.place(id, c, due)
	}
}

// pingDue reports whether a ping is to be sent now, and awaits its pong then. A
// client that was heard lately needs none.
func (s *Shard) pingDue(c *conn) bool {
	if c.flags&pinged != 0 || c.ping.after(s.now) {
		return false
	}
	if s.now-c.heard < s.times.ping/2 {
		c.ping = c.heard + s.jitter(s.times.ping)
		return false
	}
	c.flags |= pinged
	c.ping = s.now
	return true
}

// drainAt spreads the conns over the time of the drain by their ids.
func (s *Shard) drainAt(id ConnID) tick {
	return s.drainFrom + tick(uint64(uint32(id)*golden)*uint64(s.drainSpan)>>32)
}

// ageAt is the age at which a conn is too old: MaxAge ±25 %, spread evenly by the ids,
// so that conns that came together do not go together.
func (s *Shard) ageAt(id ConnID) tick {
	t := s.times.age
	return t - t/4 + tick(uint64(uint32(id)*golden)*uint64(t/2)>>32)
}

// jitter returns t ±25 %.
func (s *Shard) jitter(t tick) tick {
	return t - t/4 + tick(s.rng.Uint32N(uint32(t/2)+1))
}
