// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net/netip"
	"testing"

	"tickedge/internal/fanout"
	"tickedge/internal/guard"
)

// sourceOf is who the only conn of an edge is from, as its shard is told.
func (e *edge) sourceOf() (source guard.Prefix) {
	e.t.Helper()
	done := make(chan struct{})
	l := e.loops[0]
	l.ask(func() {
		defer close(done)
		for id := range fanout.ConnID(1 << slabBits) {
			if l.conn(id).gc != nil {
				source = l.Prefix(id)
			}
		}
	})
	<-done
	return source
}

// Who a conn is from is known whether or not anything is limited by it: the client, and not
// the proxy that it comes by.
func TestSourceIsTheClient(t *testing.T) {
	trusted, err := guard.ParseTrusted("127.0.0.7")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, from, head, want string
		change                 func(*Config)
	}{
		{"by itself", "127.0.0.2", upgradeRequest(""), "127.0.0.2", func(*Config) {}},
		{"with limits", "127.0.0.2", upgradeRequest(""), "127.0.0.2", func(c *Config) { c.Guard.ConnsPerPrefix = 5 }},
		{"X-Forwarded-For", "127.0.0.7", upgradeWith("", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", func(c *Config) { c.Trusted = trusted }},
		{"X-Forwarded-For of nobody that is trusted", "127.0.0.2", upgradeWith("", "X-Forwarded-For: 203.0.113.9"), "127.0.0.2", func(c *Config) { c.Trusted = trusted }},
		{"a PROXY header", "127.0.0.2", "PROXY TCP4 203.0.113.9 127.0.0.1 4000 8080\r\n" + upgradeRequest(""), "203.0.113.9", func(c *Config) { c.ProxyProtocol = true }},
		{"a PROXY header of nobody", "127.0.0.2", "PROXY UNKNOWN\r\n" + upgradeRequest(""), "127.0.0.2", func(c *Config) { c.ProxyProtocol = true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := serve(t, func(c *Config) { c.Loops = 1 }, tc.change)
			c, res, body := e.ask(tc.from, tc.head)
			if res.StatusCode != 101 {
				t.Fatalf("answered with %s %q", res.Status, body)
			}
			defer c.close()
			if got, want := e.sourceOf(), guard.PrefixOf(netip.MustParseAddr(tc.want)); got != want {
				t.Errorf("the source is %x, want %x", got, want)
			}
		})
	}
}
