// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

const (
	// IntervalMin is the shortest window that a stream may ask for. It costs a goroutine and no visit of
	// a loop, so it may be shorter than on the client port.
	IntervalMin = 10 * time.Millisecond
	intervalMax = protocol.IntervalMax * time.Millisecond

	// fetchLook is when a stream is looked at after a subscribe of topics that are being fetched.
	fetchLook = 50 * time.Millisecond
	// version is that of docs/PROTOCOL.md.
	version = 1
)

// stream is one call of Prices.Stream. The goroutine of its handler owns it, and does everything but
// two things that block: one goroutine beside it receives, and one sends one message at a time. While
// that one is at it nothing is gathered and no command is taken, so nothing waits for a slow client
// but that message, what a command was answered with, and what HTTP/2 has taken of it. All ends when the handler returns,
// which ends the calls that block too.
type stream struct {
	*wanting
	wire     grpc.BidiStreamingServer[pricesv1.StreamRequest, pricesv1.StreamResponse]
	replaced chan struct{} // Closed when a newer one of the user took its place.

	screens fanout.Screens
	queue   []*pricesv1.StreamResponse // To be sent before anything is gathered: of one gather, or of one command.
	sending bool                       // One is being sent.
	more    bool                       // There is more to gather as soon as that is sent.

	interval time.Duration
	commands guard.Bucket
	window   time.Time // When to gather next.
	sent     time.Time // When the last message was sent, or given to the sender.
	bare     time.Time // Since when there is no topic.
	end      time.Time // By the age of the stream; zero for never.
	drained  time.Time // Zero while the edge goes on.
	counted  uint64    // Of the cursor's updates, those that the server has counted.
}

// Stream implements the service.
func (s *Server) Stream(wire grpc.BidiStreamingServer[pricesv1.StreamRequest, pricesv1.StreamResponse]) error {
	who, err := s.identify(wire.Context())
	if err != nil {
		return err
	}
	now := time.Now()
	if v := s.cfg.Share.Enter(who.prefix, now); v.Outcome != guard.OK {
		return refused(v)
	}
	defer s.cfg.Share.Leave(who.prefix)
	st := &stream{wanting: s.wanting(who), wire: wire, replaced: make(chan struct{}), interval: s.cfg.Limits.Interval}
	defer func() { st.cursor.release(time.Now()); st.dropScreens("", time.Now()) }()
	if who.user != "" {
		leave := s.cfg.Share.EnterUser(who.user, func() { close(st.replaced) })
		defer leave()
	}
	s.counts.streams.Add(1)
	defer s.counts.streams.Add(-1)
	err = st.run(now)
	s.ended(err)
	return err
}

// run serves the client until one of both ends it. The error is a status.
func (st *stream) run(now time.Time) error {
	ctx, stop := context.WithCancel(st.wire.Context())
	defer stop()
	commands, ended := st.receive(ctx)
	messages, sent := st.send()
	defer close(messages)
	st.begin(now)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	draining := st.server.draining
	revoked := st.server.cfg.Verifier.Revocations()
	changed := revoked.Changed()
	if st.server.isRevoked(st.caller) { // Since it was verified, and before changed.
		return end(fanout.Revoked)
	}
	for {
		if !st.sending && len(st.queue) > 0 {
			messages <- st.queue[0] // The sender waits for it.
			st.queue, st.sending, st.sent = st.queue[1:], true, time.Now()
		}
		var taken <-chan *pricesv1.StreamRequest // Nil while there is something to send.
		if !st.sending {
			taken = commands
		}
		alarm.Reset(time.Until(st.due()))
		select {
		case <-alarm.C:
			if err := st.look(time.Now()); err != nil {
				return err
			}
		case err := <-sent:
			if err != nil {
				return broken(err)
			}
			st.sending, st.sent = false, time.Now()
		case cmd := <-taken:
			if err := st.command(cmd, time.Now()); err != nil {
				return err
			}
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				return broken(err)
			}
			ended = nil // The client sends no more commands, and goes on to read.
		case <-draining:
			draining = nil
			st.drained = time.Now().Add(rand.N(st.server.drainOver + 1))
		case <-changed:
			if changed = revoked.Changed(); st.server.isRevoked(st.caller) {
				return end(fanout.Revoked)
			}
		case <-st.replaced:
			return end(fanout.Replaced)
		case <-ctx.Done():
			return broken(ctx.Err())
		}
	}
}

