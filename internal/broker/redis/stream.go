// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
)

const (
	// streamMax bounds the entries of one read.
	streamMax = 500
	// streamBlock is how long a read waits for the next entry. It is half the timeout at
	// most, so that a server that says nothing for the timeout is dead.
	streamBlock = time.Second
	// streamTopic and streamValue are the fields of an entry.
	streamTopic = "topic"
	streamValue = "value"
)

// stream is a Redis Stream as a source: an entry is a tick of the topic in its field topic,
// with the value in its field value. It knows the position up to which it has read, and
// goes on from there when a connection has ended, so nothing is lost in between as long as
// the stream still holds it. What was trimmed, or deleted, before it was read is a gap.
//
// The newest values are those of the topics' keys, as with Pub/Sub. A fetched one must not
// overtake the entries before it, so it is let into the table when the position has come
// to where the stream ended when the value was read.
//
// The URL's user needs MULTI, EXEC, XINFO, XREAD, PING and GETRANGE.
type stream struct {
	*server // Connects again and again, fetches and counts.
	key     string

	mu      sync.Mutex // Held by the reader for short, and by the fetcher.
	began   bool
	at      streamID // Every entry up to it was read.
	waiting []let

	// Of the reader alone.
	added int64 // Entries that the stream ever had up to at, as far as the server counts them.
}

// let is values that wait for a position.
type let struct {
	at      streamID
	repairs []repair
	by      *fetcher
}

func newStream(sh *shared, t target) *stream {
	// As with a pattern, one source of entries covers all topics.
	return &stream{server: newServer(sh, t, patterns, sh.owner.SetUp), key: sh.cfg.Stream}
}

// Run implements [broker.Source].
func (st *stream) Run(ctx context.Context) { st.reconnect(ctx, st.runLink) }

// streamLink is one connection to the server of a stream, and one for values.
//
//	reader   reads entries into the table, and lets in values that were fetched
//	fetcher  gets newest values, and where the stream ends behind them
//	watchdog ends the link when a read was not answered for the timeout
//	follower ends the link when its target has moved to another server
//	retrier  has values fetched again that were refused
type streamLink struct {
	*stream
	read    *goredis.Client // Without timeouts: those look at the clock, see watch.
	heard   atomic.Uint64   // Counts the answers to reads.
	fetcher fetcher
	ended   streamID // Where the stream ended behind the newest pipeline for values. Of the fetcher.
	pings   pings    // Of a sort: one is open while the reader is not at the end of the stream.
	upToNow atomic.Bool
	up      func() // Notes, once, that the stream was read: that may not be permitted.
}

func (st *stream) runLink(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	base, err := st.resolve(ctx)
	if err != nil {
		return err
	}
	st.addr = base.Addr
	base.Dialer = sticky(dialer(ctx, base))
	patient := *base
	patient.ReadTimeout, patient.WriteTimeout = -1, -1
	l := &streamLink{stream: st, read: newClient(&patient)}
	defer l.read.Close()
	get := newClient(base)
	defer get.Close()
	if err := l.greet(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.fetcher = fetcher{s: st.server, get: get, waiting: make(chan struct{}, waitingMax),
		after: l.end, hand: l.hand, look: l.look}
	defer st.forgo()
	st.pings.Store(&l.pings)
	defer st.pings.Store(nil)
	l.up = sync.OnceFunc(up)
	return runAll(ctx, cancel, l.follow, l.run, l.fetcher.run, l.watch, l.server.retry)
}

func (l *streamLink) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	if err := l.read.Ping(ctx).Err(); !isAlive(err) {
		return err
	}
	return nil
}

func (l *streamLink) follow(ctx context.Context) error { return l.target.watch(ctx, l.addr) }

func (l *streamLink) watch(ctx context.Context) error {
	return watch(ctx, l.cfg.Timeout, sign{func() (uint64, bool) { return l.heard.Load(), true }, errSilent})
}

