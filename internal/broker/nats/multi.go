// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

const (
	// batchMax bounds the subjects of one batch. A server answers for 1,024 at most.
	batchMax = 256
	// batchMin is how many subjects are worth one: fewer are asked for one by one.
	batchMin = 4
	// batchesMax bounds the batches under way.
	batchesMax = 8
	// batchBytes is how much a server is to send for a batch. It ends the batch with the message that reaches it.
	batchBytes = 4 << 20
	// batchCuts is how many batches in a row may not end as they have to. Then the link makes no more of them.
	batchCuts = 3
)

// batch is a question for the newest messages of many subjects: a direct get of several, of servers from 2.11 on
// (https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md). The messages come in the order of
// their sequences, each with the sequence of the one before it, and behind them what says that the batch ends.
type batch struct {
	open    map[string]get // By subject: what is not answered yet.
	last    uint64         // The sequence of the newest message that came; 0 before the first.
	pending uint64         // How many come behind that, as it says.
	heard   time.Time      // When something of it came last; when it was asked, before the first.
}

// ending is whether, and how, a batch has ended.
type ending uint8

const (
	onward ending = iota // It has not: a message came.
	whole                // All was sent: a subject without a message has none.
	part                 // The server has sent what it may send at once.
	cut                  // What came is not what has to come, or says that the server could not.
	unable               // The server does not know what a batch is.
)

// askMany asks for several subjects by one question.
func (g *getter) askMany(many []get) error {
	b := &batch{open: make(map[string]get, len(many)), heard: many[0].asked}
	question := struct {
		Last  []string `json:"multi_last"`
		Bytes int      `json:"max_bytes"`
	}{make([]string, len(many)), batchBytes}
	for i, of := range many {
		question.Last[i], b.open[of.w.subject] = of.w.subject, of
	}
	body, _ := json.Marshal(question) // Strings and a number.
	if int64(len(body)) > g.l.c.MaxPayload() {
		return g.askEach(many)
	}
	g.mu.Lock()
	g.number++
	token := strconv.FormatUint(g.number, 36)
	g.batches[token] = b
	g.mu.Unlock()
	if err := g.l.c.PublishRequest(api+"DIRECT.GET."+g.l.stream, g.batchInbox+token, body); err != nil {
		return fmt.Errorf("ask for newest values: %w", err)
	}
	return nil
}

// answerMany takes a message of a batch, on the goroutine that reads. It may be any: of a batch that is over, or
// of none.
func (g *getter) answerMany(m *wireMessage) {
	h, _ := natsgo.DecodeHeadersMsg(m.header) // Nil says nothing of what it has to.
	token := m.subject[bytes.LastIndexByte(m.subject, '.')+1:]
	g.mu.Lock()
	b := g.batches[string(token)]
	if b == nil {
		g.mu.Unlock()
		return
	}
	of, end := b.take(h)
	if end != onward {
		delete(g.batches, string(token))
		g.judge(end)
	}
	g.mu.Unlock()
	s := g.l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if end != onward {
		s.close(b, end)
		broker.Signal(g.room)
		return
	}
	if s.isBusy(of.w) {
		s.found(of.w, found{value: valueOf(h, string(m.payload)), seq: b.last}, false)
	}
}

// judge decides by the end of a batch whether the link makes more of them. The caller holds g.mu.
func (g *getter) judge(end ending) {
	switch end {
	case unable:
		g.singly = true
	case cut:
		g.cuts++
		g.singly = g.singly || g.cuts >= batchCuts
	default:
		g.cuts = 0
	}
}

// close takes the end of a batch. What it leaves open is asked for again, one by one if the batch is not to be
// trusted. The caller holds s.mu, and wakes who asks.
func (s *source) close(b *batch, end ending) {
	for _, of := range b.open {
		switch {
		case !s.isBusy(of.w):
		case end == whole:
			s.found(of.w, found{absent: true}, false)
		default:
			of.w.singly = of.w.singly || end != part
			s.again(of.w)
		}
	}
}

// expireBatches ends batches of which nothing came in time, and returns what they leave open. The caller holds
// g.mu.
func (g *getter) expireBatches(now time.Time) (late []get) {
	for token, b := range g.batches {
		if now.Sub(b.heard) <= g.l.s.timeout {
			continue
		}
		for _, of := range b.open {
			late = append(late, of)
		}
		delete(g.batches, token)
	}
	if late != nil {
		g.judge(cut) // Once for all: they are late for the same reason.
	}
	return late
}

// refused takes that batches are not permitted: single subjects may be.
func (g *getter) refused() {
	g.mu.Lock()
	g.singly = true
	batches := g.batches
	g.batches = make(map[string]*batch)
	g.mu.Unlock()
	s := g.l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		s.close(b, unable)
	}
	broker.Signal(g.room)
}

// take takes what a message says, and of which question it is the answer if the batch goes on. Headers of the
// message's publisher stand before those of the server, and a message has its subject from the server in any case.
func (b *batch) take(h natsgo.Header) (of get, end ending) {
	before, ok := parseUint(ofServer(h, "Nats-Last-Sequence"))
	pending, counted := parseUint(ofServer(h, "Nats-Num-Pending"))
	if subject := ofServer(h, "Nats-Subject"); subject != "" {
		seq, placed := parseUint(ofServer(h, "Nats-Sequence"))
		of, asked := b.open[subject]
		if !asked || !placed || !ok || !counted || before != b.last || seq <= before || pending >= uint64(len(b.open)) {
			return get{}, cut
		}
		delete(b.open, subject)
		b.last, b.pending, b.heard = seq, pending, time.Now()
		return of, onward
	}
	switch h.Get("Status") {
	case "204":
		// 2.11.0 counts one too few where it stops early, but not in its messages.
		switch regular := ok && counted && b.last > 0 && before == b.last; {
		case regular && pending == 0 && b.pending == 0:
			return get{}, whole
		case regular && b.pending > 0:
			return get{}, part
		}
	case "404": // Another one is that a message could not be read.
		if b.last == 0 && h.Get("Description") == "No Results" {
			return get{}, whole
		}
	case "408":
		return get{}, unable
	}
	return get{}, cut
}

// ofServer is the last of the headers of a name, which a server has put behind those of a publisher.
func ofServer(h natsgo.Header, name string) string {
	all := h[name]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}
