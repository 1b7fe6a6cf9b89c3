// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
)

// What a server says to a batch is believed as far as it is whole: each message by itself, and that there is none of
// a subject only if nothing was left out.
func TestBatchAnswers(t *testing.T) {
	a, b := messageOf("A", 5, 0, 1), messageOf("B", 7, 5, 0)
	behind := func(headers string) string { return strings.Replace(a, "NATS/1.0\n", headers, 1) }
	for name, c := range map[string]struct {
		said []string // Headers; the payload is 1 for the first, and so on.
		want string
	}{
		"all":                      {[]string{messageOf("A", 5, 0, 3), messageOf("C", 7, 5, 2), messageOf("B", 8, 7, 1), messageOf("D", 9, 8, 0), endOf(9, 0)}, "1 3 2 4"},
		"some":                     {[]string{a, b, endOf(7, 0)}, "1 2 absent absent"},
		"none":                     {[]string{"NATS/1.0 404 No Results"}, "absent absent absent absent"},
		"some until now":           {[]string{a, b}, "1 2 open open"},
		"more than it may send":    {[]string{a, endOf(5, 1)}, "1 batch batch batch"},
		"more, counted wrong":      {[]string{a, endOf(5, 0)}, "1 batch batch batch"},
		"more, where none is left": {[]string{a, b, endOf(7, 1)}, "1 2 single single"},
		"too many":                 {[]string{"NATS/1.0 413 Too Many Results"}, "single single single single"},
		"unknown":                  {[]string{"NATS/1.0 408 Empty Request"}, "single single single single no more"},
		"nobody":                   {[]string{"NATS/1.0 503"}, "single single single single"},
		"error":                    {[]string{a, "NATS/1.0 500 disk"}, "1 single single single"},
		"one can't be read":        {[]string{"NATS/1.0 404 Message Not Found"}, "single single single single"},
		"one can't, behind others": {[]string{a, "NATS/1.0 404 Message Not Found"}, "1 single single single"},
		"none behind some":         {[]string{a, "NATS/1.0 404 No Results"}, "1 single single single"},
		"end without beginning":    {[]string{endOf(0, 0)}, "single single single single"},
		"the first lost":           {[]string{b, endOf(7, 0)}, "single single single single"},
		"one lost":                 {[]string{messageOf("A", 5, 0, 2), messageOf("C", 8, 7, 0), endOf(8, 0)}, "1 single single single"},
		"the last lost":            {[]string{a, endOf(7, 0)}, "1 single single single"},
		"twice":                    {[]string{a, messageOf("A", 7, 5, 0), endOf(7, 0)}, "1 single single single"},
		"backwards":                {[]string{messageOf("B", 7, 0, 1), messageOf("A", 5, 7, 0), endOf(5, 0)}, "single 1 single single"},
		"another subject":          {[]string{messageOf("E", 5, 0, 1), b, endOf(7, 0)}, "single single single single"},
		"more than asked for":      {[]string{messageOf("A", 5, 0, 4)}, "single single single single"},
		"no number":                {[]string{messageOf("A", 5, 0, -1)}, "single single single single"},
		"a single get's answer":    {[]string{a[:strings.Index(a, "\nNats-Num-Pending")]}, "single single single single"},
		"no header":                {[]string{""}, "single single single single"},
		"no NATS":                  {[]string{"HTTP/1.0\nA: B"}, "single single single single"},
		"end without numbers":      {[]string{a, b, "NATS/1.0 204 EOB"}, "1 2 single single"},
		"the publisher's headers":  {[]string{behind("NATS/1.0\nNats-Subject: B\nNats-Sequence: 3\nNats-Last-Sequence: 2\nNats-Num-Pending: 0\nStatus: 404\nDescription: No Results\n"), b, endOf(7, 0)}, "1 2 absent absent"},
		"the publisher's status":   {[]string{behind("NATS/1.0 204 EOB\n"), b, endOf(7, 0)}, "1 2 absent absent"},
		"deleted":                  {[]string{behind("NATS/1.0\nKV-Operation: DEL\n"), b, endOf(7, 0)}, "null 2 absent absent"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newBatchRig(t)
			for i, header := range c.said {
				payload := ""
				if strings.Contains(header, "Nats-Subject") {
					payload = string(rune('1' + i))
				}
				r.say(header, payload)
			}
			if got := r.is(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			r.say(messageOf("D", 99, 0, 0), "99") // Too late, or too early.
			if got := r.is(); got != c.want && name != "some until now" {
				t.Errorf("behind the end: got %q, want %q", got, c.want)
			}
		})
	}
}

