// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// A tick that the server or the stream refuses says why, and holds up none of the others, in the same batch or in the
// next, over the same connection.
func TestRefusedTicks(t *testing.T) {
	for _, mode := range []string{"core", "jetstream"} {
		for _, ver := range []int64{0, 7} {
			t.Run(fmt.Sprintf("%s, version %d", mode, ver), func(t *testing.T) { refuseTicks(t, mode, ver) })
		}
	}
}

func refuseTicks(t *testing.T, mode string, ver int64) {
	s, o := startServer(t, t.TempDir(), -1)
	js, err := dialServer(t, s).JetStream()
	if err == nil {
		_, err = js.AddStream(&natsgo.StreamConfig{Name: testStream, Subjects: []string{"md.fx.>", "md.denied"}, MaxMsgsPerSubject: 1, MaxMsgSize: 200,
			MaxMsgs: 3, Discard: natsgo.DiscardNew, AllowDirect: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	o.MaxPayload = 3000
	permit(t, s, o, []string{"md.denied"}, nil)
	c := Config{URL: fmt.Sprintf("nats://edge:%s@%s?subject=md.{topic}&mode=%s&stream=%s", secret, s.Addr(), mode, testStream)}
	if mode == "core" {
		c.URL = strings.TrimSuffix(c.URL, "&stream="+testStream)
	}
	p, err := c.Publisher(t.Context(), newLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	value := func(n int) []byte { return []byte(`{"a":"` + strings.Repeat("x", n) + `"}`) }
	large, none := broker.Taken, broker.Taken // What a stream alone refuses.
	if mode == "jetstream" {
		large, none = broker.TooLarge, broker.Unserved
	}
	for round := range 2 {
		p.(*publisher).refusals = broker.Refusals{} // The broker is asked, not what it said a moment ago.
		want := []broker.Fate{broker.Taken, broker.Forbidden, broker.TooLarge, large, none, broker.Taken, broker.Taken, none}
		ticks := []broker.Tick{
			{Topic: "fx:A", Value: value(1)}, {Topic: "denied", Value: value(1)}, {Topic: "fx:L", Value: value(3500)}, {Topic: "fx:M", Value: value(500)},
			{Topic: "other", Value: value(1)}, {Topic: "fx:B", Value: value(1)}, {Topic: "fx:C", Value: value(1)}, {Topic: "fx:D", Value: value(1)},
		}
		for i := range ticks {
			if ver > 0 {
				ticks[i].Ver = ver + int64(round)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if round == 0 && mode == "jetstream" { // The stream has room for three.
			for i := range ticks {
				if !p.Publish(ctx, ticks[i:i+1]) {
					t.Fatalf("%s holds up the others", ticks[i].Topic)
				}
			}
		} else if !p.Publish(ctx, ticks) {
			t.Fatal("one that is refused holds up the others")
		}
		for i, tick := range ticks {
			if tick.Fate != want[i] {
				t.Errorf("round %d: %s has the fate %d, want %d", round, tick.Topic, tick.Fate, want[i])
			}
		}
	}
	var cid uint64
	if p := p.(*publisher); p.link != nil {
		cid, _ = p.link.c.GetClientID()
	}
	permit(t, s, o, nil, nil)
	ticks := []broker.Tick{{Topic: "denied", Value: value(1)}}
	if mode == "jetstream" {
		if err := js.PurgeStream(testStream); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "it is taken when it is permitted again", func() bool {
		return p.Publish(t.Context(), ticks) && ticks[0].Fate == broker.Taken
	})
	if now, _ := p.(*publisher).link.c.GetClientID(); now != cid {
		t.Error("there was another connection")
	}
}

// Who may not look for streams publishes without one, and at once. A stream that is made later is found, and refuses
// what is old.
func TestPublisherLooks(t *testing.T) {
	s, o := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, s)
	permit(t, s, o, []string{"$JS.API.>"}, nil)
	c := Config{URL: fmt.Sprintf("nats://edge:%s@%s?subject=md.{topic}", secret, s.Addr()), Timeout: 10 * patience}
	publish := func(c Config) *publisher {
		t.Helper()
		made, err := c.Publisher(t.Context(), newLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(made.Close)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ticks := []broker.Tick{{Topic: "A", Value: []byte(`{"p":1}`), Ver: 3}}
		if !made.Publish(ctx, ticks) || ticks[0].Fate != broker.Taken {
			t.Fatalf("not published without a stream: fate %d", ticks[0].Fate)
		}
		return made.(*publisher)
	}
	if p := publish(c); !p.link.blind {
		t.Error("it looks for a stream again and again")
	}
	permit(t, s, o, nil, nil)
	p := publish(c)
	makeStream(t, nc, true)
	p.looked = p.looked.Add(-lookEvery)
	ticks := []broker.Tick{{Topic: "A", Value: []byte(`{"p":2}`), Ver: 5}}
	p.Publish(t.Context(), ticks)
	old := []broker.Tick{{Topic: "A", Value: []byte(`{"p":1}`), Ver: 4}}
	if p.Publish(t.Context(), old); ticks[0].Fate != broker.Taken || old[0].Fate != broker.Outdated {
		t.Errorf("the fates are %d and %d, want taken and outdated", ticks[0].Fate, old[0].Fate)
	}
}
