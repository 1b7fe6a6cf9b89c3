// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// all is more topics than any test has.
const all = math.MaxInt

// epoch is when every test begins. No test looks at a clock for its shard.
var epoch = time.Unix(1_700_000_000, 0)

// wrapAge makes the ticks of a shard wrap a quarter of a second after a test begins.
const wrapAge = (1<<32-50)*SlotTime + SlotTime/2

func testConfig() Config {
	return Config{
		Interval: 500 * time.Millisecond, Heartbeat: 20 * time.Second, PingInterval: 25 * time.Second,
		PongTimeout: 10 * time.Second, SlowTimeout: 5 * time.Second, SlowRate: 1000, IdleTimeout: 60 * time.Second,
		HandshakeTimeout: 10 * time.Second, CloseTimeout: 2 * time.Second, MaxTopics: 256, Seed: 1,
	}
}

// rows is how many rows were sent.
func (st *Stats) rows() uint64 { return st.Count[UpdateRows] + st.Count[SnapshotRows] }

// world is a shard with all that it acts on, and the time.
type world struct {
	t     testing.TB
	table *topics.Table
	shard *Shard
	sink  *fakeSink
	now   time.Time
	holds map[string]topics.ID // Topics that are held from outside of the shard.
}

// newWorld makes a shard that was started age before the test begins.
func newWorld(t testing.TB, cfg Config, tableMax int, age time.Duration) *world {
	return newWorldOf(t, cfg, topics.Config{Max: tableMax}, age)
}

// newWorldOf is the same with more said of the table. Its feed is up.
func newWorldOf(t testing.TB, cfg Config, table topics.Config, age time.Duration) *world {
	w := &world{t: t, now: epoch, holds: make(map[string]topics.ID)}
	table.Linger, table.Start = 30*time.Second, epoch
	w.table = topics.New(table)
	w.table.SetSourceState(0, true, epoch.UnixMilli())
	w.sink = &fakeSink{world: w}
	w.shard = New(cfg, w.table, w.sink, epoch.Add(-age))
	w.sink.shard = w.shard
	w.shard.At(w.now)
	return w
}

// hold makes the table keep a topic's row, as another loop's conn would.
func (w *world) hold(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if _, ok := w.holds[name]; ok {
			continue
		}
		id, err := w.table.Acquire([]byte(name), 0)
		if err != nil {
			w.t.Fatal(err)
		}
		w.holds[name] = id
	}
}

// connect makes an open conn. ms of 0 is the window of the configuration.
func (w *world) connect(ms int) ConnID {
	w.t.Helper()
	id := w.shard.Add()
	w.sink.peer(id).reset()
	w.sink.deliver(id, w.shard.Open(id, WebSocket, uint32(id), ms, nil))
	return id
}

func (w *world) command(id ConnID, cmd protocol.Command) {
	w.t.Helper()
	out, why := w.carryOut(id, &cmd)
	w.sink.deliver(id, out)
	if why != 0 {
		w.shard.Evict(id, why)
	}
}

// carryOut does with a command what a loop does. A token is a list of the topics that it
// allows, or "bad" for none that is good. Topics whose names begin with known exist.
func (w *world) carryOut(id ConnID, cmd *protocol.Command) ([]byte, Reason) {
	p := w.sink.peer(id)
	out, ok, why := w.shard.Charge(id, cmd, nil)
	if !ok {
		return out, why
	}
	rights := Rights{Existing: prefixSet("known")}
	switch {
	case cmd.Op != protocol.OpAuth:
	case string(cmd.Token) == "bad":
		rights.Refusal = &protocol.CommandError{Code: protocol.ErrToken, Reason: "bad token"}
	default:
		p.allowed = strings.Split(string(cmd.Token), ",")
	}
	rights.Allowed = nameSet(p.allowed)
	out = w.shard.Command(id, cmd, rights, out)
	if cmd.Op == protocol.OpSubscribe {
		w.shard.Answered(id, w.now, w.now)
	}
	return out, why
}

// nameSet is the topics that a token allows, nil for all. None is known to exist by them.
type nameSet []string

