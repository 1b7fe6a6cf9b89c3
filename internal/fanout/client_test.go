// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"encoding/json"
	"fmt"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// A client is a conn as its far end sees it: plain, and without a thought for how a
// shard does it.
type client struct {
	id      ConnID
	open    bool
	left    bool // The shard was told to forget it.
	told    bool // It was sent hello.
	topics  map[string]*view
	pending *pending // A command whose ack has not come.

	added, opened, heard time.Time
	unsubscribed         time.Time // When it had no topic for the last time before now.
	blocked              time.Time // Where its backlog stands in time; zero if the last visit found none.
	alive                time.Time // The same, and when the last visit was that found none any more.
	backlog              int       // As the last visit found it, and what has joined since.
	closing              time.Time

	own, window          int   // Milliseconds: what it asked for, and what it was told.
	commands, subscribes usage // Of the rates.
	unsure               bool  // What it has used of the new topics is not known.
	refused              bool  // The last command was.
	late                 bool  // A visit found a backlog as old as three quarters of SlowTimeout.
	mustGo               bool  // The last visit found one as old as all of it, after such a one.

	feeds [2]feedView // By source.
	visit int         // The step of its last visit.
	whole int         // The same of one that was not in the middle of snapshots or of a pass.
}

// feedView is what a client was told last of a source.
type feedView struct {
	up    bool
	since int64
	seq   uint64 // Of the news: down, up and down again may all be at one time.
}

// usage is how much of a rate was used, in events.
type usage struct {
	n  float64
	at time.Time
}

// rounding is what a shard's count may be off, in events.
const rounding = 0.2

// left is what is still used.
func (u *usage) left(now time.Time, rate int) float64 {
	u.n = max(0, u.n-now.Sub(u.at).Seconds()*float64(rate))
	u.at = now
	return u.n
}

func (u *usage) take(now time.Time, rate int) float64 {
	u.n = u.left(now, rate) + 1
	return u.n
}

// joined notes bytes that join the backlog.
func (c *client) joined(now time.Time, n int) {
	if c.blocked.IsZero() {
		c.blocked, c.alive = now, now
	}
	c.backlog += n
}

// visited is what a visit that has looked at the backlog makes due.
func (c *client) visited(now time.Time, backlog int, cfg *Config) {
	if backlog == 0 {
		if !c.blocked.IsZero() {
			c.alive = now
		}
		c.blocked, c.backlog, c.late, c.mustGo = time.Time{}, 0, false, false
		return
	}
	taken := time.Duration(c.backlog-backlog) * time.Second / time.Duration(cfg.SlowRate)
	c.backlog = backlog
	if c.blocked = c.blocked.Add(taken); c.blocked.After(now) {
		c.blocked = now
	}
	c.alive = c.blocked
	age := now.Sub(c.blocked) - 2*SlotTime // A shard measures in slots.
	c.mustGo = c.late && age >= cfg.SlowTimeout
	c.late = c.late || age >= cfg.SlowTimeout*3/4
}

// closed is called when it is in closing.
func (c *client) closed(now time.Time, backlog int) {
	c.closing, c.blocked, c.backlog = now, time.Time{}, 0
	if backlog > 0 {
		c.joined(now, backlog)
	}
}

// view is what a client knows of one topic.
type view struct {
	seen  bool
	n     uint64
	raw   string
	early bool // There was a row when it subscribed, so a snapshot comes first.
	stale bool
	code  int  // Why it is stale.
	other bool // That has changed since it was told.

	subscribed int       // The step.
	id         topics.ID // Which topic of that name it is.
	pending    int       // Since when it has not got the newest row; 0 if it has. In program.order.
	sent       int       // When it got its last update, the same.
}

type pending struct {
	op    protocol.Op
	names []string
	early map[string]bool // The topics that had a row then.
}

