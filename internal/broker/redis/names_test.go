// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"testing"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

// worldly are names as exchanges and charts have them, some with what means something in a
// pattern of Redis.
var worldly = []string{"^GSPC", "EURUSD=X", "M&M.NS", "ES1!", "btcusdt@depth5", "币安人生USDT", "A?", "[A-Z]", "%s", "$1", "S&P'500", "🚀", "é", "e\u0301"}

// Whatever a name is made of, its channel, its key and the topic of a stream's entry are its
// bytes, from a publisher of ours to a row.
func TestNamesOfTheWorld(t *testing.T) {
	for _, name := range worldly {
		if !topics.ValidName(name) {
			t.Fatalf("%q is no name", name)
		}
	}
	s := redistest.Start(t)
	cluster := redistest.StartCluster(t, 2, 0, nil)
	for mode, cfg := range map[string]config{
		"channel": plain(s), "pattern": whole(s.URL()), "stream": streamed(s.URL()), "cluster": inSlots(cluster.URL()),
	} {
		t.Run(mode, func(t *testing.T) {
			cfg.VersionField = ""
			p, _ := newPublisher(t, cfg)
			tell := func(n int) {
				var all []broker.Tick
				for i, name := range worldly {
					all = append(all, broker.Tick{Topic: name, Value: fmt.Append(nil, n+i)})
				}
				p.must(t, all)
			}
			tell(100)
			r := run(t, cfg, limits)
			r.acquire(worldly...)
			for _, n := range []int{100, 200} { // Fetched, and then heard.
				for i, name := range worldly {
					r.eventually(fmt.Sprintf("%d of %s", n, name), func() bool {
						return r.row(name) == fmt.Sprintf(`{"s":"%s","n":%d,"v":%d}`, name, n/200, n+i)
					})
				}
				if n == 100 {
					tell(200)
				}
			}
		})
	}
}