func (n nameSet) Allows(topic []byte) bool { return n == nil || slices.Contains(n, string(topic)) }
func (n nameSet) Names([]byte) bool        { return false }
func (n nameSet) Covers(p []byte) bool     { return n.Allows(p) }

// prefixSet is the topics that begin with it.
type prefixSet string

func (p prefixSet) Allows(topic []byte) bool { return strings.HasPrefix(string(topic), string(p)) }
func (p prefixSet) Names([]byte) bool        { return false }
func (p prefixSet) Covers(b []byte) bool     { return p.Allows(b) }

func (w *world) subscribe(id ConnID, names ...string) {
	w.t.Helper()
	w.command(id, protocol.Command{Op: protocol.OpSubscribe, Topics: byteNames(names)})
}

func (w *world) unsubscribe(id ConnID, names ...string) {
	w.t.Helper()
	w.command(id, protocol.Command{Op: protocol.OpUnsubscribe, Topics: byteNames(names)})
}

func (w *world) publish(name string, value int) {
	w.t.Helper()
	if w.table.Publish(name, strconv.Itoa(value), topics.Meta{At: w.now.UnixMilli()}) != topics.Committed {
		w.t.Fatalf("nobody wants %s", name)
	}
}

// tick moves the time and turns the wheel to it, in as many calls as that takes.
func (w *world) tick(by time.Duration) {
	w.t.Helper()
	before := w.shard.beatOf(w.now)
	w.now = w.now.Add(by)
	w.sink.pass(int(w.shard.beatOf(w.now) - before))
	for w.shard.Turn(w.now) {
	}
}

// advance turns the wheel slot by slot.
func (w *world) advance(by time.Duration) {
	w.t.Helper()
	for end := w.now.Add(by); w.now.Before(end); {
		visits := w.shard.stats.Count[Visits]
		w.tick(min(SlotTime, end.Sub(w.now)))
		if w.shard.stats.Count[Visits] != visits {
			w.check()
		}
	}
	w.check()
}

func (w *world) check() {
	w.t.Helper()
	check(w.t, w.shard, int64(len(w.holds)))
}

func byteNames(names []string) [][]byte {
	list := make([][]byte, len(names))
	for i, name := range names {
		list[i] = []byte(name)
	}
	return list
}

// fakeSink stands for a loop and its sockets. It fails the test if a conn with a
// backlog is written to.
type fakeSink struct {
	world *world
	shard *Shard
	peers []*peer // By ConnID.

	// What is done with whole frames and with evictions, if anything.
	onFrames func(id ConnID, frames []byte)
	onLost   func(frames []byte) // Those of a write that fails.
	onVisit  func(id ConnID)     // When a visit looks at the backlog.
	onJoin   func(id ConnID, n int)
	onClose  func(id ConnID) // When it is in closing.
	onEvict  func(id ConnID, r Reason)

	evicted [Reasons]uint64
}

// peer is the far end of one conn.
type peer struct {
	backlog int
	clogged bool // What is written to it stays in the backlog.
	takes   int  // Bytes that its socket takes in a tick; 0 is all.
	took    int  // Of them in this tick.
	broken  bool // The next write to it fails, and removes the conn inside of it.
	acks    bool // Its kernel acknowledges what comes.
	gone    bool // It is removed when it is evicted; otherwise a close frame is sent.
	visits  int  // Times the wheel came to look at its backlog.
	writes  int
	due     int // Times it was told that the time of a conn that asks has come.
	drained int // Times it was told that the backlog of its close has drained.

	allowed []string // The topics that its token allows; nil is all.
	source  guard.Prefix
}

func (p *peer) reset() { *p = peer{} }

func (f *fakeSink) peer(id ConnID) *peer {
	for int(id) >= len(f.peers) {
		f.peers = append(f.peers, &peer{})
	}
	return f.peers[id]
}

func (f *fakeSink) Backlog(id ConnID) int {
	p := f.peer(id)
	if f.shard.visited { // Not after a subscription.
		p.visits++
		if f.onVisit != nil {
			f.onVisit(id)
		}
	}
	return p.backlog
}

func (f *fakeSink) Due(id ConnID) { f.peer(id).due++ }

func (f *fakeSink) Acked(id ConnID, _ time.Duration) bool { return f.peer(id).acks }