// receive is what a client makes of the frames of one write.
func (p *program) receive(id ConnID, frames []byte) {
	c := p.byID[id]
	if c == nil || c.left || !c.closing.IsZero() {
		p.fatalf("conn %d is written to and is not there", id)
	}
	updates := 0
	p.order++
	defer p.wrote(c, frames)
	for _, m := range decode(p.t, frames) {
		p.count(m)
		if !c.told && m.T != "hello" {
			p.fatalf("conn %d got %s before hello", id, m)
		}
		switch m.T {
		case "hello":
			if c.told || m.Heartbeat != 3000 || m.MaxTopics != p.cfg.MaxTopics {
				p.fatalf("conn %d got %s", id, m)
			}
			c.told, c.window = true, m.Interval
		case "ack":
			p.acked(c, m)
		case "error":
			if m.Code != protocol.ErrTooFast {
				p.fatalf("conn %d got %s", id, m)
			}
			c.pending, c.refused = nil, true
		case "pong":
		case "interval":
			up := m.Reason == "slow"
			switch {
			case updates > 0:
				p.fatalf("conn %d is told of its window behind an update: %s", id, text(p.t, frames))
			case m.MS < c.own || m.MS != c.own && m.MS != 1000 && m.MS != 2000 && m.MS != 5000:
				p.fatalf("conn %d asked for %d ms and got %s", id, c.own, m)
			case m.MS == c.window || up != (m.MS > c.window) || !up && m.Reason != "recovered":
				p.fatalf("conn %d had %d ms and got %s", id, c.window, m)
			}
			c.window = m.MS
		case "snapshot":
			p.rows(c, m)
		case "update":
			if updates++; updates > 1 {
				p.fatalf("conn %d got two updates in a write: %s", id, text(p.t, frames))
			}
			p.rows(c, m)
		case "feed":
			if updates > 0 {
				p.fatalf("conn %d is told of a feed behind an update: %s", id, text(p.t, frames))
			}
			p.feedTold(c, m)
		case "stale":
			p.staleTold(c, m)
		case "unsubscribed":
			p.withdrawnTold(c, m)
		case "heartbeat":
			if up := p.table.SourceState(0).Up && p.table.SourceState(1).Up; (m.Feed == "up") != up || m.Feed != "up" && m.Feed != "down" {
				p.fatalf("conn %d got %s, all sources are up: %v", id, m, up)
			}
		case "ping":
			if p.now.Sub(c.heard) < p.cfg.PingInterval/2 {
				p.fatalf("conn %d was heard %v ago and is pinged", id, p.now.Sub(c.heard))
			}
		default:
			p.fatalf("conn %d got %s", id, m)
		}
	}
}

// feedTold: it is true, and was not told before.
func (p *program) feedTold(c *client, m message) {
	source := 1
	if m.Topics != nil {
		source = 0
	}
	is := p.table.SourceState(source)
	feed := feedView{m.State == "up", m.Since, is.Seq}
	if feed.up != is.Up || feed.since != is.Since || feed == c.feeds[source] || source == 0 && string(m.Topics) != `"T1*"` {
		p.fatalf("conn %d was told %+v and got %s of source %d, which is %+v", c.id, c.feeds[source], m, source, *is)
	}
	c.feeds[source] = feed
}

// staleTold: each topic is its own, is stale for what is said, and was not told so before.
func (p *program) staleTold(c *client, m message) {
	var names []string
	if err := json.Unmarshal(m.Topics, &names); err != nil || len(names) == 0 || m.TS != p.now.UnixMilli() {
		p.fatalf("conn %d got %s: %v", c.id, m, err)
	}
	for _, name := range names {
		v := c.topics[name]
		if v == nil || v.stale && v.code == m.Code && !v.other || !p.stale(name) || m.Code != p.staleCode(name) {
			p.fatalf("conn %d got %s, and %s is stale: %v, for the conn %+v", c.id, m, name, p.stale(name), v)
		}
		v.stale, v.code, v.other = true, m.Code, false
	}
}

// withdrawnTold: each topic was its own and never had a row.
func (p *program) withdrawnTold(c *client, m message) {
	var names []string
	if err := json.Unmarshal(m.Topics, &names); err != nil || len(names) == 0 || m.Reason == "" {
		p.fatalf("conn %d got %s: %v", c.id, m, err)
	}
	for _, name := range names {
		if v := c.topics[name]; v == nil || v.seen {
			p.fatalf("conn %d got %s, and has of %s %+v", c.id, m, name, v)
		}
		delete(c.topics, name)
	}
	if len(c.topics) == 0 {
		c.unsubscribed = p.now
	}
}

