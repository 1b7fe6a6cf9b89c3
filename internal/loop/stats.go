// SPDX-License-Identifier: Apache-2.0

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

var causeTable = func() (t [causes]Closed) {
	for r := fanout.Reason(1); int(r) < fanout.Reasons; r++ {
		code := int(r.Code())
		if code == 0 || r.Hard() {
			code = 1006 // What the peer makes of a connection that just ends.
		}
		t[r] = Closed{r.String(), strconv.Itoa(code)}
	}
	t[causeHTTP] = Closed{"http", ""}
	t[causeGone] = Closed{"peer_gone", "1006"}
	t[causeReset] = Closed{"peer_reset", "1006"}
	t[causeProxy] = Closed{"bad_proxy_header", "1006"}
	// Peers may send 2,000 codes. Those that tell something have a label.
	t[causePeerNormal] = Closed{"peer_close", "1000"}
	t[causePeerAway] = Closed{"peer_close", "1001"}
	t[causePeerNone] = Closed{"peer_close", "1005"}
	t[causePeerOther] = Closed{"peer_close", "other"}
	t[causeProtocol] = Closed{"protocol_error", "1002"}
	t[causeBinary] = Closed{"protocol_error", "1003"}
	t[causeUTF8] = Closed{"protocol_error", "1007"}
	t[causeTooBig] = Closed{"protocol_error", "1009"}
	t[causeControls] = Closed{"control_flood", "1008"}
	t[causeUnfinished] = Closed{"unfinished_message", "1008"}
	return t
}()

func (c cause) String() string { return causeTable[c].Reason }

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

// refusedTable has the reasons by which refusals are counted, and their statuses. Any other
// status is that of the last.
var refusedTable = [...]struct {
	status int
	reason string
}{
	{503, "unavailable"}, // Above the maximum, during the drain, too fast in all, no token keys.
	{401, "token"},
	{403, "origin"},
	{404, "not_found"},
	{405, "method"},
	{426, "upgrade_required"},
	{429, "client_limit"},
	{400, "bad_request"}, // 431 and 505 too.
}

// otherUser counts as a reason to refuse a token: it is good, but not of the conn's user.
const otherUser = auth.Reason(0)

// Counter is something that a loop counts, beside what its shard does.
type Counter uint8

const (
	Accepted       Counter = iota
	AcceptFailures         // Of all loops: a loop does not see them.
	WebSockets
	Streams
	PlainConns
	ValuesAnswered
	UnchangedAnswered
	NamesAnswered
	ProblemsAnswered
	Pages
	HealthChecks
	Commands
	Malformed
	BytesIn
	BytesOut
	Panics

	Counters // One more than the last.
)

// Metrics are the counters as operators see them, see [fanout.Metric].
var Metrics = [Counters]fanout.Metric{
	Accepted:       {Name: "connections_accepted_total", Help: "Connections accepted."},
	AcceptFailures: {Name: "accept_failures_total", Help: "Times that accepting a connection failed. The loop tries again half a second later, and new connections wait."},
	WebSockets:     {Name: "connections_opened_total", Help: "Connections that were opened for messages.", Label: "transport", Value: "websocket"},
	Streams:        {Name: "connections_opened_total", Label: "transport", Value: "sse"},
	PlainConns:     {Name: "connections_opened_total", Label: "transport", Value: "http"},

	ValuesAnswered:    {Name: "requests_total", Help: "Requests of plain HTTP, by how they were answered.", Label: "answer", Value: "values"},
	UnchangedAnswered: {Name: "requests_total", Label: "answer", Value: "unchanged"},
	NamesAnswered:     {Name: "requests_total", Label: "answer", Value: "names"},
	ProblemsAnswered:  {Name: "requests_total", Label: "answer", Value: "problem"},

	Pages:        {Name: "pages_total", Help: "Requests for the live board."},
	HealthChecks: {Name: "health_checks_total", Help: "Requests for health (-health-path) on the client port."},
	Commands:     {Name: "commands_total", Help: "Client messages, by whether they were commands.", Label: "result", Value: "ok"},
	Malformed:    {Name: "commands_total", Label: "result", Value: "malformed"},
	BytesIn:      {Name: "bytes_received_total", Help: "Bytes received from clients."},
	BytesOut:     {Name: "bytes_sent_total", Help: "Bytes handed to client sockets."},
}

// counts is what a loop counts. Plain numbers: the loop owns them, and publishes a
// copy now and then.
type counts struct {
	Loop    [Counters]uint64
	Turns   Histogram     // How long a turn of a loop took.
	Lag     time.Duration // Of the wheel that is furthest behind.
	refused [len(refusedTable)]uint64
	closed  [causes]uint64
	tokens  [auth.Reasons]uint64 // Refused, by reason.
}