// run reads entries until the link ends.
func (l *streamLink) run(ctx context.Context) error {
	for ctx.Err() == nil {
		ping := l.pings.add(time.Now(), nil, 0)
		read, end := 0, false
		for !end && ctx.Err() == nil {
			n, at, err := l.readOn(ctx)
			if err != nil {
				return fmt.Errorf("read the stream %s: %w", l.key, err)
			}
			read, end = read+n, at
		}
		l.pings.answered(time.Now(), ping)
		l.up()
		l.upToNow.Store(true)
		l.look()
		if read == 0 {
			if err := l.await(ctx); err != nil {
				return fmt.Errorf("await entries of the stream %s: %w", l.key, err)
			}
		}
		broker.Sleep(ctx, gatherFor)
	}
	return nil
}

// await returns when there is another entry, or after a while. It does not take it, as
// only what comes together with the state of the stream shows whether there is a gap.
func (l *streamLink) await(ctx context.Context) error {
	block := min(streamBlock, l.cfg.Timeout/2)
	// Not by XRead, whose reads have a deadline of their own.
	read := goredis.NewXStreamSliceCmd(ctx, "xread", "count", 1, "block", block.Milliseconds(), "streams", l.key, l.at.String())
	err := l.read.Process(ctx, read)
	l.heard.Add(1)
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// readOn reads the next entries, in one step with the state of the stream. It says how
// many there were, and whether they were all.
func (l *streamLink) readOn(ctx context.Context) (n int, end bool, err error) {
	state, entries, err := l.next(ctx)
	if err != nil {
		return 0, false, err
	}
	if !l.began {
		l.added = state.added
		l.moveTo(state.last)
		l.wants.cover()
		return 0, true, nil
	}
	if state.last.compare(l.at) < 0 || state.counts && state.added < l.added {
		// The stream was deleted, and perhaps another one has taken its place.
		l.gap("it was deleted")
		l.added = 0
		l.moveTo(streamID{})
		return 0, state.last == streamID{}, nil
	}
	end = len(entries) < streamMax
	if why := l.missed(state, len(entries), end); why != "" {
		l.gap(why)
	}
	for _, e := range entries {
		l.entry(e)
	}
	to := state.last
	switch {
	case end:
		l.added = state.added
	case state.first.compare(l.at) > 0:
		l.added = state.added - state.length + int64(len(entries))
	default:
		l.added += int64(len(entries))
	}
	if !end {
		if to, err = parseStreamID(entries[len(entries)-1].ID); err != nil {
			return 0, false, err
		}
	}
	l.moveTo(to)
	return len(entries), end, nil
}

// missed says why entries behind the position were lost before they were read, or "". So
// many were read, and that is the end or not.
func (l *streamLink) missed(s streamState, read int, end bool) string {
	// What is trimmed is trimmed from the front: an entry up to the position that is left
	// shows that nothing behind it is.
	front := s.last.compare(l.at) <= 0 || s.length > 0 && s.first.compare(l.at) <= 0
	behind := s.added - l.added // So many were added behind the position.
	switch {
	case !s.counts && !front, s.counts && !front && behind != s.length:
		return "it was trimmed" // An old Redis does not count: perhaps up to the position only.
	case s.counts && front && end && behind != int64(read):
		return "entries were deleted, or another stream has taken its place"
	}
	return ""
}

// gap has all values fetched. Until they are, they are not current, as after the end of a
// link.
func (l *streamLink) gap(why string) {
	l.counters[broker.Gaps].Add(1)
	l.log.Warn("redis feed: entries of the stream were lost before they were read, all values are fetched", "stream", l.key,
		"error", why, "position", l.at.String(),
		"hint", "keep more entries in it (XADD MAXLEN), more than come in the longest outage")
	l.upToNow.Store(false)
	l.changed(false) // First, or it could come behind the end of the gap.
	l.wants.reset()
	l.wants.cover()
}

// entry takes one entry as a tick.
func (l *streamLink) entry(e goredis.XMessage) {
	topic, named := e.Values[streamTopic].(string)
	value, valued := e.Values[streamValue].(string)
	if !named || !valued {
		l.owner.Drop(topic, value, int64(len(value)), broker.NoFields)
		return
	}
	if _, held := l.owner.Mark(topic); !held && !l.wants.coverage.covers(topic) { // Most may be unwanted, and need not be looked at.
		l.counters[broker.Unwanted].Add(1)
		return
	}
	l.owner.Tick(topic, value, l.owner.Now())
}

// moveTo sets the position, all up to which was taken into the table, and lets in the
// values that have waited for it.
func (st *stream) moveTo(at streamID) {
	for _, w := range st.ready(at) {
		w.by.commit(w.repairs)
	}
}

// ready sets the position and takes out what has waited for it.
func (st *stream) ready(at streamID) (ready []let) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.began, st.at = true, at
	keep := st.waiting[:0]
	for _, w := range st.waiting {
		// In a stream that was made anew, no value waits for an end of the old one.
		if w.at.compare(at) <= 0 || at == (streamID{}) {
			ready = append(ready, w)
		} else {
			keep = append(keep, w)
		}
	}
	clear(st.waiting[len(keep):])
	st.waiting = keep
	return ready
}

