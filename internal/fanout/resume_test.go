// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// resumeWorld is a world whose source is heard all the time.
type resumeWorld struct {
	*world
	sent map[ConnID]string
}

func newResumeWorld(t *testing.T) *resumeWorld {
	cfg := testConfig()
	cfg.PingInterval = time.Hour
	w := &resumeWorld{newWorldOf(t, cfg, topics.Config{Max: 100, StaleAfter: time.Hour, ResumeTolerance: 2 * time.Second}, 0), make(map[ConnID]string)}
	w.sink.onFrames = func(id ConnID, frames []byte) { w.sent[id] += string(frames) }
	w.stamp()
	return w
}

func (w *resumeWorld) stamp() {
	now := w.now.UnixMilli()
	w.table.Heard(0, now)
	w.table.Stamp(func() (int64, int64) { return now, now })
}

// run lets seconds pass, with a stamp in each.
func (w *resumeWorld) run(seconds int) {
	for range seconds {
		w.advance(time.Second)
		w.stamp()
	}
}

func (w *resumeWorld) subscribeSince(id ConnID, token string, names ...string) {
	w.command(id, protocol.Command{Op: protocol.OpSubscribe, Topics: byteNames(names), HasSince: true, Since: []byte(token)})
}

func (w *resumeWorld) repair(name string, value int) {
	mark, _ := w.table.Mark(name)
	w.table.Repair(name, fmt.Sprint(value), mark, topics.Meta{At: w.now.UnixMilli()})
}

// take returns what was sent to a conn since the last call: its messages' kinds and, of rows, their topics.
func (w *resumeWorld) take(id ConnID) (kinds string) {
	for _, m := range regexp.MustCompile(`"t":"([a-z]+)"|"s":"([A-Z]+)"`).FindAllStringSubmatch(w.sent[id], -1) {
		kinds += m[1] + m[2] + " "
	}
	delete(w.sent, id)
	return strings.TrimSpace(kinds)
}

var tokenIn = regexp.MustCompile(`\{"t":"resume","token":"([A-Za-z0-9_-]{20,48})"\}`)

func (w *resumeWorld) want(id ConnID, want string) {
	w.t.Helper()
	if got := w.take(id); got != want {
		w.t.Fatalf("got %q, want %q", got, want)
	}
}

func TestTokensComeToWhoAsksForThem(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A")
	w.repair("A", 1)
	w.stamp()
	id, other := w.connect(0), w.connect(0)
	w.subscribeSince(id, "", "A")
	w.subscribe(other, "A")
	if !strings.Contains(w.sent[id], `"resumed":false`) || strings.Contains(w.sent[other], "resumed") {
		t.Errorf("acks: %s and %s", w.sent[id], w.sent[other])
	}
	w.want(id, "hello ack resume snapshot A") // The row may be older than what the client has a token of.
	w.run(3)
	w.want(id, "resume") // The first one comes alone,
	for range 9 {
		w.publish("A", 2)
		w.run(1)
	}
	w.want(id, "update A update A update A resume update A update A update A update A update A resume update A") // the others with what is sent anyway, each 5 s,
	w.take(other)
	w.run(9)
	w.want(id, "") // and none for nothing,
	w.want(other, "")
	w.run(50) // but for what may become too old.
	if got := w.take(id); !strings.Contains(got, "resume") || strings.Contains(w.take(other), "resume") {
		t.Errorf("got %q", got)
	}
	w.command(id, protocol.Command{Op: protocol.OpInterval, MS: 60000})
	w.take(id)
	w.run(200)
	if got := strings.Count(w.take(id), "resume"); got < 2 || got > 4 {
		t.Errorf("%d tokens in 200 s of silence with a window of 60 s", got)
	}
}

func TestNoTokenForWhoLacksSomething(t *testing.T) {
	w := newResumeWorld(t)
	id := w.connect(0)
	w.subscribeSince(id, "", "A", "B")
	w.run(3)
	w.want(id, "hello ack") // Nobody knows yet whether there are values.
	w.repair("A", 1)
	w.run(3)
	w.want(id, "snapshot A")
	w.table.Absent("B")
	w.run(3)
	w.want(id, "resume")
	w.table.SetSourceState(0, false, 1)
	w.run(12)
	w.publish("A", 2)
	w.run(1)
	w.want(id, "feed update A resume") // That of before. There is no newer one.
	w.run(6)
	w.publish("A", 2)
	w.run(1)
	w.want(id, "update A")
	w.table.SetSourceState(0, true, 1)
	w.run(2)
	w.publish("A", 2)
	w.table.Doubt("A")
	w.run(6)
	w.want(id, "feed update A")
	w.repair("A", 3)
	w.run(2)
	w.publish("A", 4)
	w.run(1)
	w.want(id, "update A update A resume")
}

