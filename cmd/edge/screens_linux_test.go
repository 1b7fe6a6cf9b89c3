// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// The same of NATS: its subjects alone, and a stream that keeps newest values.
func TestScreensOfNATS(t *testing.T) {
	for name, mode := range map[string]natsMode{"core": natsCoreMode, "jetstream": natsJetStream} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mode := mode
			mode.password = edgePassword
			server := startNATS(t, mode.natsConfig)
			up := mode.at(t, server, server.addr)
			to := up.target.(*natsTarget)
			publish := func(topic, value string) {
				t.Helper()
				var err error
				if to.js != nil {
					_, err = to.js.Publish(natsPrefix+topic, []byte(value))
				} else if err = to.nc.Publish(natsPrefix+topic, []byte(value)); err == nil {
					err = to.nc.Flush()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			publish("a.quiet", `{"p":9}`)
			e := start(t, "-source", up.url)
			redistest.Eventually(t, "the feed", func() bool { return e.metric(`edge_feed_connected{source="*"}`) == "1" })
			s := &screening{e.dial("?interval=100"), make(map[string]map[string]string), make(map[string][]string)}
			s.send(`{"op":"screen","screen":"s","topics":"a:*","where":"p > 5"}`)
			if mode.jetStream {
				s.until("what NATS holds", s.has("s", "a:quiet"))
			} else {
				s.until("all of it", s.has("s"))
				publish("a.quiet", `{"p":9}`)
				s.until("what ticks", s.has("s", "a:quiet"))
			}
			publish("b.other", `{"p":9}`)
			publish("a.new", `{"p":7}`)
			s.until("a topic that ticks for the first time", s.has("s", "a:new", "a:quiet"))
			publish("a.quiet", `{"p":1}`)
			s.until("the end of a topic", s.has("s", "a:new"))
			s.send(`{"op":"unscreen","screen":"s"}`)
			redistest.Eventually(t, "the end of screens", func() bool {
				return e.metric("edge_screens") == "0" && e.metric("edge_screen_topics") == "0" && e.metric("edge_subscriptions") == "0"
			})
		})
	}
}
