// SPDX-License-Identifier: Apache-2.0

package fanout

import "testing"

// check fails the test unless all invariants of a shard hold. It is not called while
// the shard works. outside is how many subscriptions the table has beside the shard's,
// -1 if that is not known.
func check(t testing.TB, s *Shard, outside int64) {
	t.Helper()
	if s.Conns() > 0 && s.wheel.turned.after(s.now) { // Of an empty wheel it means nothing.
		t.Fatalf("the wheel is at %d, ahead of the time %d", s.wheel.turned, s.now)
	}
	checkWheel(t, s)
	checkStates(t, s)
	checkSets(t, s)
	var held, backlog int64
	erred := 0
	for id := range ConnID(len(s.slabs) << slabBits) {
		c := s.conn(id)
		held += int64(c.topics.n)
		if c.flags&backlogged != 0 {
			backlog += int64(s.aside(id).left)
		}
		if c.state == free {
			continue
		}
		if _, ok := s.mistakes[id]; ok != c.erred {
			t.Fatalf("conn %d has erred: %v, and is kept as one: %v", id, c.erred, ok)
		} else if ok {
			erred++
		}
		checkConn(t, s, id, c)
		checkTopics(t, s, id, c)
	}
	if erred != len(s.mistakes) {
		t.Fatalf("%d conns have erred, %d are kept", erred, len(s.mistakes))
	}
	// No test has more than one shard with these.
	if backlog != s.backlog || backlog != s.backlogs.Bytes() {
		t.Fatalf("the backlogs come to %d bytes, the shard says %d, of %d in all", backlog, s.backlog, s.backlogs.Bytes())
	}
	if outside >= 0 && s.table.Subscriptions() != held+outside {
		t.Fatalf("conns hold %d topics and others %d, the table says %d", held, outside, s.table.Subscriptions())
	}
}

// checkWheel: every conn is in the wheel once, where it says it is, and nobody else.
func checkWheel(t testing.TB, s *Shard) {
	t.Helper()
	found := 0
	for i, slot := range s.wheel.slots {
		for pos, id := range slot {
			c := s.conn(id)
			switch {
			case c.state == free:
				t.Fatalf("slot %d holds conn %d, which is free", i, id)
			case c.pos != uint32(pos) || c.due%wheelSize != beat(i):
				t.Fatalf("slot %d holds conn %d at %d, which is due at %d (slot %d) at %d", i, id, pos, c.due, c.due%wheelSize, c.pos)
			}
			found++
		}
	}
	// With every conn's own place checked above, a conn cannot be found twice.
	if found != s.Conns() {
		t.Fatalf("the wheel holds %d conns of %d", found, s.Conns())
	}
}

// checkStates: the counts are right, and a conn is free or in the free list, not both.
func checkStates(t testing.TB, s *Shard) {
	t.Helper()
	var counts [5]int
	for i := range s.slabs {
		for j := range s.slabs[i] {
			c := &s.slabs[i][j]
			counts[c.state]++
			if c.state == free && (c.pos != nowhere && *c != (conn{}) || c.topics != (span{})) {
				t.Fatalf("the free conn %d holds %+v", i<<slabBits|j, *c)
			}
		}
	}
	listed := make(map[ConnID]bool)
	for _, id := range s.free {
		if listed[id] || s.conn(id).state != free {
			t.Fatalf("conn %d is listed as free and is in state %d, twice: %v", id, s.conn(id).state, listed[id])
		}
		listed[id] = true
	}
	if len(listed) != counts[free] {
		t.Fatalf("%d conns are free, %d are listed", counts[free], len(listed))
	}
	counts[free] = 0
	if counts != s.counts {
		t.Fatalf("conns by state: %v, counted %v", counts, s.counts)
	}
}

// checkSets: every block that was ever handed out belongs to one conn or is free.
func checkSets(t testing.TB, s *Shard) {
	t.Helper()
	var owned [len(blockSizes)]map[uint32]bool
	take := func(class uint8, block uint32, who string) {
		if owned[class] == nil {
			owned[class] = make(map[uint32]bool)
		}
		if owned[class][block] || block >= s.sets.classes[class].used {
			t.Fatalf("block %d of class %d (%d used) is taken twice or never handed out: %s",
				block, class, s.sets.classes[class].used, who)
		}
		owned[class][block] = true
	}
	for id := range ConnID(len(s.slabs) << slabBits) {
		sp := s.conn(id).topics
		sp.pending = 0
		if sp.n == 0 {
			if sp != (span{}) {
				t.Fatalf("conn %d has no topics and the span %+v", id, sp)
			}
			continue
		}
		if int(sp.n) > blockSizes[sp.class] {
			t.Fatalf("conn %d has %d topics in a block of %d", id, sp.n, blockSizes[sp.class])
		}
		take(sp.class, sp.block, "a conn")
	}
	for class := range s.sets.classes {
		c := &s.sets.classes[class]
		for _, block := range c.free {
			take(uint8(class), block, "free")
		}
		if len(owned[class]) != int(c.used) {
			t.Fatalf("class %d: %d blocks were handed out, %d are known", class, c.used, len(owned[class]))
		}
		if room := len(c.chunks) * int(perChunk(blockSizes[class])); int(c.used) > room {
			t.Fatalf("class %d: %d blocks used of %d", class, c.used, room)
		}
	}
}

