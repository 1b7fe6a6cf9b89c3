package feed

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
	if p.answered(at(0), "PONG") != nil {
		t.Fatal("the pong of the greeting has values")
	}
	first := p.add(at(0), nil)
	second := p.add(at(1), []repair{{value: "v"}})
	third := p.add(at(2), nil)
	want(3, 3, 3) // The oldest counts.
	if p.answered(at(3), second) != nil {
		t.Fatal("a pong came before that of an older ping")
	}
	if p.answered(at(3), first) != nil {
		t.Fatal("a ping without values has some")
	}
	want(3, 3, 2) // What the last round trip took.
	if batch := p.answered(at(3), second); len(batch) != 1 || batch[0].value != "v" {
		t.Fatalf("values = %v", batch)
	}
	want(3, 2, 1)
	if p.answered(at(3), second) != nil {
		t.Fatal("values came twice")
	}
	p.answered(at(3), third)
	want(100, 1, 0)
}
