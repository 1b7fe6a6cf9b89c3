// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"strconv"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// How four topics are asked for next, behind a batch of them that ended in some way, is by itself what they need: of
// the leader, singly, or by a batch, if there are not too many.
func TestBatchNext(t *testing.T) {
	next := func(r *batchRig, singly, leader, batch int) {
		t.Helper()
		one, many := r.g.take()
		of := 0
		for _, q := range one {
			if q.leader {
				of++
			}
		}
		if len(one) != singly+leader || of != leader || len(many) != batch {
			t.Errorf("%d are asked for by a batch, %d singly, %d of them of the leader", len(many), len(one), of)
		}
	}
	again := func(r *batchRig) {
		for _, w := range r.wants {
			r.again(w)
		}
	}
	r := newBatchRig(t)
	r.say("NATS/1.0 413 Too Many Results", "")
	next(r, 4, 0, 0)
	for _, w := range r.wants {
		r.found(w, found{absent: true}, false)
	}
	again(r)
	next(r, 0, 0, 4) // They were served meanwhile.

	r = newBatchRig(t)
	for _, topic := range []string{"A", "B", "C", "D"} {
		r.place.floors.heard(topic, 9)
	}
	r.say("NATS/1.0 404 No Results", "")
	next(r, 0, 4, 0)

	r = newBatchRig(t)
	r.g.expire(time.Now().Add(time.Hour))
	r.retry(time.Now().Add(time.Hour))
	next(r, 4, 0, 0)

	r = newBatchRig(t)
	again(r)
	for i := range batchesMax {
		r.g.batches[strconv.Itoa(i)] = &batch{}
	}
	next(r, 0, 0, 0)
}

// The answer to a single direct get is the message of the subject, whatever headers its publisher gave it.
func TestDirectAnswer(t *testing.T) {
	answer := func(headers string) *natsgo.Msg {
		h, err := natsgo.DecodeHeadersMsg([]byte(headers + "\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return &natsgo.Msg{Header: h, Data: []byte("1")}
	}
	const mine = "\r\nNats-Subject: A\r\nNats-Sequence: 5"
	for _, headers := range []string{"NATS/1.0" + mine, "NATS/1.0 404 Message Not Found" + mine, "NATS/1.0\r\nStatus: 404\r\nNats-Sequence: 7\r\nNats-Subject: B" + mine} {
		if f := directAnswer(answer(headers), "A"); f != (found{value: "1", seq: 5}) {
			t.Errorf("%q: %+v", headers, f)
		}
	}
	if f := directAnswer(answer("NATS/1.0"+mine), "B"); f.err == nil {
		t.Errorf("the message of another subject is taken: %+v", f)
	}
	if f := directAnswer(answer("NATS/1.0 404 Message Not Found"), "A"); !f.absent {
		t.Errorf("that there is none: %+v", f)
	}
}