// wrote looks at what a whole write has said: a row says that its topic is fresh, unless
// the same write says that it is not.
func (p *program) wrote(c *client, frames []byte) {
	for _, m := range decode(p.t, frames) {
		for _, r := range m.D {
			if v := c.topics[r.S]; v != nil && v.stale != p.stale(r.S) {
				p.fatalf("conn %d takes %s for stale: %v, after %s", c.id, r.S, v.stale, text(p.t, frames))
			}
		}
	}
}

// count counts what left the shard, to compare with its own counters.
func (p *program) count(m message) {
	switch m.T {
	case "snapshot":
		p.sent.Count[Snapshots]++
		p.sent.Count[SnapshotRows] += uint64(len(m.D))
	case "update":
		p.sent.Count[Flushes]++
		p.sent.Count[UpdateRows] += uint64(len(m.D))
	case "heartbeat":
		p.sent.Count[Heartbeats]++
	case "feed":
		p.sent.Count[FeedsTold]++
	case "stale":
		p.sent.Count[StaleTold]++
	case "unsubscribed":
		p.sent.Count[Withdrawn]++
	case "ping":
		p.sent.Count[Pings]++
	}
}

// acked applies what a command has changed.
func (p *program) acked(c *client, m message) {
	rejected := make(map[string]int)
	for _, r := range m.Rejected {
		var name string
		if err := json.Unmarshal(r.Topic, &name); err != nil {
			p.fatalf("conn %d is told of %s: %v", c.id, r, err)
		}
		rejected[name] = r.Code
	}
	waits := c.pending
	c.pending = nil
	if waits == nil { // An interval.
		if m.MS < c.own {
			p.fatalf("conn %d asked for %d ms and got %s", c.id, c.own, m)
		}
		c.window = m.MS
		return
	}
	for _, name := range waits.names {
		code := rejected[name]
		v, has := c.topics[name]
		id, _ := p.table.Find([]byte(name))
		switch {
		case waits.op == protocol.OpUnsubscribe:
			delete(c.topics, name)
			if has && len(c.topics) == 0 {
				c.unsubscribed = p.now
			}
		case !topics.ValidName(name):
			if code != protocol.ErrBadTopic {
				p.fatalf("%q is subscribed with %d", name, code)
			}
		case has:
			// If it gave way to another topic of this very command, and was asked for anew, that
			// may have used one of the new topics or not: it depends on what else gave way.
			if v.id != id || code != 0 {
				c.unsure = true
			}
			if p.shard.sets.find(p.shard.conn(c.id).topics, id) >= 0 {
				v.id = id
			}
		case code == protocol.ErrTooFast:
			if used := c.subscribes.left(p.now, p.cfg.SubscribeRate) + 1; used < float64(p.cfg.SubscribeBurst)-rounding && !c.unsure {
				p.fatalf("conn %d has used %.2f new topics and can't have %s", c.id, used, name)
			}
		case code != 0:
			if full := len(c.topics) == p.cfg.MaxTopics || p.table.Held() == 10; !full || code != protocol.ErrTooManyTopics {
				p.fatalf("conn %d with %d topics can't have %s: %d", c.id, len(c.topics), name, code)
			}
			if len(c.topics) < p.cfg.MaxTopics { // It was the table's fault, and counts.
				c.subscribes.take(p.now, p.cfg.SubscribeRate)
			}
		default:
			// If it lingered, it may have given way to another topic of this very command.
			early := waits.early[name] && p.table.Seq(id) > 0
			c.topics[name] = &view{early: early, subscribed: p.steps, id: id}
			if used := c.subscribes.take(p.now, p.cfg.SubscribeRate); used > float64(p.cfg.SubscribeBurst)+rounding && !c.unsure {
				p.fatalf("conn %d has used %.2f new topics", c.id, used)
			}
		}
	}
	if want := fmt.Sprint(len(c.topics)); string(m.Topics) != want {
		p.fatalf("conn %d has %s topics, want %s", c.id, m.Topics, want)
	}
}