// receive takes commands in a goroutine of its own, one at a time, until ctx ends. ended has why there
// are no more.
func (st *stream) receive(ctx context.Context) (commands chan *pricesv1.StreamRequest, ended chan error) {
	commands, ended = make(chan *pricesv1.StreamRequest), make(chan error, 1)
	go func() {
		for {
			cmd, err := st.wire.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case commands <- cmd:
			case <-ctx.Done():
				return
			}
		}
	}()
	return commands, ended
}

// send sends in a goroutine of its own, until messages is closed and the call that blocks has ended.
func (st *stream) send() (messages chan *pricesv1.StreamResponse, sent chan error) {
	messages, sent = make(chan *pricesv1.StreamResponse), make(chan error, 1)
	go func() {
		for m := range messages {
			sent <- st.wire.Send(m) // There is room: the next message comes when this was taken.
		}
	}()
	return messages, sent
}

// begin says hello.
func (st *stream) begin(now time.Time) {
	l := &st.set.limits
	st.sent, st.bare, st.window = now, now, now
	st.commands = st.set.commands.Full(now.Sub(st.server.start))
	if l.MaxAge > 0 { // As on the client port, so that those who come together do not go together.
		st.end = now.Add(l.MaxAge*3/4 + rand.N(l.MaxAge/2+1))
	}
	hello := &pricesv1.Hello{
		Version: version, Interval: uint32(st.interval.Milliseconds()), Heartbeat: uint32(l.Heartbeat.Milliseconds()), MaxTopics: uint32(l.MaxTopics),
	}
	st.queue = append(st.queue, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Hello{Hello: hello}})
}

