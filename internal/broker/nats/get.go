// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// getsMax bounds the questions for newest values under way.
const getsMax = 512

// getter asks a stream for the newest values of topics, many at a time. Any server that has the stream may
// answer (a direct get), and one that is behind says something older than has been heard: then the
// stream's leader is asked.
type getter struct {
	l          *streamLink
	inbox      string
	batchInbox string        // That of batches, whose answers the tap takes.
	room       chan struct{} // Has an element when there may be room again.
	mu         sync.Mutex
	open       map[string]get    // By the last part of the subject for the answer.
	batches    map[string]*batch // The same.
	number     uint64
	cuts       int  // Batches in a row that did not end as they have to.
	singly     bool // No more batches are made.
}

type get struct {
	w      *want
	mark   uint64
	asked  time.Time
	leader bool
}

func newGetter(l *streamLink) getter {
	return getter{l: l, room: make(chan struct{}, 1), open: make(map[string]get), batches: make(map[string]*batch)}
}

// listen subscribes the answers.
func (g *getter) listen() error {
	g.inbox, g.batchInbox = natsgo.NewInbox()+".", natsgo.NewInbox()+"."
	sub, err := g.l.c.Subscribe(g.inbox+"*", g.answer)
	if err == nil {
		err = sub.SetPendingLimits(4*getsMax, pendingBytes)
	}
	if err == nil {
		_, err = g.l.c.tap.Write(subscribe(nil, g.batchInbox+"*", batchesSub))
	}
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// work asks for what is due.
func (g *getter) work(ctx context.Context) error {
	for {
		one, many := g.take()
		if err := g.askEach(one); err != nil {
			return err
		}
		if len(many) > 0 {
			if err := g.askMany(many); err != nil {
				return err
			}
		}
		if len(one)+len(many) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.l.s.wake:
		case <-g.room:
		}
	}
}

// take returns what is due and there is room for: what is asked for one by one, and what is by a batch.
func (g *getter) take() (one, many []get) {
	g.mu.Lock()
	room, batched := getsMax-len(g.open), g.l.direct && !g.singly
	if batched {
		room = min(room, batchMax)
		if len(g.batches) >= batchesMax {
			room = 0
		}
	}
	g.mu.Unlock()
	s, now := g.l.s, time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.take(room) {
		of := get{w, w.mark, now, w.leader || !g.l.direct}
		if batched && !of.leader && !w.singly {
			many = append(many, of)
		} else {
			one = append(one, of)
		}
	}
	if len(many) < batchMin {
		return append(one, many...), nil
	}
	return one, many
}

// askEach asks for subjects one by one.
func (g *getter) askEach(all []get) error {
	for _, of := range all {
		if err := g.ask(of); err != nil {
			return err
		}
	}
	return nil
}

func (g *getter) ask(of get) error {
	g.mu.Lock()
	g.number++
	token := strconv.FormatUint(g.number, 36)
	g.open[token] = of
	g.mu.Unlock()
	subject, body := api+"DIRECT.GET."+g.l.stream+"."+of.w.subject, []byte(nil)
	if of.leader {
		subject = api + "STREAM.MSG.GET." + g.l.stream
		body, _ = json.Marshal(map[string]string{"last_by_subj": of.w.subject}) // Strings.
	}
	if err := g.l.c.PublishRequest(subject, g.inbox+token, body); err != nil {
		return fmt.Errorf("ask for a newest value: %w", err)
	}
	return nil
}

// expire ends questions that were not answered in time.
func (g *getter) expire(now time.Time) {
	g.mu.Lock()
	var late []get
	for token, of := range g.open {
		if now.Sub(of.asked) > g.l.s.timeout {
			late = append(late, of)
			delete(g.open, token)
		}
	}
	batched := g.expireBatches(now)
	g.mu.Unlock()
	if len(late)+len(batched) == 0 {
		return
	}
	broker.Signal(g.room)
	s := g.l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range batched {
		of.w.singly = true
	}
	for _, of := range append(late, batched...) {
		if s.isBusy(of.w) && of.w.mark == of.mark {
			s.fail(of.w, broker.Unreachable, "timeout: a newest value was not answered for")
		}
	}
}

// found is what a stream says of a subject.
type found struct {
	value  string
	seq    uint64
	absent bool
	err    error
}

func (g *getter) answer(m *natsgo.Msg) {
	token := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	g.mu.Lock()
	of, ok := g.open[token]
	delete(g.open, token)
	full := len(g.open) >= getsMax-64
	g.mu.Unlock()
	if !full {
		broker.Signal(g.room)
	}
	if !ok {
		return
	}
	f := directAnswer(m, of.w.subject)
	if of.leader {
		f = leaderAnswer(m)
	}
	s := g.l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isBusy(of.w) {
		s.found(of.w, f, of.leader)
	}
}

// found takes what a stream says of a topic. The caller holds s.mu.
func (s *source) found(w *want, f found, leader bool) {
	floor := s.place.floors.of(w.subject)
	switch {
	case !leader && errors.Is(f.err, errForeign): // A header that can't be read. The leader has it apart from where it is.
		w.leader = true
		s.again(w)
		broker.Signal(s.wake)
	case f.err != nil:
		s.fail(w, causeOf(f.err), f.err.Error())
	case !leader && (f.absent && floor > 0 || !f.absent && f.seq < floor):
		w.leader = true // That server is behind.
		s.again(w)
		broker.Signal(s.wake)
	case f.seq < floor && !f.absent && w.fails < failsMax: // A leader that is none any more; unless the newer one was deleted.
		s.fail(w, broker.Down, "the stream's leader holds less than was heard")
	case f.absent:
		s.owner.Absent(w.topic)
		s.finish(w)
	case w.ticked || f.seq < w.seq: // What was received is newer, or this comes again as a tick.
		w.mark = noMark
		s.commit(w, f.value)
	default:
		w.seq = f.seq
		s.commit(w, f.value)
	}
}

// noMark is that of no row: a repair with it says only that the value was read.
const noMark = ^uint64(0)

// directAnswer reads the answer to a direct get: the message itself, with where it is in its headers.
func directAnswer(m *natsgo.Msg, subject string) (f found) {
	of := ofServer(m.Header, "Nats-Subject")
	if status := m.Header.Get("Status"); of == "" && status != "" {
		switch status {
		case "404":
			return found{absent: true}
		case "503":
			return found{err: natsgo.ErrNoResponders}
		}
		return found{err: errors.New(status + " " + m.Header.Get("Description"))}
	}
	seq, ok := parseUint(ofServer(m.Header, "Nats-Sequence"))
	if !ok || of != subject {
		return found{err: errForeign}
	}
	return found{value: valueOf(m.Header, string(m.Data)), seq: seq}
}

// leaderAnswer reads the answer to STREAM.MSG.GET.
func leaderAnswer(m *natsgo.Msg) (f found) {
	if m.Header.Get("Status") == "503" {
		return found{err: natsgo.ErrNoResponders}
	}
	raw, err := parseRaw(m.Data)
	switch {
	case err != nil:
		return found{err: err}
	case raw.Error != nil && raw.Error.Code == 404:
		return found{absent: true}
	case raw.Error != nil:
		return found{err: raw.Error}
	}
	f = found{value: string(raw.Message.Data), seq: raw.Message.Seq}
	if len(raw.Message.Headers) > 0 {
		if h, err := natsgo.DecodeHeadersMsg(raw.Message.Headers); err == nil {
			f.value = valueOf(h, f.value)
		}
	}
	return f
}