func (f *fakeSink) Write(id ConnID, frames []byte) {
	p := f.peer(id)
	if p.backlog > 0 && bytes.Count(frames, []byte(`{"t":`)) != bytes.Count(frames, []byte(`{"t":"unsubscribed"`)) {
		f.world.t.Fatalf("conn %d is written to with a backlog of %d: %q", id, p.backlog, frames)
	}
	if p.broken {
		if f.onLost != nil {
			f.onLost(frames)
		}
		f.shard.At(f.world.now) // As a loop does when a connection closes.
		f.shard.Remove(id)
		return
	}
	f.deliver(id, frames)
}

// deliver hands frames to the far end. A loop writes the answers to commands itself.
func (f *fakeSink) deliver(id ConnID, frames []byte) {
	p := f.peer(id)
	p.writes++
	f.join(id, len(frames))
	if f.onFrames != nil {
		f.onFrames(id, frames)
	}
}

// join adds to a peer's backlog what its socket does not take of n bytes.
func (f *fakeSink) join(id ConnID, n int) {
	p := f.peer(id)
	switch {
	case p.clogged || p.backlog > 0:
	case p.takes > 0:
		take := min(n, p.takes-p.took)
		n, p.took = n-take, p.took+take
	default:
		return
	}
	if n > 0 {
		f.pile(id, n)
	}
}

// pile adds n bytes to a peer's backlog.
func (f *fakeSink) pile(id ConnID, n int) {
	f.peer(id).backlog += n
	f.shard.Joined(id, n)
	if f.onJoin != nil {
		f.onJoin(id, n)
	}
}

// pass lets the sockets take what they take in so many ticks.
func (f *fakeSink) pass(ticks int) {
	for _, p := range f.peers {
		if p.takes > 0 && ticks > 0 {
			take := min(p.backlog, p.takes*ticks)
			p.backlog -= take
			p.took = max(0, take-p.takes*(ticks-1))
		}
	}
}

// Evict does what a loop does: who can still be told is told and has some time to
// answer, others are gone at once.
func (f *fakeSink) Evict(id ConnID, r Reason) {
	f.evicted[r]++
	if f.onEvict != nil {
		f.onEvict(id, r)
	}
	if f.peer(id).gone || r.Hard() || f.shard.conn(id).state != open {
		f.shard.Remove(id)
		return
	}
	f.join(id, 64) // The bye and the close frame.
	f.shard.Closing(id)
	if f.onClose != nil {
		f.onClose(id)
	}
}

// Drained is where a loop closes its side of the socket.
func (f *fakeSink) Drained(id ConnID) { f.peer(id).drained++ }

// Source is another one for each conn, or the peer's.
func (f *fakeSink) Prefix(id ConnID) guard.Prefix {
	if s := f.peer(id).source; s != 0 {
		return s
	}
	return 1000 + guard.Prefix(id)
}

// message is a server message, decoded.
type message struct {
	T         string
	ID        json.RawMessage
	TS        int64
	D         []row
	Op        string
	Topics    json.RawMessage
	MS        int
	Rejected  []rejected
	Code      int
	Reason    string
	Interval  int
	Heartbeat int
	MaxTopics int `json:"max_topics"`
	State     string
	Since     int64
	Feed      string
	Tick, Lag int64

	raw []byte // The payload; nil for a ping.
}

// rejected is a topic that a command could not have: its name or its place.
type rejected struct {
	Topic, Index json.RawMessage
	Code         int
	Reason       string
}

func (r rejected) String() string {
	if r.Topic == nil {
		return fmt.Sprintf("at %s: %d (%s)", r.Index, r.Code, r.Reason)
	}
	return fmt.Sprintf("%s %d (%s)", r.Topic, r.Code, r.Reason)
}

// row is one row of a frame. Raw is all of it.
type row struct {
	S   string
	N   uint64
	V   json.RawMessage
	raw string
}

func (r *row) UnmarshalJSON(b []byte) error {
	type plainRow row
	err := json.Unmarshal(b, (*plainRow)(r))
	r.raw = string(b)
	return err
}