// due is when the stream is to be looked at next, unless something happens before.
func (st *stream) due() time.Time {
	l := &st.set.limits
	at := st.window
	if st.sending {
		at = st.sent.Add(l.SlowTimeout)
	} else {
		at = earlier(at, st.sent.Add(l.Heartbeat))
	}
	for _, other := range [...]time.Time{st.end, st.drained, st.caller.expires} {
		if !other.IsZero() {
			at = earlier(at, other)
		}
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// look does what is due. The error ends the stream.
func (st *stream) look(now time.Time) error {
	st.refresh(now)
	l := &st.set.limits
	past := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	switch {
	case past(st.drained):
		return end(fanout.Drain)
	case past(st.caller.expires):
		return end(fanout.TokenExpired)
	case past(st.end):
		return end(fanout.MaxAge)
	case st.sending:
		if past(st.sent.Add(l.SlowTimeout)) {
			return end(fanout.SlowConsumer)
		}
		return nil
	case len(st.cursor.entries) == 0 && st.screens.Len() == 0 && past(st.bare.Add(l.IdleTimeout)):
		return end(fanout.Idle)
	}
	if st.more || past(st.window) {
		st.gather(now)
	}
	if len(st.queue) == 0 && past(st.sent.Add(l.Heartbeat)) {
		h := st.cursor.table.Health()
		beat := &pricesv1.Heartbeat{Ts: now.UnixMilli(), FeedUp: h.Up, Tick: h.Tick, Lag: h.Lag}
		st.queue = append(st.queue, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Heartbeat{Heartbeat: beat}})
	}
	return nil
}

// gather queues what the client lacks. It is called while nothing is queued.
func (st *stream) gather(now time.Time) {
	had := len(st.cursor.entries)
	flush := !now.Before(st.window)
	st.queue, st.more = st.cursor.gather(now)
	st.more = st.gatherScreens(flush, now) || st.more
	if had > 0 && len(st.cursor.entries) == 0 {
		st.bare = now
	}
	st.server.counts.updates.Add(st.cursor.updates - st.counted)
	st.counted = st.cursor.updates
	st.window = now.Add(st.interval)
	if st.more {
		st.window = now
	}
}

// command carries out a command. The error ends the stream.
func (st *stream) command(cmd *pricesv1.StreamRequest, now time.Time) error {
	s, names := st.server, cmd.GetSubscribe().GetTopics()
	if cmd.GetUnsubscribe() != nil {
		names = cmd.GetUnsubscribe().GetTopics()
	}
	charge := 1 + len(names)/fanout.TopicsPerCharge
	if cmd.GetScreen() != nil {
		charge += fanout.ScreenCharge
	}
	st.refresh(now)
	if l := &st.set.limits; l.CommandRate > 0 {
		switch st.set.commands.TakeOr(&st.commands, min(charge, l.CommandBurst), 1, now.Sub(s.start)) {
		case guard.Abuse:
			return end(fanout.CommandRate)
		case guard.Over:
			st.refuse(cmd, protocol.ErrTooFast, "too many commands: long lists count as several")
			return nil
		}
	}
	if len(names) > st.set.limits.MaxTopics {
		st.refuse(cmd, protocol.ErrTooManyTopics, "more topics in one command than a stream may have")
		return nil
	}
	ack := &pricesv1.Ack{Id: cmd.GetId()}
	switch c := cmd.GetCommand().(type) {
	case *pricesv1.StreamRequest_Subscribe:
		ack.Rejected = st.want(names, now)
		st.window = now
	case *pricesv1.StreamRequest_Unsubscribe:
		if had := len(st.cursor.entries); had > 0 {
			for _, name := range names {
				st.cursor.remove(name, now)
			}
			st.bare = now
		}
	case *pricesv1.StreamRequest_Interval:
		window := time.Duration(c.Interval.GetMs()) * time.Millisecond
		if window < IntervalMin || window > intervalMax {
			st.refuse(cmd, protocol.ErrMalformed, "interval needs ms, a whole number from 10 to 60000")
			return nil
		}
		st.interval = window
		st.window = earlier(st.window, now.Add(window))
	case *pricesv1.StreamRequest_Screen:
		if e := st.screenOf(c.Screen, now); e != nil {
			st.refuseWith(cmd, e)
			return nil
		}
		st.window = now
	case *pricesv1.StreamRequest_Unscreen:
		if c.Unscreen.GetName() != "" {
			st.dropScreens(c.Unscreen.GetName(), now)
			st.bare = now
		}
	default:
		st.refuse(cmd, protocol.ErrMalformed, "a command is subscribe, unsubscribe, interval, screen or unscreen")
		return nil
	}
	ack.Screens = uint32(st.screens.Len())
	ack.Topics, ack.Interval = uint32(len(st.cursor.entries)), uint32(st.interval.Milliseconds())
	st.queue = append(st.queue, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Ack{Ack: ack}})
	if cmd.GetSubscribe() != nil {
		st.snapshot(now)
	}
	return nil
}

// snapshot queues what there is of topics that were just subscribed, behind their ack. What is being
// fetched is looked for soon.
func (st *stream) snapshot(now time.Time) {
	ack := st.queue
	st.gather(now)
	st.queue = append(ack, st.queue...)
	if st.cursor.awaits() {
		st.window = earlier(st.window, now.Add(fetchLook))
	}
}

// refuse queues the answer to a command that is not carried out.
func (st *stream) refuse(cmd *pricesv1.StreamRequest, code int, reason string) {
	st.refuseWith(cmd, &protocol.CommandError{Code: code, Reason: reason})
}

func (st *stream) refuseWith(cmd *pricesv1.StreamRequest, e *protocol.CommandError) {
	refusal := &pricesv1.CommandError{Id: cmd.GetId(), Code: uint32(e.Code), Reason: protocol.Cut(e.Reason, protocol.ReasonMax), At: uint32(e.At)}
	st.queue = append(st.queue, &pricesv1.StreamResponse{Message: &pricesv1.StreamResponse_Error{Error: refusal}})
}

// broken is the status of a stream whose client, or whose connection, has gone.
func broken(err error) error {
	if st, ok := status.FromError(err); ok {
		return st.Err()
	}
	return status.FromContextError(err).Err()
}
