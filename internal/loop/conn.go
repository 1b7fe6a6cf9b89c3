package loop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/wsproto"
)

const (
	// readMax bounds the input of a conn that one turn handles: 4 KiB are 680 empty
	// frames or 200 commands. What is beyond it waits in the kernel for the conn's next
	// turn, behind the other conns that have input, and at last in the peer, as TCP's
	// window closes. Nothing is left to wait in gnet, which could not be told to stop
	// reading meanwhile.
	readMax = 4 << 10
	// flushAt is how many bytes of answers are gathered before they are written.
	flushAt = 32 << 10

	// messageParts is how many fragments and reads a message may come in. Byte by byte, each
	// read takes up to 20 µs.
	messageParts = 256
	// headReads is how many reads a request head may come in, with the PROXY header before
	// it. Most come in one, and one of some hundred bytes may still come byte by byte.
	headReads = 1024
)

// limits bounds what the peer of a conn may do.
type limits struct {
	wsproto.Limits
	// controls is how many control frames a peer may send in one second of the loop's time, each
	// counted once for every read that it comes in; 0 is any number. Pings are answered,
	// and a pong that nobody asked for costs as much as a ping to read. Beyond it the conn
	// is closed with 1008.
	controls uint8
	// replies bounds the bytes of answers for a peer that does not read. Beyond it the
	// conn is evicted as a slow consumer. The piece of a snapshot or an update that is
	// under way does not count, and there is never more than one.
	replies uint32
	// unfinished is how long a message may take from its first byte to its last, to
	// unfinishedLook. Beyond it the conn is closed with 1008.
	unfinished time.Duration
}

// edgeLimits are those of the edge.
func edgeLimits(maxTopics int) limits {
	return limits{
		Limits: wsproto.Limits{
			Message: wsproto.MessageMax(maxTopics),
			// Clients that fragment at all do so at 4 KiB or so, and a read brings a packet
			// or more, of which the longest message has 40 where they are small (RFC 9293,
			// 3.7.1). The rest is generosity.
			Fragments: messageParts,
			Parts:     messageParts,
		},
		// A client that pings once a second and comes out of a tunnel sends a minute of
		// them at once.
		controls: 100,
		replies:  64 << 10,
		// The longest message, 20 KiB, at 2 KiB a second.
		unfinished: 10 * time.Second,
	}
}

// conn is one connection. Its fan-out half has the same id in the loop's shard.
// Owned by the loop; its slot is used again after OnClose.
type conn struct {
	gc      gnet.Conn // nil when the slot is free.
	more    *details  // What it has beside this, if anything.
	dec     wsproto.Decoder
	source  guard.Source // Who it is from, and holds the room that it has of the guard; 0 if it was not let in.
	id      fanout.ConnID
	name    uint32 // What it is called in its hello and in the log.
	replies uint32 // Bytes of answers that joined its backlog since that was empty.
	fd      int32  // Its socket, as long as gc is not nil.

	controlled uint16 // The second of its last control frame, of which there were controls.
	controls   uint8
	watched    bool // It is in the loop's list of unfinished conns.
	stage      stage
	behind     bool // The socket did not take everything; gnet holds the rest, or held it.
	refuse     bool // It is refused, whatever it asks for.
	cause      cause
}

const connSizeMax = 64 // A million conns in 64 MB.
const _ = uint(connSizeMax - unsafe.Sizeof(conn{}))

// details is what only some conns have: those with a token, and others while their
// handshake lasts.
type details struct {
	session
	head    []byte            // The part of a PROXY header or a request head that has come.
	reads   uint16            // As many.
	addr    netip.Addr        // Who it is from, where a proxy has said so.
	refusal *httphead.Refusal // What the guard has to say to it.
}

// details returns the conn's details, which it has from now on.
func (c *conn) details() *details {
	if c.more == nil {
		c.more = new(details)
	}
	return c.more
}

// gather returns what has come of a header: in, and what was kept before it.
func (c *conn) gather(in []byte) (all []byte, seen int) {
	if c.more == nil || c.more.head == nil {
		return in, 0
	}
	seen = len(c.more.head)
	c.more.head = append(c.more.head, in...)
	return c.more.head, seen
}

