// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/broker/nats"
)

// Where the ticks are in NATS.
const (
	natsStream  = "TICKS"
	natsPrefix  = "md.prod."
	natsSubject = natsPrefix + "{topic}"
)

// natsTarget publishes on the subjects of topics, and awaits an ack of each from a stream if there is one.
type natsTarget struct {
	nc *natsgo.Conn
	js natsgo.JetStreamContext // Nil without a stream.
}

// natsConn is a publisher's connection, which drops what it can't send at once.
func natsConn(t *testing.T, urls string) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(urls, natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond), natsgo.ReconnectJitter(0, 0),
		natsgo.ReconnectBufSize(-1), natsgo.Timeout(time.Second), natsgo.PingInterval(time.Second), natsgo.MaxPingsOutstanding(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (n *natsTarget) write(ctx context.Context, topics []int, values []string, _ [][]any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if n.js == nil {
		for i, topic := range topics {
			if err := n.nc.Publish(natsPrefix+topicName(topic), []byte(values[i])); err != nil {
				return err
			}
		}
		return n.nc.FlushWithContext(ctx)
	}
	var acks []natsgo.PubAckFuture
	for i, topic := range topics {
		ack, err := n.js.PublishAsync(natsPrefix+topicName(topic), []byte(values[i]))
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (n *natsTarget) stored(ctx context.Context, topic int) (seq uint64, held bool, err error) {
	if n.js == nil {
		return 0, false, nil
	}
	msg, err := n.js.GetLastMsg(natsStream, natsPrefix+topicName(topic))
	for err != nil && !errors.Is(err, natsgo.ErrMsgNotFound) && ctx.Err() == nil { // A leader may be about to be elected.
		time.Sleep(50 * time.Millisecond)
		msg, err = n.js.GetLastMsg(natsStream, natsPrefix+topicName(topic))
	}
	if err != nil {
		return 0, true, err
	}
	seq, err = seqIn(msg.Data)
	return seq, true, err
}

// natsPublisherTarget publishes by our publisher, which answers those who ask for newest values.
type natsPublisherTarget struct{ publisher broker.Publisher }

func (n natsPublisherTarget) write(ctx context.Context, topics []int, values []string, _ [][]any) error {
	ticks := make([]broker.Tick, len(topics))
	for i, topic := range topics {
		seq, err := seqIn([]byte(values[i]))
		if err != nil {
			return err
		}
		ticks[i] = broker.Tick{Topic: topicName(topic), Value: []byte(values[i]), Ver: int64(seq)}
	}
	if !n.publisher.Publish(ctx, ticks) {
		return ctx.Err()
	}
	return nil
}

func (natsPublisherTarget) stored(context.Context, int) (seq uint64, held bool, err error) {
	return 0, false, nil
}

// oneAtATime is a target that has one writer at a time.
type oneAtATime struct {
	mu sync.Mutex
	target
}

func (o *oneAtATime) write(ctx context.Context, topics []int, values []string, first [][]any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.target.write(ctx, topics, values, first)
}

// natsMode is how ticks are in NATS.
type natsMode struct {
	natsConfig
	answered bool // By our publisher, where no stream keeps values.
}

var (
	natsCoreMode  = natsMode{}
	natsAskMode   = natsMode{answered: true}
	natsJetStream = natsMode{natsConfig: natsConfig{jetStream: true}}
	natsDebian    = natsMode{natsConfig: natsConfig{jetStream: true, debian: true}}
)

// query is that of the edges' URL.
func (m natsMode) query() string {
	if m.jetStream {
		return "?mode=jetstream&stream=" + natsStream + "&subject=" + natsSubject
	}
	return "?mode=core&subject=" + natsSubject
}

// at is a server that publishers reach directly, and edges at an address.
func (m natsMode) at(t *testing.T, s *natsServer, addr string) *upstream {
	url := fmt.Sprintf("nats://%s:%s@%s%s", edgeUser, edgePassword, addr, m.query())
	if m.answered {
		p, err := nats.Config{URL: s.url(natsPublisher, natsSecret) + m.query(), Timeout: time.Second}.Publisher(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return &upstream{target: &oneAtATime{target: natsPublisherTarget{p}}, url: url}
	}
	to := &natsTarget{nc: natsConn(t, s.url(natsPublisher, natsSecret))}
	if m.jetStream {
		to.js = jetStream(t, to.nc, 1)
	}
	return &upstream{target: to, url: url}
}

// jetStream makes the stream, which keeps the newest value of each topic.
func jetStream(t *testing.T, nc *natsgo.Conn, replicas int) natsgo.JetStreamContext {
	t.Helper()
	js, err := nc.JetStream(natsgo.MaxWait(patience/4), natsgo.PublishAsyncTimeout(2*time.Second))
	if err == nil {
		err = addStream(js, replicas)
	}
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func addStream(js natsgo.JetStreamContext, replicas int) error {
	_, err := js.AddStream(&natsgo.StreamConfig{
		Name: natsStream, Subjects: []string{natsPrefix + ">"}, MaxMsgsPerSubject: 1, Replicas: replicas, AllowDirect: true,
	})
	return err
}

// cells are those of one server.
func (m natsMode) cells() map[harm]fault {
	cells := map[harm]fault{
		restartedKept:     {told: atLength, prepare: m.restart(func(*natsServer) {})},
		restartedEmpty:    {told: atLength, emptied: true, prepare: m.restart((*natsServer).forget)},
		connectionsKilled: {told: inPassing, prepare: m.connectionsClosed},
		tooSlow:           {told: inPassing, prepare: m.slowConsumer},
		frozen:            {told: atLength, prepare: m.frozen},
		packetsLost:       {told: atLength, prepare: m.packetsDropped},
		topicForbidden:    {told: nothing, gaps: anyGaps, moreTime: refusedTime, prepare: m.subjectForbidden},
		passwordChanged:   {told: atLength, prepare: m.passwordChanged},
		streamEmptied:     no(noStream),
		streamAnew:        no(noStream),
		primaryKilled:     no(oneServer),
		primaryFrozen:     no(oneServer),
		handedOver:        no(oneServer),
		dataMoved:         no(oneServer),
		replicaBehind:     no(oneServer),
	}
	if m.jetStream {
		// The stream is read on from where one was.
		for _, h := range []harm{restartedKept, connectionsKilled, frozen, packetsLost, passwordChanged} {
			f := cells[h]
			f.gaps = gapless
			cells[h] = f
		}
		// Flow control may keep it from being cut off; what floods it takes the place of a value.
		cells[tooSlow] = fault{told: nothing, emptied: true, gaps: anyGaps, prepare: m.slowConsumer}
		cells[topicForbidden] = no(allAsWhole)
		cells[streamEmptied] = fault{told: nothing, emptied: true, gaps: anyGaps, prepare: m.purged}
		cells[streamAnew] = fault{told: nothing, emptied: true, gaps: anyGaps, moreTime: refusedTime, prepare: m.recreated}
	} else {
		cells[restartedKept] = no("the server keeps no values")
	}
	return cells
}

// Our publisher has the values, whatever becomes of the server.
func natsAnswered() map[harm]fault { return natsAskMode.cells() }

func natsOnDebian() map[harm]fault { return natsDebian.cells() }
func natsStreams() map[harm]fault  { return natsJetStream.cells() }

// Nobody has the values of what was missed, so that they are told as stale until the next tick.
func natsCore() map[harm]fault {
	cells := natsCoreMode.cells()
	for h, f := range cells {
		if f.prepare != nil {
			f.forgotten = true
			cells[h] = f
		}
	}
	return cells
}

func (m natsMode) restart(then func(*natsServer)) func(t *testing.T) (*upstream, func(*faultRun)) {
	return func(t *testing.T) (*upstream, func(*faultRun)) {
		s := startNATS(t, m.natsConfig)
		relay := newRelay(t, s.addr)
		up := m.at(t, s, relay.addr())
		return up, func(r *faultRun) {
			relay.refuse() // So that the edges can't be there before the ticks that they are to miss.
			s.kill()
			r.toldDown()
			if *longFaults {
				r.lasts()
			}
			then(s)
			s.start()
			if to, is := up.target.(*natsTarget); is && to.js != nil {
				r.eventually("there is a stream", time.Now(), patience, func() bool { return addStream(to.js, 1) == nil })
			}
			r.tick(quiet())
			relay.admit()
		}
	}
}

func (m natsMode) connectionsClosed(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	relay := newRelay(t, s.addr)
	return m.at(t, s, relay.addr()), func(r *faultRun) {
		relay.cut()
		r.tick(quiet())
		relay.admit()
	}
}

// NATS cuts off who does not take its messages: here, because nothing passes to the edges.
func (m natsMode) slowConsumer(t *testing.T) (*upstream, func(*faultRun)) {
	c := m.natsConfig
	c.pending = "2MB"
	s := startNATS(t, c)
	relay := newRelay(t, s.addr)
	nc := natsConn(t, s.url(natsPublisher, natsSecret))
	return m.at(t, s, relay.addr()), func(r *faultRun) {
		flood := []byte(strings.Repeat("x", 512<<10))
		relay.passing.Lock()
		for range 64 {
			for edge := range r.edges { // They have different topics.
				if err := nc.Publish(natsPrefix+topicName(edge*topicsPerClient), flood); err != nil {
					t.Error(err)
				}
			}
			_ = nc.Flush()
		}
		relay.refuse()
		relay.passing.Unlock()
		r.tick(quiet())
		relay.admit()
	}
}

func (m natsMode) frozen(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	return m.at(t, s, s.addr), func(r *faultRun) { r.freeze(s) }
}

func (m natsMode) packetsDropped(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	relay := newRelay(t, s.addr)
	return m.at(t, s, relay.addr()), func(r *faultRun) { r.losePackets(relay) }
}

func (m natsMode) passwordChanged(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	return m.at(t, s, s.addr), func(r *faultRun) {
		s.reload(func(c *natsConfig) { c.password = "another" })
		r.tick(quiet())
		r.toldDown()
		if *longFaults {
			r.lasts()
		}
		s.reload(func(c *natsConfig) { c.password = edgePassword })
	}
}

// NATS takes subscriptions away from users who may not have them any more.
func (m natsMode) subjectForbidden(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	return m.at(t, s, s.addr), func(r *faultRun) {
		var subjects []string
		for _, topic := range ofEitherEdge() {
			subjects = append(subjects, natsPrefix+topicName(topic))
		}
		s.reload(func(c *natsConfig) { c.denied = subjects })
		r.forbidden(ofEitherEdge())
		s.reload(func(c *natsConfig) { c.denied = nil })
		if m.answered {
			return
		}
		r.eventually("what is permitted again ticks", time.Now(), currentWithin+refusedTime, func() bool {
			r.tick(ofEitherEdge())
			time.Sleep(500 * time.Millisecond) // A window.
			return r.current(ofEitherEdge())
		})
	}
}

// What is purged is not taken back from clients, and what ticks afterwards is shown.
func (m natsMode) purged(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	up := m.at(t, s, s.addr)
	return up, func(r *faultRun) {
		if err := up.target.(*natsTarget).js.PurgeStream(natsStream); err != nil {
			t.Error(err)
		}
		r.tick(quiet())
	}
}

func (m natsMode) recreated(t *testing.T) (*upstream, func(*faultRun)) {
	s := startNATS(t, m.natsConfig)
	up := m.at(t, s, s.addr)
	return up, func(r *faultRun) {
		js := up.target.(*natsTarget).js
		if err := errors.Join(js.DeleteStream(natsStream), addStream(js, 1)); err != nil {
			t.Error(err)
		}
		r.tick(quiet())
		r.ticksOn() // What was deleted is not stored any more.
	}
}