// A long update is on its way: what the token stands for has not been sent.
func TestNoTokenInAPass(t *testing.T) {
	w := newResumeWorld(t)
	w.shard.piece = 50
	w.hold("A", "B", "C")
	for _, name := range []string{"A", "B", "C"} {
		w.repair(name, 1)
	}
	id := w.connect(0)
	w.subscribeSince(id, "", "A", "B", "C")
	w.run(3)
	w.take(id)
	w.run(6)
	for _, name := range []string{"A", "B", "C"} {
		w.publish(name, 2)
	}
	w.stamp()
	w.run(1)
	if got := w.take(id); !regexp.MustCompile(`^update [A-Z] update [A-Z] update [A-Z]$`).MatchString(got) {
		t.Fatalf("got %q: a token in the middle, or no pieces", got)
	}
	w.publish("A", 3)
	w.run(1)
	w.want(id, "update A resume")
}

func TestResumedTopicsAreNotSentAgain(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A", "B", "C", "D")
	for _, name := range []string{"A", "B", "C", "D"} {
		w.repair(name, 1)
	}
	id := w.connect(0)
	w.subscribeSince(id, "", "A", "B")
	w.run(3)
	token := tokenIn.FindStringSubmatch(w.sent[id])[1]
	w.run(1)
	w.publish("B", 2)
	w.table.Watch(w.now.Add(2 * time.Hour).UnixMilli())
	w.publish("C", 2)
	w.run(1)

	id = w.connect(0)
	w.take(id)
	w.command(id, protocol.Command{Op: protocol.OpSubscribe, Topics: byteNames([]string{"A", "B", "C", "D", "E"}), HasSince: true, Since: []byte(token), Fresh: byteNames([]string{"D"})})
	if !strings.Contains(w.sent[id], `"op":"subscribe","topics":5,"resumed":true`) {
		t.Errorf("ack: %s", w.sent[id])
	}
	if stale := regexp.MustCompile(`"t":"stale","ts":\d+,"topics":\["A"\]`); !stale.MatchString(w.sent[id]) {
		t.Errorf("nothing says that A is stale: %s", w.sent[id])
	}
	w.want(id, "ack stale snapshot B C D stale")
	w.run(2)
	w.want(id, "")
	w.publish("A", 2)
	w.repair("E", 1)
	w.run(1)
	w.want(id, "snapshot E update A")
	w.subscribeSince(id, token, "A")
	w.want(id, "ack") // It has it already.
}

func TestMoreFreshTopicsThanThereCanBe(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A")
	w.repair("A", 1)
	w.stamp()
	token := w.table.Offer().Token
	id := w.connect(0)
	w.take(id)
	w.command(id, protocol.Command{Op: protocol.OpSubscribe, Topics: byteNames([]string{"A"}), HasSince: true, Since: []byte(token), Fresh: make([][]byte, w.shard.cfg.MaxTopics+1)})
	w.want(id, "ack resume snapshot A")
}

// Between a flush and its token the table may have taken a stamp.
func TestNoTokenForWhatCameBehindTheFlush(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A")
	w.repair("A", 1)
	w.stamp()
	id := w.connect(0)
	w.subscribeSince(id, "", "A")
	w.run(3)
	if c := w.shard.conn(id); !w.shard.Complete(&c.Cursor, w.table.Offer()) {
		t.Fatal("it lacks something of before its flush")
	}
	w.publish("A", 2)
	w.stamp()
	if c := w.shard.conn(id); w.shard.Complete(&c.Cursor, w.table.Offer()) {
		t.Error("it has what was published behind its flush")
	}
}

func TestResumesAreCounted(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A", "B", "C")
	w.repair("A", 1)
	w.repair("B", 1)
	w.stamp()
	token := w.table.Offer().Token
	w.repair("C", 1)
	for _, since := range []string{token, "", topics.NoToken, "x"} {
		w.subscribeSince(w.connect(0), since, "A", "B", "C")
	}
	if n := w.shard.Stats().Count; n[Resumed] != 1 || n[NotResumed] != 2 || n[RowsSpared] != 2 {
		t.Errorf("%d were resumed, %d not, and %d rows were spared", n[Resumed], n[NotResumed], n[RowsSpared])
	}
}

// On a stream a token is the id of an event, and the event is what it was.
func TestIDsOfEvents(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A")
	w.repair("A", 1)
	w.stamp()
	id, sent := w.stream(Events, "A")
	w.shard.Resumable(id)
	sent()
	w.run(3)
	if got := sent(); got != "" {
		t.Fatalf("a token comes alone: %q", got)
	}
	w.publish("A", 2)
	w.run(1)
	if got := sent(); !regexp.MustCompile(`^data: \{"t":"update".*\}\nevent: update\nid: [A-Za-z0-9_-]{1,48}\n\n$`).MatchString(got) {
		t.Fatalf("got %q", got)
	}
}

