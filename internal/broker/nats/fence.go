// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

const (
	// flightMax bounds the messages and questions that a stream has not answered yet.
	flightMax = 512
	// knownMax bounds the subjects of which the newest message is remembered, twice at most.
	knownMax = 1 << 18

	expectSequence = "Nats-Expected-Last-Subject-Sequence"
	// wrongSequence is what a stream says when the newest message of the subject is another.
	wrongSequence = 10071
	// wrongSequenceConstant is the same where it has to be 0.
	wrongSequenceConstant = 10164
)

// holds is what a stream holds of a subject: its newest message, and the version in it.
type holds struct {
	seq uint64
	ver int64
}

// known is what is known of subjects. What has not been used while as many others were is forgotten.
type known struct{ newer, former map[string]holds }

func newKnown() known { return known{newer: make(map[string]holds)} }

func (k *known) of(subject string) (h holds, ok bool) {
	if h, ok = k.newer[subject]; ok {
		return h, true
	}
	if h, ok = k.former[subject]; ok {
		k.set(subject, h)
	}
	return h, ok
}

func (k *known) set(subject string, h holds) {
	if len(k.newer) >= knownMax {
		k.newer, k.former = make(map[string]holds), k.newer
	}
	k.newer[subject] = h
}

func (k *known) forget(subject string) {
	delete(k.newer, subject)
	delete(k.former, subject)
}

// listen subscribes the answers of the stream.
func (w *writer) listen() error {
	w.inbox = natsgo.NewInbox() + "."
	sub, err := w.c.Subscribe(w.inbox+"*", func(m *natsgo.Msg) {
		a := answer{token: m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], data: m.Data}
		if m.Header.Get("Status") == "503" {
			a.err = natsgo.ErrNoResponders
		}
		w.tell(a)
	})
	if err == nil {
		err = sub.SetPendingLimits(8*flightMax, pendingBytes)
	}
	return err
}

// fence writes what is left of items into the stream, each tick with a version on the condition that the
// newest message of its subject is the one whose version it is above: the stream refuses it if another
// publisher has written meanwhile. Then that is looked at anew.
func (p *publisher) fence(ctx context.Context, items *[]*item) error {
	for len(*items) > 0 {
		if err := p.learn(ctx, *items); err != nil {
			return err
		}
		left := (*items)[:0]
		for _, it := range *items {
			if !p.isOutdated(it) {
				left = append(left, it)
			}
		}
		*items = left
		if err := p.send(ctx, items); err != nil {
			return err
		}
	}
	return nil
}

// isOutdated sets the fate of a tick of which the stream has as high a version.
func (p *publisher) isOutdated(it *item) bool {
	h, _ := p.known.of(it.subject)
	if it.tick.Ver == 0 || h.ver < it.tick.Ver {
		return false
	}
	it.tick.Fate = broker.Outdated
	if h.ver == it.tick.Ver && it.doubtful {
		it.tick.Fate = broker.Taken
	}
	return true
}

// learn asks the stream's leader what it holds of the subjects of which that is not known.
func (p *publisher) learn(ctx context.Context, items []*item) error {
	var ask []*item
	for _, it := range items {
		if _, ok := p.known.of(it.subject); !ok && it.tick.Ver > 0 {
			ask = append(ask, it)
		}
	}
	return p.link.each(ctx, p.timeout, len(ask), exchange{ask: func(i int, to string) error {
		body, _ := json.Marshal(map[string]string{"last_by_subj": ask[i].subject}) // Strings.
		return p.link.c.PublishRequest(api+"STREAM.MSG.GET."+p.link.stream, to, body)
	}, take: func(i int, data []byte) error {
		f := leaderAnswer(&natsgo.Msg{Data: data})
		if f.err != nil {
			return f.err
		}
		p.known.set(ask[i].subject, holds{f.seq, versionOf(f.value)})
		return nil
	}})
}

// versionOf is the version of a value as the fence compares it: a fraction does not count.
func versionOf(value string) int64 {
	v, flaw := broker.InspectVersion(value, broker.VersionMember)
	if flaw != broker.Flawless || v.Whole < 0 {
		return 0
	}
	if v.Nano > 0 && v.Whole < math.MaxInt64 {
		return v.Whole + 1 // Only what is above it may be written.
	}
	return v.Whole
}

