// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// program is a run of steps on a shard, checked against clients at every step.
type program struct {
	*world
	cfg      Config
	names    []string
	clients  []*client
	byID     map[ConnID]*client
	next     int // The next value that is published: each of them is another.
	trace    strings.Builder
	draining bool
	steps    int
	notice   uint64 // As it was found last,
	noticed  int    // and the step in which it was first.
	sent     Stats  // What came out of the sink, to compare with the shard's own stats.
	order    int    // Counts commits and writes.
}

const (
	programConns = 24
	programStep  = 3 // Bytes: operation, conn or topic, argument.
	programOps   = 26
)

var programWindows = []int{0, 100, 333, 500, 1000, 2000, 60000}

// runProgram reads triples of bytes.
func runProgram(t testing.TB, code []byte) {
	cfg := testConfig()
	cfg.MaxTopics = 6
	cfg.PingInterval, cfg.PongTimeout = 8*time.Second, 4*time.Second
	cfg.IdleTimeout, cfg.Heartbeat = 20*time.Second, 3*time.Second
	cfg.MaxAge = 150 * time.Second
	cfg.CommandRate, cfg.CommandBurst = 3, 10
	cfg.SubscribeRate, cfg.SubscribeBurst = 1, 6
	age := time.Duration(0)
	if len(code)%2 == 1 {
		age = wrapAge
	}
	p := &program{cfg: cfg, byID: make(map[ConnID]*client)}
	p.world = newWorldOf(t, cfg, topics.Config{Max: 10, StaleAfter: 3 * time.Second}, age)
	p.table.SetSources([]string{"T1*", ""})
	if len(code)/2%2 == 1 {
		p.shard.piece = 100 // Two rows of a frame, and one that is alone if it has ticked for long.
	}
	for i := range 12 { // More than fit into the table and into a conn's set.
		p.names = append(p.names, fmt.Sprintf("T%d", i))
	}
	p.hold(p.names[:4]...) // These keep their rows and their counts.
	for _, name := range p.names[:4] {
		p.publish(name, -1)
	}
	p.sink.onFrames = p.receive
	p.sink.onLost = func(frames []byte) {
		for _, m := range decode(t, frames) {
			p.count(m)
		}
	}
	p.sink.onVisit = func(id ConnID) {
		p.byID[id].visited(p.now, p.sink.peer(id).backlog, &cfg)
		p.byID[id].visit = p.steps
		if !p.shard.conn(id).More() {
			p.byID[id].whole = p.steps
		}
	}
	p.sink.onJoin = func(id ConnID, n int) { p.byID[id].joined(p.now, n) }
	p.sink.onClose = func(id ConnID) { p.byID[id].closed(p.now, p.sink.peer(id).backlog) }
	p.sink.onEvict = p.evicted
	for ; len(code) >= programStep; code = code[programStep:] {
		p.step(code[0], code[1], code[2])
		p.compare()
	}
	p.settle()
}