// rows takes the rows of a snapshot or an update.
func (p *program) rows(c *client, m message) {
	if len(m.D) == 0 || m.TS != p.now.UnixMilli() {
		p.fatalf("conn %d got %s of %d", c.id, m, m.TS)
	}
	inFrame := make(map[string]bool)
	for _, r := range m.D {
		v := c.topics[r.S]
		switch {
		case v == nil:
			p.fatalf("conn %d got %s, which it has not subscribed: %s", c.id, r.S, m)
		case inFrame[r.S]:
			p.fatalf("conn %d got %s twice in one frame: %s", c.id, r.S, m)
		case r.raw != p.newest(r.S):
			p.fatalf("conn %d got %s, the newest is %s", c.id, r.raw, p.newest(r.S))
		case v.seen && r.N <= v.n:
			p.fatalf("conn %d got %s after tick %d", c.id, r.raw, v.n)
		case m.T == "snapshot" && v.seen:
			p.fatalf("conn %d got a second snapshot of %s: %s", c.id, r.S, m)
		case m.T == "update" && !v.seen && (v.early || r.N == 0 && !v.stale):
			p.fatalf("conn %d got %s as an update, without a snapshot: %s", c.id, r.S, m)
		case m.T == "snapshot" && !v.early && r.N > 0:
			p.fatalf("conn %d got the first tick of %s as a snapshot: %s", c.id, r.S, m)
		}
		if m.T == "update" {
			p.fair(c, r.S)
			v.sent = p.order
		}
		inFrame[r.S] = true
		v.seen, v.n, v.raw, v.stale, v.pending = true, r.N, r.raw, false, 0
	}
}

// evicted holds an eviction to its reason: it must not come early.
func (p *program) evicted(id ConnID, r Reason) {
	c := p.byID[id]
	if c == nil || c.left {
		p.fatalf("conn %d is evicted and is not there", id)
	}
	p.logf("conn %d is evicted: %s", id, r)
	var since time.Time
	var limit time.Duration
	ok := c.open && c.closing.IsZero()
	switch r {
	case HandshakeTimeout:
		ok, since, limit = !c.open, c.added, p.cfg.HandshakeTimeout
	case SlowConsumer:
		since, limit = c.blocked, p.cfg.SlowTimeout-2*SlotTime
		ok = ok && p.shard.conn(id).pace.step() == lastStep
		if !c.closing.IsZero() { // It does not take our last word.
			ok = true
		}
	case NoPong:
		ok = ok && p.now.Sub(c.alive) >= p.cfg.PongTimeout-2*SlotTime
		since, limit = c.heard, p.cfg.PingInterval/2+p.cfg.PongTimeout
	case Idle:
		ok = ok && len(c.topics) == 0
		since, limit = c.unsubscribed, p.cfg.IdleTimeout
	case CloseTimeout:
		ok, since, limit = !c.closing.IsZero(), c.closing, p.cfg.CloseTimeout
	case Drain:
		ok, since = p.draining, p.now
	case MaxAge:
		since, limit = c.opened, p.cfg.MaxAge*3/4
	case CommandRate:
		ok, since = ok && c.refused, p.now
	default:
		ok = false
	}
	if !ok || since.IsZero() || p.now.Sub(since) < limit-SlotTime {
		p.fatalf("conn %d is evicted early: %s, after %v", id, r, p.now.Sub(since))
	}
	if p.sink.peer(id).gone || r.Hard() || !c.open || !c.closing.IsZero() {
		c.left = true
		delete(p.byID, id)
	}
}

// fair holds the shard to the order of its passes: no topic is sent again while another
// waits that has waited since before it was sent the last time.
func (p *program) fair(c *client, name string) {
	for other, v := range c.topics {
		if v.pending > 0 && v.pending < c.topics[name].sent && other != name {
			p.fatalf("conn %d gets %s again, and %s waits for longer", c.id, name, other)
		}
	}
}

// committed notes that a topic has a new row, which its clients have not got.
func (p *program) committed(name string) {
	p.order++
	for _, c := range p.byID {
		if v := c.topics[name]; v != nil && v.pending == 0 {
			v.pending = p.order
		}
	}
}
