// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"testing"
	"time"
)

func TestPings(t *testing.T) {
	var p pings
	begin := time.Unix(0, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	want := func(now int, lag time.Duration, open int) {
		t.Helper()
		if p.lag(at(now)) != lag*time.Second || p.len() != open {
			t.Fatalf("lag %v, %d open; want %ds and %d", p.lag(at(now)), p.len(), lag, open)
		}
	}
	want(0, 0, 0)
	if !p.upTo().IsZero() {
		t.Errorf("nothing was heard, and that up to %v", p.upTo())
	}
	if _, err := p.answered(at(0), "PONG"); err == nil {
		t.Fatal("a pong without a ping is taken")
	}
	first := p.add(at(0), nil, 1)
	second := p.add(at(1), []repair{{value: "v"}}, 1)
	third := p.add(at(2), nil, 3)
	if p.due(0) || !p.due(1) || !p.due(2) {
		t.Error("a ping is not due behind the one command that was written before it")
	}
	want(3, 3, 3) // The oldest counts.
	if batch, err := p.answered(at(3), second); err == nil || batch != nil {
		t.Fatal("the pong of an older ping was passed over")
	}
	if batch, err := p.answered(at(3), first); err != nil || batch != nil {
		t.Fatalf("a ping without values has %v, error %v", batch, err)
	}
	want(3, 3, 2) // What the last round trip took.
	if !p.upTo().Equal(at(0)) {
		t.Errorf("heard up to %v, want when the first ping was sent", p.upTo())
	}
	if batch, err := p.answered(at(3), second); err != nil || len(batch) != 1 || batch[0].value != "v" {
		t.Fatalf("values = %v, error %v", batch, err)
	}
	want(3, 2, 1)
	if batch, err := p.answered(at(3), second); err == nil || batch != nil {
		t.Fatal("a pong came twice")
	}
	if p.due(2) || !p.due(3) {
		t.Error("a ping is not due behind the three commands that were written before it")
	}
	p.answered(at(3), third)
	if p.due(9) {
		t.Error("a ping is due, and none is open")
	}
	want(100, 1, 0)
}