func (p *program) step(op, which, arg byte) {
	p.steps++
	name := p.names[int(which)%len(p.names)]
	meta := topics.Meta{At: p.now.UnixMilli()}
	switch op % programOps {
	case 0, 1:
		p.join(int(arg))
	case 2, 3, 4:
		p.topicCommand(p.pick(which), protocol.OpSubscribe, arg)
	case 5:
		p.topicCommand(p.pick(which), protocol.OpUnsubscribe, arg)
	case 6, 7, 8:
		done := p.table.Publish(name, fmt.Sprint(p.next), meta) == topics.Committed
		p.logf("publish %s %d = %v", name, p.next, done)
		if p.next++; done {
			p.committed(name)
		}
	case 9:
		if mark, ok := p.table.Mark(name); ok {
			done := p.table.Repair(name, fmt.Sprint(p.next), mark, meta) == topics.Committed
			p.logf("repair %s %d = %v", name, p.next, done)
			if p.next++; done {
				p.committed(name)
			}
		}
	case 10, 11, 12:
		p.wait(SlotTime * time.Duration(arg%64))
	case 13:
		p.wait(time.Duration(arg) * time.Duration(arg) * time.Millisecond / 4) // Up to 16 s in one go.
	case 14:
		p.block(p.pick(which), arg)
	case 15, 16:
		if c := p.pick(which); c != nil {
			p.drained(c)
			p.hear(c)
		}
	case 17:
		p.leave(p.pick(which), arg)
	case 18:
		if c := p.pick(which); c != nil {
			ms, before := programWindows[1+int(arg)%(len(programWindows)-1)], c.own
			p.logf("conn %d: interval %d", c.id, ms)
			c.own = rounded(ms)
			if !p.answer(c, &protocol.Command{Op: protocol.OpInterval, MS: ms}, nil) {
				c.own = before
			}
		}
	case 19:
		p.table.Sweep(p.now)
		p.table.Changes(0, nil, all)
		if arg == 255 && !p.draining {
			p.logf("drain")
			p.draining = true
			p.shard.Drain(5 * time.Second)
		}
	case 20:
		p.logf("watch")
		p.table.Watch(p.now.UnixMilli())
	case 21:
		p.logf("feed %d is up: %v", which%2, arg%2 == 0)
		p.table.SetSourceState(int(which%2), arg%2 == 0, p.now.UnixMilli())
	case 22:
		c := p.pick(which)
		for i := 0; c != nil && i < int(arg)%32 && !c.left && c.closing.IsZero(); i++ {
			p.logf("conn %d: ping", c.id)
			p.answer(c, &protocol.Command{Op: protocol.OpPing}, nil)
		}
	case 23: // Another loop's conn wants a topic that never had a value, or has had enough of it.
		p.others(fmt.Sprint("OTHER", which%4), guard.Prefix(arg%5))
	case 24:
		p.logf("the feed comes by")
		p.table.Changes(0, nil, int(arg%8))
	case 25:
		if mark, ok := p.table.Mark(name); ok {
			p.logf("%s is refused for %d", name, 1+arg%3)
			was := p.staleCode(name)
			p.table.GoStale(name, mark, topics.Why(1+arg%3))
			for _, c := range p.clients {
				if v := c.topics[name]; v != nil && p.staleCode(name) != was {
					v.other = true
				}
			}
		}
	}
}

// others is what conns of other loops do to the table: they take room, or give it back.
func (p *program) others(name string, by guard.Prefix) {
	if id, ok := p.holds[name]; ok {
		p.logf("others leave %s", name)
		p.table.Release(id, p.now)
		delete(p.holds, name)
		return
	}
	id, err := p.table.Acquire([]byte(name), uint64(by))
	p.logf("others subscribe %s: %v", name, err)
	if err == nil {
		p.holds[name] = id
	}
}

// join makes a conn, half of the time an open one.
func (p *program) join(arg int) {
	if p.shard.Conns() == programConns {
		return
	}
	c := &client{id: p.shard.Add(), topics: make(map[string]*view), added: p.now}
	if p.byID[c.id] != nil {
		p.fatalf("conn %d is there already", c.id)
	}
	p.logf("conn %d is added", c.id)
	p.byID[c.id] = c
	p.clients = append(p.clients, c)
	p.sink.peer(c.id).reset()
	p.sink.peer(c.id).source = guard.Prefix(c.id % 3)
	if arg%8 > 0 {
		p.open(c, programWindows[arg/8%len(programWindows)])
	}
}

func (p *program) open(c *client, ms int) {
	p.logf("conn %d is open, interval %d", c.id, ms)
	c.open, c.opened, c.heard, c.unsubscribed = true, p.now, p.now, p.now
	c.own = rounded(cmp.Or(ms, int(p.cfg.Interval.Milliseconds())))
	c.commands, c.subscribes = usage{at: p.now}, usage{at: p.now}
	c.feeds = [2]feedView{{up: true}, {up: true}} // Unless it is told something else.
	p.sink.deliver(c.id, p.shard.Open(c.id, WebSocket, uint32(c.id), ms, nil))
}

// rounded is the window that is given to who asks for ms.
func rounded(ms int) int { return (ms + 2) / 5 * 5 }

// pick returns an open client, or nil. One that awaits its handshake gets it.
func (p *program) pick(which byte) *client {
	var there []*client
	for _, c := range p.clients {
		if !c.left && c.closing.IsZero() {
			there = append(there, c)
		}
	}
	if len(there) == 0 {
		return nil
	}
	c := there[int(which)%len(there)]
	if !c.open {
		p.open(c, 0)
	}
	return c
}

