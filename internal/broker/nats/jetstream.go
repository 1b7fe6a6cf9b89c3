// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

var (
	errGap  = errors.New("messages of the stream were lost on the way")
	errAnew = errors.New("the stream was deleted and made anew")
	errBack = errors.New("the stream has lost messages that it had sent")
	// errRetention is of streams that delete what was read, the newest message too.
	errRetention = errors.New("the retention of the stream is not limits")
	errForeign   = errors.New("what came is no message of the stream")
)

const (
	// pendingBytes bounds what nats.go has read for a subscription of its own and nobody has taken.
	pendingBytes = 64 << 20
	// overlap is how many sequences before the end of a stream its reading begins at first. So it is known
	// which subjects had a message of late, of which a replica that is behind may not know.
	overlap = 1 << 16
)

// Subscriptions of the tap.
const (
	consumerSub = iota // What the consumer sends.
	batchesSub         // Answers to batches.
)

// streamInfo is what is asked of a stream.
type streamInfo struct {
	Created string `json:"created"`
	Config  struct {
		AllowDirect bool      `json:"allow_direct"`
		Subjects    []string  `json:"subjects"`
		Retention   string    `json:"retention"`
		Transform   *struct{} `json:"subject_transform"` // Not nil if messages get other subjects.
	} `json:"config"`
	State struct {
		Messages uint64 `json:"messages"`
		First    uint64 `json:"first_seq"`
		Last     uint64 `json:"last_seq"`
	} `json:"state"`
}

// streamLink is a link that reads a stream by one consumer of all its messages, and throws away what
// nobody wants: a server serves many filtered consumers of a stream far more slowly. A link goes on where
// the one before has ended: the stream keeps the newest message of each subject, so nothing newest is missed.
type streamLink struct {
	s      *source
	c      *conn
	stream string
	direct bool // Values may be asked of any server that has the stream.
	getter getter
	probes probes

	consumer string       // Its name.
	number   uint64       // Of the newest message of the consumer. Of the reader.
	at       int64        // When something was read last. Of the reader.
	unheard  bool         // Nothing of the consumer was in that yet. Of the reader.
	over     bool         // The link has ended: what was read and not taken is not taken any more. Of source.mu.
	alive    atomic.Int64 // When the consumer was heard last, in Unix milliseconds.
	goal     uint64       // Where the stream ended when the link began.
	idle     int          // Heartbeats since the last message. Of the receiver.
	emptied  uint64       // How many messages the stream had when it was looked at last.
}

func newStreamLink(s *source, c *conn, stream string) *streamLink {
	l := &streamLink{s: s, c: c, stream: stream}
	l.getter = newGetter(l)
	return l
}

func (l *streamLink) lag(now time.Time) time.Duration { return l.probes.lag(now) }
func (l *streamLink) heard() time.Time                { return l.probes.heard() }
func (l *streamLink) channels() int64                 { return 1 }

func (l *streamLink) run(ctx context.Context, cancel context.CancelCauseFunc, up func(address, how string)) error {
	var info streamInfo
	if err := l.s.ask(ctx, l.c, "STREAM.INFO."+l.stream, nil, &info); err != nil {
		return err
	}
	if r := info.Config.Retention; r != "limits" {
		return fmt.Errorf("%w: %s has %q", errRetention, l.stream, r)
	}
	l.direct, l.emptied, l.goal = info.Config.AllowDirect, info.State.Messages, info.State.Last
	from, anew := l.s.locate(l.stream, info)
	l.c.deliver(l.receive)
	if err := l.getter.listen(); err != nil {
		return err
	}
	inbox := natsgo.NewInbox()
	defer func() {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.over = true
	}()
	if _, err := l.c.tap.Write(subscribe(nil, inbox, consumerSub)); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	l.alive.Store(time.Now().UnixMilli())
	pending, err := l.consume(ctx, inbox, from+1)
	if err != nil {
		return err
	}
	defer l.leave()
	up(l.c.ConnectedAddr(), "jetstream "+l.stream)
	l.s.begin(l, pending == 0 && from >= info.State.Last, anew)
	return l.c.runAll(ctx, cancel, l.getter.work, l.beat)
}