// keep keeps what gather has returned. It is at most the longest header and one read:
// whoever looks at it refuses what is longer. It reports false if the header has come in too
// many reads.
func (c *conn) keep(all []byte) bool {
	more := c.details()
	if more.head == nil {
		more.head = bytes.Clone(all)
	}
	more.reads++
	return more.reads <= headReads
}

// stage says what holds of a conn.
type stage uint8

const (
	handshaking stage = iota // The request head is awaited.
	proxied                  // The PROXY header is awaited, and then the request head.
	talking                  // WebSocket frames go both ways.
	leaving                  // Our last word is written; input is thrown away.
)

func connName(name uint32) string { return fmt.Sprintf("%08x", name) }

// handshake takes bytes of a request head.
func (l *loop) handshake(c *conn, in []byte) {
	in, seen := c.gather(in)
	size, refusal := httphead.Head(in, seen)
	if refusal != nil {
		l.refuse(c, refusal)
		return
	}
	if size == 0 {
		if !c.keep(in) {
			l.refuse(c, tooManyReads)
		}
		return
	}
	req, refusal := httphead.ParseRequest(in[:size])
	if refusal == nil && c.source == 0 && !c.refuse {
		// A trusted proxy has said now whom it speaks for.
		if addr := l.server.cfg.Trusted.ClientAddr(c.client(), req.Forwarded); addr != c.client() {
			c.details().addr = addr
		}
		if !l.enter(c) {
			l.part(c)
			return
		}
	}
	if refusal == nil && c.refuse {
		refusal = l.whyRefused(c)
	}
	if refusal == nil && string(req.Path) != "/ws" && !l.server.cfg.echo {
		l.otherPath(c, &req)
		return
	}
	var opening httphead.Opening
	var claims auth.Claims
	if refusal == nil {
		if l.server.cfg.echo {
			refusal = wsproto.CheckUpgrade(&req)
		} else {
			opening, claims, refusal = l.examine(&req)
		}
	}
	if refusal != nil {
		l.refuse(c, refusal)
		return
	}
	rest := in[size:]
	l.shed(c)
	c.stage = talking
	if claims.User != "" {
		l.begin(c, &claims)
	}
	l.counts.upgraded++
	out := wsproto.AppendUpgrade(l.out[:0], &req)
	greeted := l.shard.Open(c.id, c.name, opening.Interval, out)
	if !l.server.cfg.echo {
		out = greeted
	}
	if l.debug() {
		l.server.cfg.Log.Debug("connection opened", "conn_id", connName(c.name), "remote", c.remote())
	}
	if len(opening.Topics) > 0 {
		out = l.opening(c, opening.Topics, out)
	}
	l.frames(c, rest, out)
}

var tooManyReads = &httphead.Refusal{Status: 400, Reason: "the request head comes in too many parts"}

// opening subscribes the topics of the request's query, as if a command had come.
func (l *loop) opening(c *conn, names [][]byte, out []byte) []byte {
	if limit := l.server.cfg.Shard.MaxTopics; len(names) > limit {
		out, _ = l.shard.Refuse(c.id, &wsproto.CommandError{
			Code: wsproto.ErrTooManyTopics, Reason: fmt.Sprintf("more than %d topics in the query", limit),
		}, out)
		return out
	}
	out, _ = l.carryOut(c, &wsproto.Command{Op: wsproto.OpSubscribe, Topics: names}, out)
	return out
}