// topicCommand sends up to four topics, some of which may be the same or no topic.
func (p *program) topicCommand(c *client, op protocol.Op, arg byte) {
	if c == nil {
		return
	}
	var names []string
	early := make(map[string]bool)
	for i := range 1 + int(arg)%4 {
		name := p.names[(int(arg)/4+i*5)%len(p.names)]
		if arg == 77 {
			name = "bad name"
		}
		id, ok := p.table.Find([]byte(name))
		early[name] = ok && p.table.Seq(id) > 0
		names = append(names, name)
	}
	p.logf("conn %d: %s %v", c.id, op, names)
	p.answer(c, &protocol.Command{Op: op, Topics: byteNames(names)}, &pending{op, names, early})
}

// answer carries out a command and gives the client what comes of it. It reports
// whether the command was not refused.
func (p *program) answer(c *client, cmd *protocol.Command, waits *pending) bool {
	c.pending, c.refused = waits, false
	before, used := p.shard.stats.Count[CommandsRefused], c.commands.take(p.now, p.cfg.CommandRate)
	out, why := p.carryOut(c.id, cmd)
	tooMany := why == CommandRate
	p.sink.deliver(c.id, out)
	burst := float64(p.cfg.CommandBurst)
	switch {
	case c.pending != nil:
		p.fatalf("conn %d got no ack", c.id)
	case c.refused != (p.shard.stats.Count[CommandsRefused] > before):
		p.fatalf("conn %d: refused is %v, the stats say something else", c.id, c.refused)
	case c.refused && used < burst-rounding || !c.refused && used > burst+rounding:
		p.fatalf("conn %d has used %.2f commands of %v and is refused: %v", c.id, used, burst, c.refused)
	case tooMany && used < 3*burst-rounding || !tooMany && used > 3*burst+rounding:
		p.fatalf("conn %d has used %.2f commands of %v and is too fast: %v", c.id, used, burst, tooMany)
	case tooMany:
		p.shard.Evict(c.id, CommandRate)
	}
	return !c.refused
}

func (p *program) wait(d time.Duration) {
	p.logf("wait %v", d)
	p.tick(d)
}

// block fills a client's socket, or has the next write do it or fail.
func (p *program) block(c *client, arg byte) {
	if c == nil {
		return
	}
	p.logf("conn %d: block %d", c.id, arg%4)
	peer := p.sink.peer(c.id)
	switch arg % 4 {
	case 0:
		peer.broken = true
	case 1:
		peer.clogged = true
	case 2:
		p.sink.pile(c.id, int(arg))
	case 3:
		peer.takes = 1 + int(arg)/16 // 200 to 3,200 bytes a second; Config.SlowRate is 1,000.
	}
}

func (p *program) drained(c *client) {
	p.logf("conn %d is drained", c.id)
	peer := p.sink.peer(c.id)
	peer.backlog, peer.clogged, peer.takes = 0, false, 0
}

func (p *program) hear(c *client) {
	c.heard = p.now
	p.shard.Heard(c.id)
}

func (p *program) leave(c *client, arg byte) {
	if c == nil {
		return
	}
	p.logf("conn %d leaves: %d", c.id, arg%4)
	switch arg % 4 {
	case 0:
		p.sink.peer(c.id).gone = true // When it is evicted.
	case 1:
		p.shard.Closing(c.id)
		c.closed(p.now, p.sink.peer(c.id).backlog)
	default:
		p.shard.Remove(c.id)
		c.left = true
		delete(p.byID, c.id)
	}
}

// settle lets everything drain and holds the shard to its promise: no update is lost.
func (p *program) settle() {
	p.logf("settle")
	p.steps++
	p.table.Changes(0, nil, all) // Whoever has lost a topic is told.
	for i := range 70 {          // Longer than the longest window.
		for _, c := range p.clients {
			if !c.left && c.open && c.closing.IsZero() {
				p.sink.peer(c.id).broken = false
				p.drained(c)
				p.hear(c)
			}
		}
		p.tick(time.Second)
		if i == 30 {
			p.table.Watch(p.now.UnixMilli())
		}
		if i%10 == 0 {
			p.steps++
			p.compare()
		}
	}
	p.compare()
	for _, c := range p.clients {
		if c.left || !c.open || !c.closing.IsZero() {
			continue
		}
		for name, v := range c.topics {
			if p.table.Withdrawn(v.id) {
				p.fatalf("conn %d was not told that %s was withdrawn", c.id, name)
			}
			if raw := p.newest(name); v.raw != raw {
				p.fatalf("conn %d has %q of %s, the newest is %q", c.id, v.raw, name, raw)
			}
			if v.stale != p.stale(name) || v.stale && v.code != p.staleCode(name) {
				p.fatalf("conn %d takes %s for stale: %v, with code %d", c.id, name, v.stale, v.code)
			}
		}
		if c.window != c.own { // The way down takes 36 s with a window of 2 s.
			p.fatalf("conn %d has a window of %d ms and asked for %d", c.id, c.window, c.own)
		}
	}
	if p.draining && p.shard.counts[open] > 0 {
		p.fatalf("%d conns are open after the drain", p.shard.counts[open])
	}
	for id := range p.byID {
		p.shard.Remove(id)
	}
	p.check()
}

