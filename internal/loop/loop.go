// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/panics"
	"tickedge/internal/protocol"
)

const (
	// A slab of 1,024 conns is 64 KB and stands in pages of its own. Go rounds a smaller
	// object with pointers in it up to its next class of sizes: with 256 conns, by 8 bytes
	// for each.
	slabBits = 10
	slabMask = 1<<slabBits - 1

	// publishEvery is how old the figures of [Server.Stats] may be.
	publishEvery = 200 * time.Millisecond
)

// loop is one event loop and its conns. All fields but the engine's are owned by the event
// loop's goroutine.
type loop struct {
	engine

	shard      *fanout.Shard
	parser     *protocol.Parser
	topicsMost int // In one command, as the parser takes them.
	limits     limits
	set        *settings
	slabs      []*[1 << slabBits]conn // By fanout.ConnID.
	out        []byte                 // Scratch for what a turn of a conn writes.
	counts     counts
	away       turnedAway // Since the figures were published.
	rng        *rand.Rand
	begun      time.Time // When its time began.
	now        time.Time // Of the read that is handled.

	evicted   []Identity // Of the evictions that the shard keeps, in the same places.
	evictedAt int        // The oldest of them.

	unfinished   []unfinished // Conns that may have an incomplete message.
	unfinishedAt time.Time    // When they were looked at.

	expiries expiries // Of the conns with a token.

	shutting shutting
	asks     asks
	granted  auth.Grant // To who is being answered.
	bye      Bye        // What the conns are told that an operator ends just now.

	load Load

	published struct {
		sync.Mutex // For stats and load, which other goroutines read.
		stats      Stats
		at         time.Time
		settled    bool // Published since the last conn went.
		load       Load
	}
}

func newLoop(s *Server, index int) *loop {
	set := s.settings.Load()
	l := &loop{parser: protocol.NewParser(set.shard.MaxTopics), topicsMost: set.shard.MaxTopics, limits: s.cfg.limits, set: set, begun: time.Now()}
	l.prepare(s, index, l.turn)
	l.shutting.done = make(chan struct{})
	cfg := set.shard
	cfg.Backlogs = s.cfg.Shard.Backlogs
	cfg.Seed += uint64(index)
	l.rng = rand.New(rand.NewPCG(cfg.Seed, 1))
	l.shard = fanout.New(cfg, s.table, l, l.begun)
	return l
}

// turn does what was asked for and turns the wheel. It reports whether the wheel was
// stopped before it was through.
func (l *loop) turn() (more bool) {
	begin := time.Now()
	l.shard.At(begin)
	l.answer()
	if begin.Sub(l.unfinishedAt) >= unfinishedLook {
		l.lookAtUnfinished(begin)
	}
	l.expire(begin)
	behind := l.shard.Lag()
	more = l.turnWheel(begin)
	end := time.Now()
	if traced := l.shard.TakeTraced(); len(traced) > 0 && l.server.cfg.Traced != nil {
		l.server.cfg.Traced(traced, end)
	}
	l.counts.Turns.observe(end.Sub(begin))
	l.spend(end, behind)
	l.counts.Lag = l.shard.Lag()
	idle := l.shard.Conns() == 0
	if end.Sub(l.published.at) >= publishEvery || idle && !l.published.settled {
		l.publish(end)
		l.published.settled = idle
	}
	if idle {
		l.sleep()
	}
	return more
}

// turnWheel turns the wheel. A panic in a visit costs the conn that was visited.
func (l *loop) turnWheel(now time.Time) (more bool) {
	defer func() {
		if p := recover(); p != nil {
			more = true
			id, ok := l.shard.Visiting()
			if !ok {
				panics.Ending()
				panic(p) // The wheel itself is broken.
			}
			l.panicked(l.conn(id), p)
		}
	}()
	return l.shard.Turn(now)
}

// OnOpen admits a connection, or not.
func (l *loop) OnOpen(gc gnet.Conn) (out []byte, action gnet.Action) {
	l.counts.Loop[Accepted]++
	l.accepted(gc)
	l.adjust()
	l.published.settled = false
	verdict := l.server.admit(l.set.maxConns, l.shutting.shut)
	if verdict != admitted && !l.shutting.shut {
		l.away.client(byMax, addrOf(gc), "limit", l.set.maxConns)
	}
	if verdict == dropped {
		l.counts.refuse(503)
		// Written as is: gnet would not close the connection if its own write of
		// the bytes returned here failed.
		_, _ = gc.Write(l.unavailable().Append(l.out[:0]))
		return nil, gnet.Close
	}
	l.shard.At(time.Now())
	id := l.shard.Add()
	if int(id)>>slabBits == len(l.slabs) {
		l.slabs = append(l.slabs, new([1 << slabBits]conn))
	}
	c := l.conn(id)
	*c = conn{gc: gc, fd: int32(gc.Fd()), id: id, name: l.rng.Uint32(), refuse: verdict == refused}
	gc.SetContext(c)
	if l.server.cfg.ProxyProtocol {
		c.stage = proxied
	} else if !l.meet(c) {
		return nil, gnet.Close
	}
	return nil, gnet.None
}

// OnTraffic takes what a connection sent.
func (l *loop) OnTraffic(gc gnet.Conn) (action gnet.Action) {
	in, err := gc.Next(-1) // All there is: what is not complete is kept by us, in a limit.
	c, _ := gc.Context().(*conn)
	if err != nil || c == nil {
		return gnet.Close
	}
	defer func() {
		if p := recover(); p != nil {
			l.panicked(c, p)
			action = gnet.None
		}
	}()
	l.now = time.Now()
	l.shard.At(l.now)
	l.counts.Loop[BytesIn] += uint64(len(in))
	switch c.stage {
	case proxied:
		l.proxied(c, in)
	case handshaking:
		l.handshake(c, in)
	case talking:
		l.frames(c, in, l.out[:0])
	case streaming:
		l.stray(c)
	case asking:
		l.takeRequests(c, in)
	case leaving:
		// Our last word is said. What still comes is taken, so that the kernel does
		// not answer it with a reset that could overtake that word.
	}
	return gnet.None
}

// OnClose forgets a connection. It is called inside of whatever ended it, a failed
// write for instance.
func (l *loop) OnClose(gc gnet.Conn, err error) gnet.Action {
	c, _ := gc.Context().(*conn)
	if c == nil {
		return gnet.None // It was dropped at the door.
	}
	l.shard.At(time.Now())
	if c.cause == 0 {
		c.cause = causeOf(err)
	}
	l.counts.closed[c.cause]++
	l.logEnd(c, err)
	l.shed(c)
	l.server.guard.Leave(c.prefix)
	l.shard.Remove(c.id)
	l.server.dismiss(c.refuse)
	*c = conn{}
	return gnet.None
}

// panicked ends the conn whose handling has panicked, and nothing else.
func (l *loop) panicked(c *conn, p any) {
	l.counts.Loop[Panics]++
	f := panics.Caught(panics.Conn, p)
	l.server.cfg.Log.Error("panic while handling a connection; it was closed",
		"conn_id", connName(c.name), "error", f, "hint", panics.Hint, "stack", f.Stack)
	if c.gc == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil && c.gc != nil {
			l.drop(c) // Even saying so has panicked.
		}
	}()
	if c.stage == leaving {
		l.drop(c)
		return
	}
	l.shard.Evict(c.id, fanout.Panic)
}

func (l *loop) conn(id fanout.ConnID) *conn { return &l.slabs[id>>slabBits][id&slabMask] }