// frames takes bytes of a conn that is talking, answers them, and writes out, which
// holds what is to be written before the answers.
func (l *loop) frames(c *conn, in, out []byte) {
	answered := l.shard.Heard(c.id)
	for {
		ev, rest, perr := c.dec.Next(in, &l.limits.Limits)
		in = rest
		if perr != nil {
			l.closeWith(c, causeOfCode(perr.Code), wsproto.AppendClose(out, perr.Code, perr.Reason))
			return
		}
		switch ev.Kind {
		case wsproto.NeedMore:
			l.reply(c, out)
			l.out = out[:0]
			l.watch(c)
			return
		case wsproto.Text, wsproto.Binary:
			if l.server.cfg.echo {
				out = wsproto.AppendMessage(out, ev.Kind, ev.Payload)
				break
			}
			var why fanout.Reason
			if out, why = l.command(c, &ev, out); why != 0 {
				l.write(c, out)
				if c.gc != nil {
					l.shard.Evict(c.id, why)
				}
				return
			}
		case wsproto.Ping, wsproto.Pong:
			if ev.Kind == wsproto.Pong && answered {
				answered = false // We have asked for this one.
				break
			}
			if l.controlFlood(c, ev.Parts) {
				l.closeWith(c, causeControls, wsproto.AppendClose(out, wsproto.CodePolicy, "too many control frames in a second"))
				return
			}
			// The edge's pongs never wait in a backlog: the next ping asks again.
			if ev.Kind == wsproto.Ping && (l.server.cfg.echo || l.backlog(c) == 0) {
				out = wsproto.AppendPong(out, ev.Payload)
			}
		case wsproto.Close:
			l.write(c, wsproto.AppendClose(out, ev.Code, ""))
			l.closed(c, ev.Code)
			return
		}
		if len(out) >= flushAt {
			if !l.reply(c, out) {
				return
			}
			out = out[:0]
		}
	}
}

// reply writes answers. It reports whether the conn goes on.
func (l *loop) reply(c *conn, out []byte) bool {
	if l.backlog(c) == 0 {
		c.replies = 0
	} else {
		c.replies += uint32(len(out))
	}
	l.write(c, out)
	if c.gc != nil && c.replies > l.limits.replies {
		l.shard.Evict(c.id, fanout.SlowConsumer)
	}
	return c.gc != nil
}

// controlFlood counts a control frame that came in some reads, and reports whether that is
// too many.
func (l *loop) controlFlood(c *conn, reads int) bool {
	if l.limits.controls == 0 {
		return false
	}
	if second := uint16(l.now.Sub(l.begun) / time.Second); c.controlled != second {
		c.controlled, c.controls = second, 0
	}
	sum := int(c.controls) + reads
	c.controls = uint8(min(sum, math.MaxUint8))
	return sum > int(l.limits.controls)
}

// unfinished names a conn that had an incomplete message when it was listed.
type unfinished struct {
	id   fanout.ConnID
	name uint32 // The id may name another conn by now.
}

// unfinishedLook is how often conns with an incomplete message are looked at.
const unfinishedLook = time.Second

// watch lists a conn whose message is not complete. Only those are looked at later, so
// that the others cost nothing.
func (l *loop) watch(c *conn) {
	if _, ok := c.dec.Unfinished(l.now); ok && !c.watched {
		c.watched = true
		l.unfinished = append(l.unfinished, unfinished{c.id, c.name})
	}
}

// lookAtUnfinished ends the conns whose message takes too long, and forgets those
// that have completed theirs.
func (l *loop) lookAtUnfinished(now time.Time) {
	l.unfinishedAt = now
	kept := l.unfinished[:0]
	for _, u := range l.unfinished {
		c := l.conn(u.id)
		if c.gc == nil || c.name != u.name {
			continue
		}
		since, ok := c.dec.Unfinished(now)
		switch {
		case !ok:
			c.watched = false
		case now.Sub(since) >= l.limits.unfinished:
			l.closeWith(c, causeUnfinished, wsproto.AppendClose(l.out[:0], wsproto.CodePolicy, "message not complete in time"))
		default:
			kept = append(kept, u)
		}
	}
	l.unfinished = kept
}

// command carries out one client message. If there were too many of its kind, the conn
// is to be evicted for the reason why.
func (l *loop) command(c *conn, msg *wsproto.Event, out []byte) (_ []byte, why fanout.Reason) {
	size := wsproto.Size{Bytes: len(msg.Payload), Parts: msg.Parts}
	cmd, cerr := l.parser.Parse(msg.Payload)
	if cerr != nil {
		l.counts.malformed++
		cerr.Size = size
		return l.shard.Refuse(c.id, cerr, out)
	}
	cmd.Size = size
	l.counts.commands++
	if hook := l.server.cfg.onCommand; hook != nil {
		hook(cmd)
	}
	return l.carryOut(c, cmd, out)
}

// closed ends a conn whose peer has closed it and has our answer (RFC 6455, 5.5.1), or
// will have it behind what it has not read yet.
func (l *loop) closed(c *conn, code wsproto.Code) {
	if c.gc == nil {
		return
	}
	c.cause = causeOfPeer(code)
	if l.backlog(c) > 0 {
		l.leave(c)
		return
	}
	l.drop(c)
}