// stale is whether a topic is stale, as the table has it.
func (p *program) stale(name string) bool {
	id, ok := p.table.Find([]byte(name))
	return ok && p.table.Stale(id) > 0
}

// staleCode is what clients are told of that.
func (p *program) staleCode(name string) int {
	id, _ := p.table.Find([]byte(name))
	_, why := p.table.StaleFor(id)
	return staleFor[why].code
}

// newest is the newest row of a topic as the table has it.
func (p *program) newest(name string) string {
	id, ok := p.table.Find([]byte(name))
	if !ok || p.table.Row(id) == nil {
		return ""
	}
	return string(p.table.Row(id).JSON())
}

// compare looks at the shard from inside and at its counts from outside.
func (p *program) compare() {
	p.check()
	if n := p.table.Notice(); n != p.notice {
		p.notice, p.noticed = n, p.steps
	}
	// What went away without our doing: a failed write has removed it.
	for id, c := range p.byID {
		switch st := p.shard.conn(id).state; {
		case st == free:
			c.left = true
			delete(p.byID, id)
		case (st == open) != (c.open && c.closing.IsZero()):
			p.fatalf("conn %d is in state %d", id, st)
		}
		st := p.shard.conn(id)
		if st.state != open {
			continue
		}
		switch {
		case int(st.topics.n) != len(c.topics):
			p.fatalf("conn %d has %d topics, want %d", id, st.topics.n, len(c.topics))
		case st.pace&untold == 0 && c.window != millis(st.window()):
			p.fatalf("conn %d was told a window of %d ms, it has %d", id, c.window, millis(st.window()))
		case c.mustGo:
			p.fatalf("conn %d has a backlog since %v and is not evicted", id, p.now.Sub(c.blocked))
		case p.now.Sub(c.opened) > p.cfg.MaxAge*5/4+time.Second+SlotTime:
			p.fatalf("conn %d is open since %v", id, p.now.Sub(c.opened))
		}
		if c.blocked.IsZero() && c.visit > p.noticed {
			p.compareNews(c)
		}
	}
	st := p.shard.Stats()
	var got Stats
	for _, c := range []Counter{Snapshots, Flushes, SnapshotRows, UpdateRows, Pings, Heartbeats, FeedsTold, StaleTold, Withdrawn} {
		got.Count[c] = st.Count[c]
	}
	if got != p.sent {
		p.fatalf("stats are %+v, what was sent is %+v", got, p.sent)
	}
	if st.Evicted != p.sink.evicted {
		p.fatalf("evictions are %v, want %v", st.Evicted, p.sink.evicted)
	}
}

// compareNews looks at what a conn knows that was visited after the last of the news, and
// had no backlog.
func (p *program) compareNews(c *client) {
	for i := range c.feeds {
		if up := p.table.SourceState(i).Up; c.feeds[i].up != up {
			p.fatalf("conn %d takes source %d for up: %v", c.id, i, c.feeds[i].up)
		}
	}
	if c.whole <= p.noticed || p.shard.conn(c.id).More() {
		return // It is told of each topic behind its row.
	}
	for name, v := range c.topics {
		if c.whole > v.subscribed && p.stale(name) && !v.stale && !p.table.Withdrawn(v.id) {
			p.fatalf("conn %d does not know that %s is stale", c.id, name)
		}
	}
}

func (p *program) logf(format string, args ...any) {
	fmt.Fprintf(&p.trace, "%.3f ", p.now.Sub(epoch).Seconds())
	fmt.Fprintf(&p.trace, format+"\n", args...)
}

func (p *program) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("after\n%s%s", &p.trace, fmt.Sprintf(format, args...))
}