// A replica that is behind is not believed, neither what it holds nor that it holds nothing.
func TestBatchBehind(t *testing.T) {
	r := newBatchRig(t)
	r.place.floors.heard("A", 6)
	r.place.floors.heard("C", 4)
	r.say(messageOf("A", 5, 0, 1), "1")
	r.say(messageOf("B", 7, 5, 0), "2")
	r.say(endOf(7, 0), "")
	if got, want := r.is(), "leader 2 leader absent"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	one, many := r.g.take()
	if len(many) > 0 || len(one) != 2 || !one[0].leader || !one[1].leader {
		t.Errorf("asked for next: %d singly, %d by a batch", len(one), len(many))
	}
}

// What is not wanted any more when its answer comes, or was asked for anew, is left alone.
func TestBatchOfUnwanted(t *testing.T) {
	r := newBatchRig(t)
	r.forget(r.wants["A"])
	r.forget(r.wants["B"])
	r.say(messageOf("A", 5, 0, 0), "1")
	r.say(endOf(5, 0), "")
	if a, b, c := r.ear.of("A"), r.ear.of("B"), r.ear.of("C"); a+b != "" || c != "absent" {
		t.Errorf("A is %q, B is %q, C is %q", a, b, c)
	}
	if r.dues != 0 {
		t.Errorf("%d are under way", r.dues)
	}
}

// A batch that stays away is asked for again topic by topic, in a second; after three no more are made, but for those
// of the next link. A batch that goes on is not late.
func TestBatchLate(t *testing.T) {
	r := newBatchRig(t)
	r.timeout = time.Minute
	r.say(messageOf("A", 5, 0, 0), "1")
	b := r.g.batches["1"]
	b.heard = b.heard.Add(-time.Hour)
	r.say(messageOf("B", 7, 5, 0), "2")
	if r.g.expire(time.Now()); r.g.batches["1"] != b {
		t.Fatal("a batch that goes on is given up")
	}
	b.heard = b.heard.Add(-time.Hour)
	r.g.expire(time.Now())
	if n := r.counters[broker.FetchFailures].Load(); n != 2 || len(r.g.batches) > 0 || len(r.waiting) != 2 || r.g.singly {
		t.Fatalf("%d values count as not fetched, %d wait", n, len(r.waiting))
	}
	r.say(messageOf("C", 9, 7, 0), "3") // Too late.
	if got := r.ear.of("C"); got != "" {
		t.Errorf("C is %q", got)
	}
	r.retry(time.Now().Add(time.Hour))
	if one, many := r.g.take(); len(one) != 2 || len(many) > 0 {
		t.Errorf("asked for next: %d singly, %d by a batch", len(one), len(many))
	}
	for range batchCuts - 1 {
		r.g.batches["1"] = &batch{open: map[string]get{"A": {w: r.wants["A"]}}}
		r.g.expire(time.Now())
	}
	if !r.g.singly {
		t.Errorf("batches are not given up after %d that stayed away", batchCuts)
	}
}

// After three batches in a row that were cut off no more are made; one that ends well begins the count anew.
func TestBatchesGivenUp(t *testing.T) {
	r := newBatchRig(t)
	round := func(header string) {
		t.Helper()
		r.say(header, "")
		r.g.take() // What is asked singly.
		for _, w := range r.wants {
			r.again(w)
			w.singly = false
		}
		if !r.g.singly {
			r.ask(t, 4)
		}
	}
	const cutOff, fine = "NATS/1.0 500 disk", "NATS/1.0 404 No Results"
	for _, header := range []string{cutOff, cutOff, fine, cutOff, cutOff} {
		round(header)
	}
	if r.g.singly {
		t.Fatal("given up after two in a row")
	}
	if round(cutOff); !r.g.singly {
		t.Error("not given up after three in a row")
	}
	if one, many := r.g.take(); len(one) != 4 || len(many) > 0 {
		t.Errorf("asked for next: %d singly, %d by a batch", len(one), len(many))
	}
}