// send writes items, and leaves those that the stream has refused as it holds another message.
func (p *publisher) send(ctx context.Context, items *[]*item) error {
	all := *items
	var again, unheard []*item
	err := p.link.each(ctx, p.timeout, len(all), exchange{
		ask: func(i int, to string) error {
			it := all[i]
			m := &natsgo.Msg{Subject: it.subject, Reply: to, Data: it.value}
			if it.tick.Ver > 0 {
				h, _ := p.known.of(it.subject)
				m.Header = natsgo.Header{expectSequence: []string{strconv.FormatUint(h.seq, 10)}}
			}
			traced(m, it.tick)
			it.sent = true
			return p.link.c.PublishMsg(m)
		},
		take: func(i int, data []byte) error {
			fenced, err := p.answered(all[i], data)
			if fenced {
				again = append(again, all[i])
			}
			return err
		},
		unheard: func(i int) error {
			unheard = append(unheard, all[i])
			return nil
		},
		denied: func(subject string) int {
			i := slices.IndexFunc(all, func(it *item) bool { return it.sent && !it.settled && it.subject == subject })
			if i >= 0 {
				p.refuse(all[i], broker.Forbidden, errForbidden(subject))
			}
			return i
		},
	})
	if err == nil {
		err = p.notOfStream(ctx, unheard)
	}
	if err == nil {
		*items = again
		return nil
	}
	*items = open(all)
	for _, it := range *items {
		p.known.forget(it.subject)
		it.doubtful = it.doubtful || it.sent // Whether it was taken is not known.
		it.sent = false
	}
	return err
}

// answered takes what the stream says of a tick. fenced holds if its subject has another message than was expected.
func (p *publisher) answered(it *item, data []byte) (fenced bool, err error) {
	var ack struct {
		Seq   uint64    `json:"seq"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return false, err
	}
	switch e := ack.Error; {
	case e != nil && it.tick.Ver > 0 && (e.ErrCode == wrongSequence || e.ErrCode == wrongSequenceConstant):
		p.known.forget(it.subject)
		it.sent = false
		return true, nil
	case e != nil && e.ErrCode == tooLong:
		p.refuse(it, broker.TooLarge, e)
	case e != nil && e.isFull():
		p.refuse(it, broker.Unserved, e)
	case e != nil:
		return false, e
	default:
		it.tick.Fate, it.settled = broker.Taken, true
		if it.tick.Ver > 0 {
			p.known.set(it.subject, holds{ack.Seq, it.tick.Ver})
		} else {
			p.known.forget(it.subject)
		}
	}
	return false, nil
}

// notOfStream refuses items that nobody has answered for, if the stream is there and has no such subjects. It fails
// if there is another reason, such as a stream without a leader.
func (p *publisher) notOfStream(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	var info streamInfo
	if err := p.ask(ctx, p.link.c, "STREAM.INFO."+p.link.stream, nil, &info); err != nil {
		return err
	}
	away := false
	for _, it := range items {
		has := slices.ContainsFunc(info.Config.Subjects, func(pattern string) bool { return matches(pattern, it.subject) })
		if away = away || has; !has {
			p.refuse(it, broker.Unserved, fmt.Errorf("%w: %s has %.200q", errNoSubject, p.link.stream, info.Config.Subjects))
		}
	}
	if away {
		return natsgo.ErrNoResponders
	}
	return nil
}

// exchange is what questions to a stream are, and what is done with what comes of them.
type exchange struct {
	ask     func(i int, to string) error
	take    func(i int, data []byte) error // Takes an answer.
	unheard func(i int) error              // Takes that nobody was there to answer. Nil: it is an error.
	denied  func(subject string) (i int)   // Takes that one may not be asked, and returns which; -1 if it is none. Nil: none is.
}

// each asks n questions, many at a time, and takes their answers, which come in any order. It fails if none
// comes for the timeout.
func (w *writer) each(ctx context.Context, timeout time.Duration, n int, x exchange) error {
	w.round++
	round := strconv.FormatUint(w.round, 36) + "-"
	late := time.NewTimer(timeout)
	defer late.Stop()
	had := make([]bool, n)
	for asked, answered := 0, 0; answered < n; {
		for asked < n && asked-answered < flightMax {
			if err := x.ask(asked, w.inbox+round+strconv.Itoa(asked)); err != nil {
				return err
			}
			asked++
		}
		select {
		case a := <-w.said:
			i, err := x.taken(a, round, had[:asked])
			if err != nil {
				return err
			}
			if i < 0 {
				continue
			}
			had[i] = true
			answered++
			late.Reset(timeout)
		case err := <-w.c.failed:
			return err
		case <-late.C:
			return errors.New("timeout: the stream does not answer")
		case <-ctx.Done():
			return fmt.Errorf("publish: %w", ctx.Err())
		}
	}
	return nil
}

// taken passes on an answer, and returns the number of its question in this round; -1 if it has none, or was answered.
func (x *exchange) taken(a answer, round string, had []bool) (i int, err error) {
	if a.denied != "" {
		if x.denied == nil {
			return -1, nil
		}
		return x.denied(a.denied), nil
	}
	number, ok := strings.CutPrefix(a.token, round)
	i, err = strconv.Atoi(number)
	if !ok || err != nil || i < 0 || i >= len(had) || had[i] {
		return -1, nil
	}
	switch {
	case a.err == nil:
		err = x.take(i, a.data)
	case x.unheard != nil:
		err = x.unheard(i)
	default:
		err = a.err
	}
	return i, err
}