// decode cuts frames into messages. A ping is a message with the type ping.
func decode(t testing.TB, b []byte) (list []message) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 2 || b[1]&0x80 != 0 {
			t.Fatalf("not a server's frame: %q", b)
		}
		op, n, head := b[0], int(b[1]), 2
		switch n {
		case 126:
			n, head = int(binary.BigEndian.Uint16(b[2:])), 4
		case 127:
			n, head = int(binary.BigEndian.Uint64(b[2:])), 10
		}
		payload := b[head : head+n]
		b = b[head+n:]
		m := message{T: "ping"}
		if op == 0x81 {
			m.raw = payload
		}
		switch {
		case op == 0x89 && n == 0:
		case op == 0x81 && strings.Trim(string(payload), `"`) == "pong":
			m.T = "the word " + string(payload)
		case op == 0x81:
			if err := json.Unmarshal(payload, &m); err != nil {
				t.Fatalf("%v in %s", err, payload)
			}
		default:
			t.Fatalf("frame %x with %q", op, payload)
		}
		list = append(list, m)
	}
	return list
}

// String is the message as scenarios show it.
func (m message) String() string {
	out := m.T
	if m.ID != nil {
		out += " id=" + string(m.ID)
	}
	switch m.T {
	case "hello":
		out += fmt.Sprintf(" interval=%d heartbeat=%d max_topics=%d", m.Interval, m.Heartbeat, m.MaxTopics)
	case "ack":
		out += fmt.Sprintf(" %s topics=%s", m.Op, m.Topics)
		if m.MS > 0 {
			out += fmt.Sprintf(" ms=%d", m.MS)
		}
		for _, r := range m.Rejected {
			out += " rejected " + r.String()
		}
	case "interval":
		out += fmt.Sprintf(" ms=%d (%s)", m.MS, m.Reason)
	case "topics", "stale":
		if m.Code != 0 {
			out += fmt.Sprintf(" %d", m.Code)
		}
		for _, why := range staleFor {
			if why.code == m.Code && why.reason != m.Reason {
				out += fmt.Sprintf(" (%s)", m.Reason)
			}
		}
		out += " " + string(m.Topics)
	case "unsubscribed":
		out += " " + string(m.Topics)
		if m.Reason != WithdrawnReason {
			out += " " + m.Reason
		}
	case "feed":
		out += fmt.Sprintf(" %s since=%.3f", m.State, seconds(m.Since))
		if m.Topics != nil {
			out += " of " + string(m.Topics)
		}
	case "heartbeat":
		if m.Feed != "up" || m.Lag > 0 {
			out += fmt.Sprintf(" feed=%s lag=%d", m.Feed, m.Lag)
		}
		if m.Tick > 0 {
			out += fmt.Sprintf(" tick=%.3f", seconds(m.Tick))
		}
	case "error":
		out += fmt.Sprintf(" %d (%s)", m.Code, m.Reason)
	case "snapshot", "update":
		for _, r := range m.D {
			out += fmt.Sprintf(" %s#%d=%.20s", r.S, r.N, r.V)
		}
	}
	return out
}

// seconds is a time on the wire as one since the test began.
func seconds(ms int64) float64 { return time.UnixMilli(ms).Sub(epoch).Seconds() }

// text is the frames of one write on one line.
func text(t testing.TB, frames []byte) string {
	t.Helper()
	var parts []string
	for _, m := range decode(t, frames) {
		parts = append(parts, m.String())
	}
	return strings.Join(parts, " | ")
}

// recorder keeps what came to each conn, as lines.
type recorder map[ConnID][]string

// record makes the sink keep all frames and evictions as text.
func (w *world) record() recorder {
	r := make(recorder)
	w.sink.onFrames = func(id ConnID, frames []byte) { r[id] = append(r[id], text(w.t, frames)) }
	w.sink.onEvict = func(id ConnID, why Reason) { r[id] = append(r[id], "evicted "+why.String()) }
	return r
}

// want compares what came to a conn since the last call.
func (r recorder) want(t testing.TB, id ConnID, lines ...string) {
	t.Helper()
	if !slices.Equal(r[id], lines) {
		t.Fatalf("conn %d got\n%s\nwant\n%s", id, strings.Join(r[id], "\n"), strings.Join(lines, "\n"))
	}
	delete(r, id)
}
