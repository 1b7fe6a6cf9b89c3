// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

const (
	// newestSubject is where publishers are asked for newest values if no stream keeps them.
	newestSubject = "_tickedge.newest"
	// newestMax bounds the subjects of one question. With values of 4 KiB the answer is below the
	// megabyte that a message may have.
	newestMax = 64
)

// question asks for the newest values of some subjects.
type question struct {
	Subjects []string `json:"subjects"`
}

// reply has the values of those that its publisher knows.
type reply struct {
	Values []valued `json:"values"`
}

type valued struct {
	Subject string          `json:"subject"`
	Value   json.RawMessage `json:"value"`
}

// parseQuestion reads a question, which anybody may have sent.
func parseQuestion(data []byte) (q question, ok bool) {
	if len(data) > newestMax*(templateMax+4*64+8) || json.Unmarshal(data, &q) != nil || len(q.Subjects) > newestMax {
		return question{}, false
	}
	return q, true
}

func meta(owner broker.Owner, v topics.Version) topics.Meta {
	return topics.Meta{At: owner.Now(), Version: v}
}

// collect asks, and takes answers for [answerWait] behind the first. Of several values of a topic that with the highest
// version counts.
func (l *coreLink) collect(ctx context.Context, part []*want) (map[string]string, error) {
	q, answered := question{}, false
	for _, w := range part {
		q.Subjects = append(q.Subjects, w.subject)
	}
	body, _ := json.Marshal(q) // Strings.
	inbox, said := l.inbox.open()
	defer l.inbox.close(inbox)
	if err := l.c.PublishRequest(newestSubject, inbox, body); err != nil {
		return nil, err
	}
	values := make(map[string]string, len(part))
	for { // Until nobody answers any more: who has answered first may be one that has stopped publishing long ago.
		m, err := (*natsgo.Msg)(nil), error(nil)
		select {
		case m = <-said:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil && len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			err = natsgo.ErrNoResponders
		}
		if err != nil {
			if answered {
				return values, nil
			}
			return nil, err
		}
		var r reply
		if json.Unmarshal(m.Data, &r) != nil {
			continue // Anybody may answer anything.
		}
		if !answered {
			var cancel func()
			ctx, cancel = context.WithTimeout(ctx, answerWait)
			defer cancel()
			answered = true
		}
		for _, v := range r.Values {
			if held, has := values[v.Subject]; slices.Contains(q.Subjects, v.Subject) && (!has || newer(string(v.Value), held)) {
				values[v.Subject] = string(v.Value)
			}
		}
	}
}

// newer reports whether a value has a higher version than another.
func newer(value, than string) bool {
	v, _ := broker.InspectVersion(value, broker.VersionMember)
	w, _ := broker.InspectVersion(than, broker.VersionMember)
	return v.Compare(w) > 0
}

// inbox is one subscription for the answers to all questions of a link. One for each would need room for a
// subscription when there may be none.
type inbox struct {
	prefix string

	mu      sync.Mutex
	next    uint64
	waiting map[string]chan *natsgo.Msg // By subject.
}

// listen subscribes. The answers are taken on a goroutine of nats.go.
func (b *inbox) listen(c *conn) error {
	b.prefix, b.waiting = natsgo.NewInbox()+".", make(map[string]chan *natsgo.Msg)
	sub, err := c.Subscribe(b.prefix+"*", func(m *natsgo.Msg) {
		b.mu.Lock()
		defer b.mu.Unlock()
		select {
		case b.waiting[m.Subject] <- m:
		default: // Nobody waits for it any more, or too many have answered.
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(askingMax*newestMax, pendingBytes)
	}
	return err
}

// open returns where a question is to be answered, and its answers.
func (b *inbox) open() (subject string, said <-chan *natsgo.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	subject = b.prefix + strconv.FormatUint(b.next, 36)
	answers := make(chan *natsgo.Msg, newestMax)
	b.waiting[subject] = answers
	return subject, answers
}

func (b *inbox) close(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, subject)
}