// end adds the question where the stream ends to a pipeline for values.
func (l *streamLink) end(ctx context.Context, pipe goredis.Pipeliner) func() error {
	info := pipe.XInfoStream(ctx, l.key)
	return func() error {
		state, err := streamStateOf(info)
		l.ended = state.last
		return err
	}
}

// hand keeps the values of a pipeline until the position is behind them. Those that need
// not wait are let in at once: the reader may be waiting for an entry.
func (l *streamLink) hand(_ context.Context, repairs []repair) {
	if !l.waits(repairs) {
		l.fetcher.commit(repairs)
	}
}

// waits keeps values for moveTo, unless the position is behind them already.
func (l *streamLink) waits(repairs []repair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.began && l.at.compare(l.ended) >= 0 {
		return false
	}
	l.waiting = append(l.waiting, let{l.ended, repairs, &l.fetcher})
	return true
}

// forgo gives up the values that were fetched over a link that has ended, and has them
// fetched again.
func (st *stream) forgo() {
	st.mu.Lock()
	st.waiting = nil
	st.mu.Unlock()
	st.wants.refetchAll()
}

// look finds out whether values are current: the reader has come to the end of the stream,
// and no topic is behind. This ends the gap.
func (l *streamLink) look() {
	if l.upToNow.Load() && l.wants.endGap() {
		l.changed(true)
	}
}

// streamState is what XINFO STREAM says.
type streamState struct {
	first, last   streamID // last is that of the newest entry ever.
	length, added int64
	counts        bool // The server counts what was added, as from Redis 7.0 on.
}

// streamStateOf reads the state of a stream. One that does not exist is empty.
func streamStateOf(cmd *goredis.XInfoStreamCmd) (s streamState, err error) {
	info, err := cmd.Result()
	if err != nil {
		if goredis.HasErrorPrefix(err, "no such key") {
			return streamState{counts: true}, nil
		}
		return s, err
	}
	s.length, s.added = info.Length, info.EntriesAdded
	s.counts = info.MaxDeletedEntryID != ""
	for _, id := range []struct {
		to   *streamID
		text string
	}{{&s.last, info.LastGeneratedID}, {&s.first, info.FirstEntry.ID}} {
		if id.text == "" {
			continue
		}
		if *id.to, err = parseStreamID(id.text); err != nil {
			return s, err
		}
	}
	return s, nil
}

// streamID is the id of an entry. Ids only rise.
type streamID struct{ ms, seq uint64 }

func parseStreamID(s string) (id streamID, err error) {
	ms, seq, ok := strings.Cut(s, "-")
	if ok {
		if id.ms, err = strconv.ParseUint(ms, 10, 64); err == nil {
			id.seq, err = strconv.ParseUint(seq, 10, 64)
		}
	}
	if !ok || err != nil {
		return id, fmt.Errorf("the stream id %q is not valid", s)
	}
	return id, nil
}

func (a streamID) compare(b streamID) int {
	return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.seq, b.seq))
}

func (a streamID) String() string {
	return strconv.FormatUint(a.ms, 10) + "-" + strconv.FormatUint(a.seq, 10)
}