// locate says from where a stream is to be read, and whether ticks may have been missed.
func (s *source) locate(stream string, info streamInfo) (from uint64, anew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.place
	if p.known && p.stream == stream && p.created == info.Created && p.last <= info.State.Last {
		return p.last, false
	}
	*p = place{stream: stream, created: info.Created, known: true, floors: newFloors()}
	p.last = info.State.Last - min(info.State.Last, overlap)
	return p.last, true
}

// reachedTo is the sequence up to which all was received.
func (s *source) reachedTo() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place.last
}

// consume makes the consumer, which sends what there is from a sequence on, and returns how many messages
// that is now. The server ends it when nobody listens any more.
func (l *streamLink) consume(ctx context.Context, inbox string, from uint64) (pending uint64, err error) {
	request := map[string]any{
		"stream_name": l.stream,
		"config": map[string]any{
			"deliver_subject": inbox, "deliver_policy": "by_start_sequence", "opt_start_seq": from, "ack_policy": "none",
			"replay_policy": "instant", "flow_control": true, "idle_heartbeat": l.heartbeat().Nanoseconds(),
			"mem_storage": true, "num_replicas": 1, "inactive_threshold": (5 * time.Second).Nanoseconds(),
		},
	}
	var answer struct {
		Name    string `json:"name"`
		Pending uint64 `json:"num_pending"`
	}
	err = l.s.ask(ctx, l.c, "CONSUMER.CREATE."+l.stream, request, &answer)
	l.consumer = answer.Name
	return answer.Pending, err
}

// leave has the server end the consumer now, where there is a connection still.
func (l *streamLink) leave() {
	_ = l.c.Publish(api+"CONSUMER.DELETE."+l.stream+"."+l.consumer, nil)
	_ = l.c.FlushTimeout(100 * time.Millisecond)
}

// heartbeat is how often a consumer says that there is nothing.
func (l *streamLink) heartbeat() time.Duration {
	return max(min(time.Second, l.s.timeout/4), 100*time.Millisecond)
}

// receive takes what the consumer sends, and answers to batches, on the goroutine that reads.
func (l *streamLink) receive(m *wireMessage) {
	if m.fresh {
		l.at, l.unheard = l.s.owner.Now(), true
	}
	if m.sub == batchesSub {
		l.getter.answerMany(m)
		return
	}
	if l.unheard {
		l.unheard = false
		l.alive.Store(time.Now().UnixMilli())
	}
	value, size := unsafe.String(unsafe.SliceData(m.payload), len(m.payload)), m.size
	var h natsgo.Header
	if len(m.header) > 0 {
		h, _ = natsgo.DecodeHeadersMsg(m.header) // A publisher may have written anything: then there is none.
	}
	// What the server itself says has no place in the stream.
	d, ok := parseDelivered(unsafe.String(unsafe.SliceData(m.reply), len(m.reply)))
	switch {
	case !ok && h.Get("Status") == "100":
		l.control(h, string(m.reply))
		return
	case !ok:
		l.c.fail(errForeign)
		return
	case d.consumer != l.number+1:
		l.c.fail(errGap)
		return
	}
	l.number, l.idle = d.consumer, 0
	if h != nil {
		if value = valueOf(h, value); value == "null" {
			size = int64(len(value))
		}
	}
	parent := ""
	if h != nil && l.s.follows() {
		parent = h.Get(broker.TraceHeader)
	}
	l.take(unsafe.String(unsafe.SliceData(m.subject), len(m.subject)), value, size, d, parent)
	l.probes.reached(d.stream, false)
}

// take takes a message of the stream, whose subject and value are parts of a buffer. The value is its
// beginning, if size is more.
func (l *streamLink) take(subject, value string, size int64, d delivered, parent string) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.over {
		return
	}
	s.place.last = d.stream
	s.place.floors.heard(subject, d.stream)
	if d.stream >= l.goal && !s.caught {
		s.caught = true
		defer s.look()
	}
	w := s.wants[subject]
	switch {
	case w == nil:
		s.tellCovered(subject, value, size, l.at)
	case size > int64(len(value)): // No tick: what is asked for by itself may be good, or says the same.
		s.owner.Drop(w.topic, value, size, broker.TooBig)
	case d.stream > w.seq:
		w.seq, w.ticked = d.stream, true
		s.tick(w.topic, value, l.at, parent)
	}
}