// refuse answers a request and ends the conn.
func (l *loop) refuse(c *conn, r *httphead.Refusal) {
	l.counts.refuse(r.Status)
	l.closeWith(c, causeHTTP, r.Append(l.out[:0]))
}

// closeWith writes the last bytes to a conn and awaits its end.
func (l *loop) closeWith(c *conn, why cause, out []byte) {
	c.cause = why
	l.write(c, out)
	if c.gc != nil {
		l.leave(c)
	}
}

// leave waits for the peer to close, after our last word was written. Our side of
// the connection is closed behind it, so that even a peer that knows nothing of close
// frames sees the end.
func (l *loop) leave(c *conn) {
	c.stage = leaving
	l.shed(c)
	c.dec = wsproto.Decoder{}
	limitLeaving(int(c.fd))
	l.shard.Closing(c.id)
	if l.backlog(c) == 0 {
		shutdownWrite(int(c.fd))
	}
}

// drop closes a conn's socket now.
func (l *loop) drop(c *conn) {
	// The error says that closing the descriptor failed, of which nothing follows.
	_ = c.gc.EventLoop().Close(c.gc)
}

// write hands bytes to the socket. The conn may be gone afterwards (c.gc == nil): a
// failed write closes it. Only what the socket does not take at once goes by way of
// gnet, which keeps it and writes it when the socket is ready.
func (l *loop) write(c *conn, p []byte) {
	if len(p) == 0 {
		return
	}
	l.counts.bytesOut += uint64(len(p))
	if !c.behind {
		n := send(c.fd, p)
		if n == len(p) {
			return
		}
		p = p[n:]
		c.behind = true
	}
	l.shard.Joined(c.id, len(p)) // Before, as a write that fails ends the conn inside.
	_, _ = c.gc.Write(p)
}

// backlog is how many bytes of what was written the socket has not taken yet.
func (l *loop) backlog(c *conn) int {
	if !c.behind {
		return 0
	}
	n := c.gc.OutboundBuffered()
	c.behind = n > 0
	return n
}

// Write implements [fanout.Sink].
func (l *loop) Write(id fanout.ConnID, p []byte) { l.write(l.conn(id), p) }

// Backlog implements [fanout.Sink].
func (l *loop) Backlog(id fanout.ConnID) int { return l.backlog(l.conn(id)) }

// Evict implements [fanout.Sink].
func (l *loop) Evict(id fanout.ConnID, r fanout.Reason) {
	c := l.conn(id)
	l.remember(c)
	if c.cause == 0 {
		c.cause = cause(r)
	}
	switch {
	case r.Hard():
		_ = c.gc.SetLinger(0) // A reset, which also drops what the kernel holds.
		l.drop(c)
	case c.stage != talking:
		l.drop(c)
	default:
		out := wsproto.AppendBye(l.out[:0], r.Code(), r.Text(), l.retryMS(r))
		l.closeWith(c, c.cause, wsproto.AppendClose(out, r.Code(), r.Text()))
	}
}

// Drained implements [fanout.Sink]: the last word is out, so the peer may see the end.
func (l *loop) Drained(id fanout.ConnID) { shutdownWrite(int(l.conn(id).fd)) }

// retryMS advises when to come back, spread so that those who are sent away together
// do not come back together. 0 is no advice.
func (l *loop) retryMS(r fanout.Reason) int {
	switch r {
	case fanout.Drain:
		return 1000 + l.rng.IntN(9000)
	case fanout.NoPong, fanout.Panic:
		return 500 + l.rng.IntN(1500)
	}
	return 0
}

func (l *loop) debug() bool {
	return l.server.cfg.Log.Enabled(context.Background(), slog.LevelDebug)
}

func (l *loop) logEnd(c *conn, err error) {
	if !l.debug() {
		return
	}
	detail := ""
	if err != nil && !errors.Is(err, io.EOF) {
		detail = err.Error()
	}
	who := c.identity()
	l.server.cfg.Log.Debug("connection closed", "conn_id", who.Conn, "user", who.User, "remote", who.Remote,
		"close_reason", c.cause.String(), "lag", l.shard.Lag(), "error", detail)
}