// checkConn: the times of a conn fit its state and each other.
func checkConn(t testing.TB, s *Shard, id ConnID, c *conn) {
	t.Helper()
	wait := map[state]beat{opening: s.times.handshake, open: lookAfter, closing: s.times.close, asking: lookAfter}[c.state]
	through := s.wheel.turned == s.now // The last Tick came to its end, at the present.
	switch {
	case c.due.after(s.now + wait):
		t.Fatalf("conn %d in state %d is due in %d ticks", id, c.state, c.due-s.now)
	case through && !c.due.after(s.now):
		t.Fatalf("conn %d in state %d was due %d ticks ago", id, c.state, s.now-c.due)
	case c.since.after(s.now):
		t.Fatalf("conn %d is in its state since %d, now is %d", id, c.since, s.now)
	}
	if c.state == asking {
		if c.pace != 0 || c.due.after(c.flush) {
			t.Fatalf("conn %d asks, with pace %b, and is due at %d, after %d", id, c.pace, c.due, c.flush)
		}
		return
	}
	if c.state != open {
		// A conn in closing may still have our last word in its backlog.
		if c.topics != (span{}) || c.flags != 0 && (c.state != closing || c.flags != backlogged) || c.pace != 0 {
			t.Fatalf("conn %d in state %d has the topics %+v, flags %b and pace %b", id, c.state, c.topics, c.flags, c.pace)
		}
		return
	}
	switch {
	case c.interval == 0 || c.flush.after(s.now+c.window()):
		t.Fatalf("conn %d flushes in %d ticks, its window is %d", id, c.flush-s.now, c.window())
	case c.pace/smooth >= recoverAfter || c.pace.step() == 0 && c.pace >= smooth || c.pace&stuck != 0 && c.pace >= smooth:
		t.Fatalf("conn %d has the pace %b", id, c.pace)
	case c.due.after(c.flush):
		t.Fatalf("conn %d is due at %d, after its flush at %d", id, c.due, c.flush)
	case s.aside(id).bare.after(s.now) || c.since.after(s.aside(id).bare):
		t.Fatalf("conn %d is open since %d, without topics since %d, now %d", id, c.since, s.aside(id).bare, s.now)
	case c.heard.after(s.now) || c.sent.after(s.now):
		t.Fatalf("conn %d: heard %d, sent %d, now %d", id, c.heard, c.sent, s.now)
	case c.flags&pinged != 0 && (c.ping.after(s.now) || c.heard.after(c.ping)):
		t.Fatalf("conn %d awaits a pong of %d, heard %d, now %d", id, c.ping, c.heard, s.now)
	case c.backlog.after(s.now):
		t.Fatalf("conn %d has a backlog since %d, now %d", id, c.backlog, s.now)
	case c.More() && through && c.flags&backlogged == 0 && c.due.after(s.now+1):
		t.Fatalf("conn %d has more to get, and is due in %d ticks", id, c.due-s.now)
	case c.served > s.table.Watermark():
		t.Fatalf("conn %d was served to %d, the watermark is %d", id, c.served, s.table.Watermark())
	}
}

// checkTopics: a conn has each topic once, and its marks are true.
func checkTopics(t testing.TB, s *Shard, id ConnID, c *conn) {
	t.Helper()
	if int(c.topics.n) > s.cfg.MaxTopics {
		t.Fatalf("conn %d has %d topics", id, c.topics.n)
	}
	list := s.sets.entries(c.topics)
	at, upto := 0, c.served
	if c.topics.pending&passing != 0 {
		at, upto = int(s.aside(id).at), s.aside(id).upto
	}
	if at > len(list) || upto < c.served || upto > s.table.Watermark() {
		t.Fatalf("conn %d: a pass at %d of %d topics, served %d, upto %d, watermark %d", id, at, len(list), c.served, upto, s.table.Watermark())
	}
	for i, e := range list {
		for _, other := range list[:i] {
			if other.id() == e.id() {
				t.Fatalf("conn %d has topic %d twice", id, e.id())
			}
		}
		switch {
		case e.mark() != plain && c.topics.pending&marked == 0:
			t.Fatalf("conn %d is not flagged and topic %d has mark %d", id, e.id(), e.mark()>>30)
		case e.mark() == snapped && (c.snapped < c.served || c.snapped > s.table.Watermark()):
			t.Fatalf("conn %d: served %d, snapped %d, watermark %d", id, c.served, c.snapped, s.table.Watermark())
		case e.mark() == snapped && i < at && c.snapped < upto:
			t.Fatalf("conn %d: entry %d of a pass at %d is snapped to %d, and the others are to %d", id, i, at, c.snapped, upto)
		case e.mark() == owed && s.table.Seq(e.id()) == 0:
			t.Fatalf("conn %d is owed a snapshot of topic %d, which has no row", id, e.id())
		}
	}
}
