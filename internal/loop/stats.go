package loop

import (
	"errors"
	"io"
	"strconv"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// cause says why a connection was closed, for the counters: a [fanout.Reason] or one of
// those below. 0 is none yet.
type cause uint8

const (
	causeHTTP       = cause(fanout.Reasons) + iota // Answered with something else than 101.
	causeGone                                      // The peer closed without a close frame.
	causeReset                                     // The peer reset, or a write failed.
	causeProxy                                     // What it began with is no PROXY header.
	causePeerNormal                                // The peer's close frame, by its code.
	causePeerAway                                  //
	causePeerNone                                  //
	causePeerOther                                 //
	causeProtocol                                  // The peer broke RFC 6455, by our code.
	causeBinary                                    //
	causeUTF8                                      //
	causeTooBig                                    //
	causeControls                                  // It sent too many control frames.
	causeUnfinished                                // A message of it took too long.

	causes
)

var causeTable = func() (t [causes]struct{ reason, code string }) {
	for r := fanout.Reason(1); int(r) < fanout.Reasons; r++ {
		code := int(r.Code())
		if code == 0 || r.Hard() {
			code = 1006 // What the peer makes of a connection that just ends.
		}
		t[r] = struct{ reason, code string }{r.String(), strconv.Itoa(code)}
	}
	t[causeHTTP] = struct{ reason, code string }{"http", ""}
	t[causeGone] = struct{ reason, code string }{"peer_gone", "1006"}
	t[causeReset] = struct{ reason, code string }{"peer_reset", "1006"}
	t[causeProxy] = struct{ reason, code string }{"bad_proxy_header", "1006"}
	// Peers may send 2,000 codes. Those that tell something have a label.
	t[causePeerNormal] = struct{ reason, code string }{"peer_close", "1000"}
	t[causePeerAway] = struct{ reason, code string }{"peer_close", "1001"}
	t[causePeerNone] = struct{ reason, code string }{"peer_close", "1005"}
	t[causePeerOther] = struct{ reason, code string }{"peer_close", "other"}
	t[causeProtocol] = struct{ reason, code string }{"protocol_error", "1002"}
	t[causeBinary] = struct{ reason, code string }{"protocol_error", "1003"}
	t[causeUTF8] = struct{ reason, code string }{"protocol_error", "1007"}
	t[causeTooBig] = struct{ reason, code string }{"protocol_error", "1009"}
	t[causeControls] = struct{ reason, code string }{"control_flood", "1008"}
	t[causeUnfinished] = struct{ reason, code string }{"unfinished_message", "1008"}
	return t
}()

func (c cause) String() string { return causeTable[c].reason }

func causeOf(err error) cause {
	if err == nil || errors.Is(err, io.EOF) {
		return causeGone
	}
	return causeReset
}

func causeOfCode(code protocol.Code) cause {
	switch code {
	case protocol.CodeUnsupported:
		return causeBinary
	case protocol.CodeBadUTF8:
		return causeUTF8
	case protocol.CodeTooBig:
		return causeTooBig
	}
	return causeProtocol
}

func causeOfPeer(code protocol.Code) cause {
	switch code {
	case protocol.CodeNormal:
		return causePeerNormal
	case protocol.CodeGoingAway:
		return causePeerAway
	case 0:
		return causePeerNone
	}
	return causePeerOther
}

// Refusals are counted by reason.
const (
	refusedFull     = iota // 503: above the maximum, during the drain, too fast in all, no token keys.
	refusedBad             // 400, 431, 505
	refusedToken           // 401
	refusedOrigin          // 403
	refusedNotFound        // 404
	refusedMethod          // 405
	refusedUpgrade         // 426
	refusedLimit           // 429
	refusals
)

var refusedLabels = [refusals]string{"unavailable", "bad_request", "token", "origin", "not_found", "method", "upgrade_required", "client_limit"}

// otherUser counts as a reason to refuse a token: it is good, but not of the conn's user.
const otherUser = auth.Reason(0)

// counts is what a loop counts. Plain numbers: the loop owns them, and publishes a
// copy now and then.
type counts struct {
	accepted  uint64
	upgraded  uint64
	pages     uint64
	refused   [refusals]uint64
	closed    [causes]uint64
	commands  uint64
	malformed uint64
	panics    uint64
	tokens    [auth.Reasons]uint64 // Refused, by reason.
	bytesIn   uint64
	bytesOut  uint64
	turns     Histogram
	lag       time.Duration
}

func (c *counts) refuse(status int) {
	switch status {
	case 503:
		c.refused[refusedFull]++
	case 401:
		c.refused[refusedToken]++
	case 403:
		c.refused[refusedOrigin]++
	case 404:
		c.refused[refusedNotFound]++
	case 405:
		c.refused[refusedMethod]++
	case 426:
		c.refused[refusedUpgrade]++
	case 429:
		c.refused[refusedLimit]++
	default:
		c.refused[refusedBad]++
	}
}

// TurnBounds are the upper bounds of the buckets of [Stats.Turns].
var TurnBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// Histogram counts durations: Buckets[i] those up to TurnBounds[i] and above the
// bound before it, the last bucket those above all bounds.
type Histogram struct {
	Buckets [len(TurnBounds) + 1]uint64
	Sum     time.Duration
}

func (h *Histogram) observe(d time.Duration) {
	i := 0
	for i < len(TurnBounds) && d > TurnBounds[i] {
		i++
	}
	h.Buckets[i]++
	h.Sum += d
}

// Closed says how many connections were closed for a reason, with a close code.
type Closed struct {
	Reason, Code string
	Count        uint64
}

// Refused says how many requests, or tokens, were refused for a reason.
type Refused struct {
	Reason string
	Count  uint64
}

// Stats is what all loops have counted, at most a fraction of a second old.
type Stats struct {
	fanout.Stats
	Accepted, Upgraded, Pages uint64
	AcceptFailures            uint64
	Refused                   []Refused
	Tokens                    []Refused // Of handshakes and auth commands.
	Closed                    []Closed
	Commands, Malformed       uint64
	Panics                    uint64
	BytesIn, BytesOut         uint64
	Turns                     Histogram     // How long a turn of a loop took.
	Lag                       time.Duration // Of the wheel that is furthest behind.

	refused [refusals]uint64
	closed  [causes]uint64
	tokens  [auth.Reasons]uint64
}

// publish copies what the loop has counted to where others may read it.
func (l *loop) publish(now time.Time) {
	c := &l.counts
	st := Stats{
		Stats:    l.shard.Stats(),
		Accepted: c.accepted, Upgraded: c.upgraded, Pages: c.pages,
		Commands: c.commands, Malformed: c.malformed, Panics: c.panics,
		BytesIn: c.bytesIn, BytesOut: c.bytesOut, Turns: c.turns, Lag: c.lag,
		refused: c.refused, closed: c.closed, tokens: c.tokens,
	}
	l.published.Lock()
	l.published.stats = st
	l.published.Unlock()
	l.published.at = now
}

// Stats adds up what the loops have published.
func (s *Server) Stats() Stats {
	var sum Stats
	for _, l := range s.loops {
		l.published.Lock()
		st := l.published.stats
		l.published.Unlock()
		sum.add(&st)
	}
	sum.AcceptFailures = s.acceptFailures.Load()
	for i, n := range sum.refused {
		sum.Refused = append(sum.Refused, Refused{refusedLabels[i], n})
	}
	for why, n := range sum.tokens {
		label := "other_user"
		if r := auth.Reason(why); r != otherUser {
			label = r.Label()
		}
		sum.Tokens = append(sum.Tokens, Refused{label, n})
	}
	for c := cause(1); c < causes; c++ {
		sum.Closed = append(sum.Closed, Closed{causeTable[c].reason, causeTable[c].code, sum.closed[c]})
	}
	return sum
}

// Backlog is how many bytes sockets have not taken yet, over all loops. It may be above
// the truth by what they have taken within the last second.
func (s *Server) Backlog() int64 { return s.cfg.Shard.Backlogs.Bytes() }

// Guard is what the limits by source have counted. Refused conns are counted in
// [Stats.Refused] as well, when they are answered.
func (s *Server) Guard() guard.Stats { return s.guard.Stats() }

// Conflated is how many rows were not sent because a newer one took their place, or
// because the conn left before its next flush. It only rises, and runs ahead by what
// is still to be flushed: about the rows of one window.
func (s *Server) Conflated() uint64 {
	s.conflated.Lock()
	defer s.conflated.Unlock()
	offered := s.table.Offered()
	// Read after it, so that no row counts as conflated that was sent meanwhile.
	if sent := s.Stats().UpdateRows; offered > sent {
		s.conflated.most = max(s.conflated.most, offered-sent)
	}
	return s.conflated.most
}

func (sum *Stats) add(st *Stats) {
	sum.Stats.Add(&st.Stats)
	sum.Accepted += st.Accepted
	sum.Upgraded += st.Upgraded
	sum.Pages += st.Pages
	sum.Commands += st.Commands
	sum.Malformed += st.Malformed
	sum.Panics += st.Panics
	sum.BytesIn += st.BytesIn
	sum.BytesOut += st.BytesOut
	sum.Turns.Sum += st.Turns.Sum
	sum.Lag = max(sum.Lag, st.Lag)
	for i, n := range st.Turns.Buckets {
		sum.Turns.Buckets[i] += n
	}
	for i, n := range st.refused {
		sum.refused[i] += n
	}
	for i, n := range st.closed {
		sum.closed[i] += n
	}
	for i, n := range st.tokens {
		sum.tokens[i] += n
	}
}