func (c *counts) refuse(status int) {
	i := 0
	for i < len(refusedTable)-1 && refusedTable[i].status != status {
		i++
	}
	c.refused[i]++
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

// Closed is why connections were closed, and with which close code.
type Closed struct{ Reason, Code string }

// Stats is what all loops have counted, at most a fraction of a second old.
type Stats struct {
	fanout.Stats
	counts
	Refused map[string]uint64 // Requests, by reason.
	Tokens  map[string]uint64 // Of handshakes and auth commands that were refused, by reason.
	Closed  map[Closed]uint64
}

// publish copies what the loop has counted to where others may read it, and tells of those that
// it has turned away.
func (l *loop) publish(now time.Time) {
	st := Stats{Stats: l.shard.Stats(), counts: l.counts}
	l.tell(&l.published.stats, &st)
	l.published.Lock()
	l.published.stats, l.published.load = st, l.load
	l.published.Unlock()
	l.published.at = now
}

// tell says whom the loop has turned away lately, the shard's part included.
func (l *loop) tell(before, now *Stats) {
	if n := now.Evicted[fanout.BacklogTotal] - before.Evicted[fanout.BacklogTotal]; n > 0 {
		l.away[byBacklog].n, l.away[byBacklog].what = n, l.set.backlog
	}
	l.away[byNewTopics].n = now.Count[fanout.NewTopicsRefused] - before.Count[fanout.NewTopicsRefused]
	for k := range l.away {
		if l.away[k].n > 0 {
			l.server.turned.add(&l.away)
			l.away = turnedAway{}
			return
		}
	}
}

// Stats adds up what the loops have published.
func (s *Server) Stats() Stats {
	sum := Stats{Refused: map[string]uint64{}, Tokens: map[string]uint64{}, Closed: map[Closed]uint64{}}
	for _, l := range s.loops {
		l.published.Lock()
		st := l.published.stats
		l.published.Unlock()
		sum.add(&st)
	}
	sum.Loop[AcceptFailures] = s.acceptFailures.Load()
	for i, n := range sum.refused {
		sum.Refused[refusedTable[i].reason] = n
	}
	for why, n := range sum.tokens {
		label := "other_user"
		if r := auth.Reason(why); r != otherUser {
			label = r.Label()
		}
		sum.Tokens[label] = n
	}
	for c := cause(1); c < causes; c++ {
		sum.Closed[causeTable[c]] = sum.closed[c]
	}
	return sum
}

// Balance is what one loop has to do.
type Balance struct {
	Conns    int
	Turns    time.Duration // In turns of its wheel.
	BytesOut uint64
}

// Balance is what each loop has to do, of the figures of [Server.Stats].
func (s *Server) Balance() (all []Balance) {
	for _, l := range s.loops {
		l.published.Lock()
		st := &l.published.stats
		all = append(all, Balance{st.Opening + st.Open + st.Closing + st.Asking, st.Turns.Sum, st.Loop[BytesOut]})
		l.published.Unlock()
	}
	return all
}

// Backlog is how many bytes sockets have not taken yet, over all loops. It may be above
// the truth by what they have taken within the last second.
func (s *Server) Backlog() int64 { return s.cfg.Shard.Backlogs.Bytes() }

// Guard is what the limits by prefix have counted. Refused conns are counted in
// [Stats.Refused] as well, when they are answered.
func (s *Server) Guard() guard.Stats { return s.guard.Stats() }

// Conflated is how many rows were not sent because a newer one took their place, or
// because the conn left before its next flush. It only rises, and runs ahead by what
// is still to be flushed: about the rows of one window. others says how many rows another door has
// sent as updates.
func (s *Server) Conflated(others func() uint64) uint64 {
	s.conflated.Lock()
	defer s.conflated.Unlock()
	offered := s.table.Offered()
	// Read after it, so that no row counts as conflated that was sent meanwhile.
	if sent := s.Stats().Count[fanout.UpdateRows] + others(); offered > sent {
		s.conflated.most = max(s.conflated.most, offered-sent)
	}
	return s.conflated.most
}

func (sum *Stats) add(st *Stats) {
	sum.Stats.Add(&st.Stats)
	sum.Turns.Sum += st.Turns.Sum
	sum.Lag = max(sum.Lag, st.Lag)
	addAll(sum.Loop[:], st.Loop[:])
	addAll(sum.Turns.Buckets[:], st.Turns.Buckets[:])
	addAll(sum.refused[:], st.refused[:])
	addAll(sum.closed[:], st.closed[:])
	addAll(sum.tokens[:], st.tokens[:])
}

func addAll(sum, of []uint64) {
	for i, n := range of {
		sum[i] += n
	}
}