func TestTokensDoNotAllocate(t *testing.T) {
	const conns, each = 100, 10
	m := newMarket(t, steadyConfig(), 100, conns, each)
	m.table.SetSourceState(0, true, 1)
	for _, name := range m.names {
		m.table.Absent(name) // It has a row, so it is settled by the next tick.
	}
	m.publish(1)
	for _, id := range m.ids {
		m.shard.Resumable(id)
	}
	m.turns()
	stamp := func() {
		now := m.now.UnixMilli()
		m.table.Heard(0, now)
		m.table.Stamp(func() (int64, int64) { return now, now })
	}
	stamp()
	before := m.shard.Stats().Count[Tokens]
	run := func() {
		for _, id := range m.ids {
			a := m.shard.aside(id)
			a.offered, a.offeredAt = 1<<30, m.shard.now-2*offerEvery // Another one, a while ago.
			c := m.shard.conn(id)
			c.served = m.table.Watermark()
			c.sent = m.shard.now - m.shard.times.heartbeat // So that something is sent.
		}
		for range 100 {
			m.tick(SlotTime)
		}
	}
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("%v allocations for %d tokens", n, conns)
	}
	if got := m.shard.Stats().Count[Tokens] - before; got != 21*conns {
		t.Errorf("%d tokens, want %d", got, 21*conns)
	}
}

// Rows may be older than what the token stands for that a client has: it is given one that is none.
func TestTokensAreRevoked(t *testing.T) {
	const none = `"t":"resume","token":"-"`
	for _, c := range []struct {
		name    string
		prepare func(w *resumeWorld, other *resumeWorld) (token string)
		revoked bool
	}{
		{"none", func(w, _ *resumeWorld) string { return "" }, true},
		{"of this edge", func(w, _ *resumeWorld) string { return w.table.Offer().Token }, false},
		{"of this edge, in doubt", func(w, _ *resumeWorld) string { w.table.Doubt("A"); return w.table.Offer().Token }, false},
		{"of this edge, in doubt, without a row", func(w, _ *resumeWorld) string { w.table.Doubt("B"); return w.table.Offer().Token }, true},
		{"of another, of now", func(_, o *resumeWorld) string { return o.table.Offer().Token }, true},
		{"of another, of before", func(w, o *resumeWorld) string {
			token := o.table.Offer().Token
			w.run(3)
			return token
		}, false},
		{"of another, of before, in doubt", func(w, o *resumeWorld) string {
			token := o.table.Offer().Token
			w.run(3)
			w.table.Doubt("A")
			return token
		}, true},
		{"of another, of before, and the source is down", func(w, o *resumeWorld) string {
			token := o.table.Offer().Token
			w.run(3)
			w.table.SetSourceState(0, false, 1)
			return token
		}, true},
	} {
		w, other := newResumeWorld(t), newResumeWorld(t)
		w.hold("A", "B")
		w.repair("A", 1)
		w.repair("B", 1)
		w.run(10)
		other.run(10)
		id := w.connect(0)
		w.take(id)
		token := c.prepare(w, other)
		w.command(id, protocol.Command{
			Op: protocol.OpSubscribe, Topics: byteNames([]string{"A", "B", "C"}), HasSince: true, Since: []byte(token), Fresh: byteNames([]string{"B"}),
		})
		if got := strings.Contains(w.sent[id], none); got != c.revoked {
			t.Errorf("%s: revoked %v, want %v: %s", c.name, got, c.revoked, w.sent[id])
		}
	}
}

// A topic that comes later has a row that may be older than the token which the client was given.
func TestATokenIsRevokedForALaterTopic(t *testing.T) {
	w := newResumeWorld(t)
	w.hold("A", "B", "C")
	for _, name := range []string{"A", "B", "C"} {
		w.repair(name, 1)
	}
	w.run(1)
	id := w.connect(0)
	w.subscribeSince(id, w.table.Offer().Token, "A")
	w.run(3)
	w.take(id)
	w.subscribe(id, "B")
	w.want(id, "ack snapshot B")
	w.table.Doubt("C")
	w.subscribe(id, "C")
	w.want(id, "ack resume snapshot C")
	w.repair("C", 2)
	w.run(3)
	if got := w.take(id); !regexp.MustCompile(`^update C( resume)?( resume)?$`).MatchString(got) || !strings.Contains(got, "resume") {
		t.Errorf("got %q", got)
	}
}
