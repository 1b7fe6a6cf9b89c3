// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
)

// A tick whose key or channel the user may not have is flawed, and holds up no others: all of these are heard, those
// too that a script had written, and not told of, when it was ended.
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
						want = broker.Flawed
					}
					if tick.Fate != want {
						t.Errorf("%s has the fate %d, want %d", tick.Topic, tick.Fate, want)
					}
				}
				for _, topic := range []string{"T0", "T1", "T2"} {
					r.eventually(topic+" ticks", func() bool { return r.value(topic) != "" })
				}
				if got := log.Count("values are refused"); got != 1 {
					t.Errorf("the log has %d lines of what is refused, want one", got)
				}
				s.Do("ACL", "SETUSER", "edge", "allkeys", "allchannels")
				again := []broker.Tick{{Topic: "OTHER", Value: []byte(`{"p":2}`), Ver: 2 * ver}}
				if p.must(t, again); again[0].Fate != broker.Taken {
					t.Errorf("permitted it has the fate %d", again[0].Fate)
				}
			})
		}
	}
}
