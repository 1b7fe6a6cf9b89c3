// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
)

// A tick whose key or channel the user may not have is forbidden, and holds up no others: all of these are heard.
func TestRefusedTicks(t *testing.T) {
	for name, rights := range map[string][]any{
		"key":     {"~price:T*", "&*"},
		"channel": {"~*", "resetchannels", "&channel:prices:T*"},
	} {
		for _, ver := range []int64{0, 7} {
			t.Run(fmt.Sprintf("%s, version %d", name, ver), func(t *testing.T) {
				s := redistest.Start(t)
				s.Do(append([]any{"ACL", "SETUSER", "edge", "on", ">" + secret, "+@all", "resetkeys"}, rights...)...)
				r := run(t, plain(s), limits)
				r.acquire("T0", "T1", "T2")
				r.settled()
				cfg := plain(s)
				cfg.URL = "redis://edge:" + secret + "@" + s.Addr()
				p, log := newPublisher(t, cfg)
				var ticks []broker.Tick
				for _, topic := range []string{"T0", "OTHER", "T1", "ANOTHER", "T2"} {
					ticks = append(ticks, broker.Tick{Topic: topic, Value: []byte(`{"p":1}`), Ver: ver})
				}
				p.must(t, ticks)
				for _, tick := range ticks {
					want := broker.Taken
					if tick.Topic[0] != 'T' {
						want = broker.Forbidden
					}
					if tick.Fate != want {
						t.Errorf("%s has the fate %d, want %d", tick.Topic, tick.Fate, want)
					}
				}
				for _, topic := range []string{"T0", "T1", "T2"} {
					r.eventually(topic+" ticks", func() bool { return r.value(topic) != "" })
				}
				if got := log.Count("topics are not permitted, and not written"); got != 1 {
					t.Errorf("the log has %d lines of what is refused, want one", got)
				}
				s.Do("ACL", "SETUSER", "edge", "allkeys", "allchannels")
				again := []broker.Tick{{Topic: "OTHER", Value: []byte(`{"p":2}`), Ver: 2 * ver}}
				r.eventually("it is taken when it is permitted", func() bool {
					p.must(t, again)
					return again[0].Fate == broker.Taken
				})
			})
		}
	}
}

// What a key has of an attempt before, and nobody was told of as its channel was not permitted, is no tick that was taken:
// it is told of again, and then taken.
func TestWrittenAndNotTold(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "+@all", "~*", "resetchannels")
	r := run(t, plain(s), limits)
	r.acquire("T")
	r.settled()
	cfg := plain(s)
	cfg.URL = "redis://edge:" + secret + "@" + s.Addr()
	p, _ := newPublisher(t, cfg)
	ticks := []broker.Tick{{Topic: "T", Value: []byte(`{"p":1}`), Ver: 7}}
	for _, again := range []bool{false, true} {
		if err := p.write(t.Context(), ticks, again); err != nil || ticks[0].Fate != broker.Forbidden {
			t.Errorf("again %v: the fate is %d, %v", again, ticks[0].Fate, err)
		}
	}
	s.Do("ACL", "SETUSER", "edge", "allchannels")
	if err := p.write(t.Context(), ticks, true); err != nil || ticks[0].Fate != broker.Taken {
		t.Errorf("permitted the fate is %d, %v", ticks[0].Fate, err)
	}
	r.eventually("T ticks", func() bool { return r.value("T") != "" })
}
