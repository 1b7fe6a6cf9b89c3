// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/protocol"
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
	// pongs may join a backlog. Those of the edge never do: the next ping asks again.
	pongs bool
	// unfinished is how long a message may take from its first byte to its last, to
	// unfinishedLook. Beyond it the conn is closed with 1008.
	unfinished time.Duration
}

// edgeLimits are those of the edge.
func edgeLimits(maxTopics int) limits {
	return limits{
		Limits: wsproto.Limits{
			Message: protocol.MessageMax(maxTopics),
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
			var why fanout.Reason
			if out, why = l.server.cfg.answer(l, c, ev, out); why != 0 {
				if l.write(c, out) != gone {
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
				l.closeWith(c, causeControls, wsproto.AppendClose(out, protocol.CodePolicy, "too many control frames in a second"))
				return
			}
			if ev.Kind == wsproto.Ping && (l.limits.pongs || l.backlog(c) == 0) {
				out = wsproto.AppendPong(out, ev.Payload)
			}
		case wsproto.Close:
			l.closed(c, ev.Code, wsproto.AppendClose(out, ev.Code, ""))
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
	if l.write(c, out) == gone {
		return false
	}
	if c.replies > l.limits.replies {
		l.shard.Evict(c.id, fanout.SlowConsumer)
		return false
	}
	return true
}

// command carries out one client message. If there were too many of its kind, the conn
// is to be evicted for the reason why.
func (l *loop) command(c *conn, msg wsproto.Event, out []byte) (_ []byte, why fanout.Reason) {
	size := protocol.Size{Bytes: len(msg.Payload), Parts: msg.Parts}
	cmd, cerr := l.parser.Parse(msg.Payload)
	if cerr != nil {
		l.counts.Loop[Malformed]++
		cerr.Size = size
		return l.shard.Refuse(c.id, cerr, out)
	}
	cmd.Size = size
	l.counts.Loop[Commands]++
	if hook := l.server.cfg.onCommand; hook != nil {
		hook(cmd)
	}
	return l.carryOut(c, cmd, out)
}

// carryOut carries out a command, as far as its rate and its token allow. The conn is to be
// evicted for the reason why, if there is one.
func (l *loop) carryOut(c *conn, cmd *protocol.Command, out []byte) (_ []byte, why fanout.Reason) {
	out, ok, why := l.shard.Charge(c.id, cmd, out)
	if !ok {
		return out, why
	}
	var refusal *protocol.CommandError
	if cmd.Op == protocol.OpAuth {
		refusal = l.authorize(c, cmd.Token)
	}
	var user string
	var allowed *auth.Patterns // All.
	if c.more != nil {
		user, allowed = c.more.user, c.more.topics
	}
	rights := l.rights(user, allowed)
	rights.Refusal = refusal
	out = l.shard.Command(c.id, cmd, rights, out)
	if cmd.Op == protocol.OpSubscribe {
		l.shard.Answered(c.id, l.now, time.Now())
	}
	return out, 0
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
			l.closeWith(c, causeUnfinished, wsproto.AppendClose(l.out[:0], protocol.CodePolicy, "message not complete in time"))
		default:
			kept = append(kept, u)
		}
	}
	l.unfinished = kept
}
