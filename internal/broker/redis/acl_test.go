// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// The users that docs/FEED.md tells to make are permitted enough.
func TestLeastPermissions(t *testing.T) {
	t.Parallel()
	const one = `{"seq":1}`
	user := func(s *redistest.Server, also ...any) {
		s.Do(append([]any{"ACL", "SETUSER", "edge", "on", ">" + secret, "~price:*", "&channel:prices:*", "+ping", "+getrange"}, also...)...)
	}
	as := func(url string) string { return strings.Replace(url, "://", "://edge:"+secret+"@", 1) }
	t.Run("cluster", func(t *testing.T) {
		s := redistest.StartCluster(t, 2, 0, nil)
		for _, n := range s.Nodes() {
			user(n, "+ssubscribe", "+sunsubscribe", "+cluster|slots", "+cluster|info")
		}
		s.Owner(s.Slot("{AAPL}")).Do("SET", "price:{AAPL}", one)
		r := run(t, inSlots(as(s.URL())), limits)
		r.acquire("AAPL")
		r.eventually("the value", func() bool { return r.value("AAPL") == one })
	})
	t.Run("sentinel", func(t *testing.T) {
		s := redistest.StartSentinel(t, 0, "", "")
		user(s.Primary(), "+subscribe", "+unsubscribe", "+role")
		s.Primary().Do("SET", "price:AAPL", one)
		r := run(t, patient(as(s.URL())), limits)
		r.acquire("AAPL")
		r.eventually("the value", func() bool { return r.value("AAPL") == one })
	})
}