// valueOf is the value of a message with headers: one that says that its subject was deleted is a tombstone.
func valueOf(h natsgo.Header, value string) string {
	if op := h.Get("KV-Operation"); op == "DEL" || op == "PURGE" || h.Get("Nats-Marker-Reason") != "" {
		return "null"
	}
	return value
}

// control takes a heartbeat, or the question whether all that came before it was taken.
func (l *streamLink) control(h natsgo.Header, reply string) {
	if reply != "" {
		_ = l.c.Publish(reply, nil)
		return
	}
	if stalled := h.Get("Nats-Consumer-Stalled"); stalled != "" {
		_ = l.c.Publish(stalled, nil)
		return
	}
	if last, ok := parseUint(h.Get("Nats-Last-Consumer")); ok && last != l.number {
		l.c.fail(errGap)
		return
	}
	// Two in a row, as the server of the consumer may be a bit behind the stream's leader.
	if l.idle++; l.idle < 2 {
		return
	}
	l.probes.reached(0, true) // It has nothing to send.
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caught = true
	s.look()
}

// reached notes that all up to a sequence was received, or all there is.
func (p *probes) reached(seq uint64, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target > 0 && (all || seq >= p.target) {
		p.meet(time.Now())
	}
}

// beat looks after the link each second: where the stream ends, and what is to be tried again.
func (l *streamLink) beat(ctx context.Context) error {
	t := time.NewTicker(min(beatEvery, l.s.timeout/3))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			l.s.retry(now)
			l.getter.expire(now)
			if now.UnixMilli()-l.alive.Load() > max(l.s.timeout, 3*l.heartbeat()).Milliseconds() || l.probes.overdue(now, 2*l.s.timeout) {
				return errSilent
			}
			if !l.probes.ask(now) {
				continue
			}
			if err := l.examine(ctx); err != nil {
				return err
			}
		}
	}
}

// examine asks where the stream ends, and finds out whether it is what it was.
func (l *streamLink) examine(ctx context.Context) error {
	s := l.s
	s.mu.Lock()
	last, created := s.place.last, s.place.created // Before the question: messages come meanwhile.
	s.mu.Unlock()
	var info streamInfo
	if err := s.ask(ctx, l.c, "STREAM.INFO."+l.stream, nil, &info); err != nil {
		return err
	}
	s.mu.Lock()
	purged := 2*info.State.Messages < l.emptied
	if l.emptied = info.State.Messages; purged {
		for _, w := range s.wants { // Which have a value still, and which have none any more.
			if w.state == done {
				s.again(w)
			}
		}
		broker.Signal(s.wake)
	}
	s.mu.Unlock()
	switch {
	case info.Created != created:
		return fmt.Errorf("%w: %s, %s", errAnew, created, info.Created)
	case info.State.Last < last:
		return errBack
	case purged:
		s.log.Warn("nats feed: the stream was emptied, newest values are read anew", "stream", l.stream, "messages", info.State.Messages)
	}
	l.probes.expect(info.State.Last, s.reachedTo())
	return nil
}

// expect says what the open question waits for.
func (p *probes) expect(target, reached uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target = max(target, 1); reached >= target {
		p.meet(time.Now())
	}
}

// denied takes that a subject is not permitted: that by which a value is read is a matter of its topic.
func (l *streamLink) denied(subject string, publish bool) {
	if publish && subject == api+"DIRECT.GET."+l.stream {
		l.getter.refused()
		return
	}
	of, direct := strings.CutPrefix(subject, api+"DIRECT.GET."+l.stream+".")
	if !publish || !direct {
		l.c.fail(fmt.Errorf("not permitted: permissions violation for %q", subject))
		return
	}
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.wants[of]; w != nil && w.state == busy {
		s.deny(w, broker.NotPermitted, fmt.Sprintf("not permitted: permissions violation for publish to %q", subject), false)
	}
}

// rawMessage is a message as STREAM.MSG.GET has it.
type rawMessage struct {
	Message struct {
		Subject string `json:"subject"`
		Seq     uint64 `json:"seq"`
		Headers []byte `json:"hdrs"`
		Data    []byte `json:"data"`
	} `json:"message"`
	Error *apiError `json:"error"`
}

func parseRaw(data []byte) (m rawMessage, err error) { return m, json.Unmarshal(data, &m) }
