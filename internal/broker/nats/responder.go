// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"encoding/json"
	"sync"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

const (
	// keptTopics and keptBytes bound what a responder keeps: beyond that it does not answer for new topics.
	keptTopics = 1_000_000
	keptBytes  = 256 << 20
)

// responder answers for the newest values that a publisher has written where no stream keeps them.
type responder struct {
	mu     sync.Mutex
	values map[string][]byte // By subject.
	bytes  int
}

func newResponder() *responder { return &responder{values: make(map[string][]byte)} }

// keep notes a value that is being published.
func (r *responder) keep(subject string, value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held, has := r.values[subject]
	if !has && (len(r.values) >= keptTopics || r.bytes+len(value) > keptBytes) {
		return
	}
	if has && versionOf(string(held)) > versionOf(string(value)) && versionOf(string(value)) > 0 {
		return
	}
	r.bytes += len(value) - len(held)
	r.values[subject] = bytes.Clone(value)
}

// forget takes a value back that was not published, unless another took its place.
func (r *responder) forget(subject string, value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, has := r.values[subject]; has && bytes.Equal(held, value) {
		r.bytes -= len(held)
		delete(r.values, subject)
	}
}

// serve answers questions over a connection.
func (r *responder) serve(c *conn) error {
	sub, err := c.Subscribe(newestSubject, func(m *natsgo.Msg) {
		q, ok := parseQuestion(m.Data)
		if !ok || m.Reply == "" {
			return
		}
		if body, err := json.Marshal(r.answer(q)); err == nil {
			_ = m.Respond(body) // Who asks asks again.
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(4096, pendingBytes)
	}
	return err
}

func (r *responder) answer(q question) reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := reply{Values: []valued{}}
	for _, subject := range q.Subjects {
		if value, has := r.values[subject]; has && broker.Inspect(string(value)) == broker.Flawless {
			of.Values = append(of.Values, valued{subject, value})
		}
	}
	return of
}
