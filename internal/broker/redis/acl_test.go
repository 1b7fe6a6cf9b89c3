// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"strings"
	"testing"

	"tickedge/internal/broker"
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
		cfg := inSlots(as(s.URL()))
		r := run(t, cfg, limits)
		r.acquire("AAPL")
		r.eventually("the value", func() bool { return r.value("AAPL") == one })
		for i, n := range s.Nodes() {
			if listed, _, err := listAll(cfg.Config); len(listed) > 1 || causeOf(err) != broker.NotPermitted {
				t.Errorf("%q is listed with SCAN at %d of the nodes: %v", listed, i, err)
			}
			n.Do("ACL", "SETUSER", "edge", "+scan")
		}
		wantListed(t, cfg.Config, "AAPL")
	})
	t.Run("sentinel", func(t *testing.T) {
		s := redistest.StartSentinel(t, 0, "", "")
		user(s.Primary(), "+subscribe", "+unsubscribe", "+role")
		s.Primary().Do("SET", "price:AAPL", one)
		cfg := patient(as(s.URL()))
		r := run(t, cfg, limits)
		r.acquire("AAPL")
		r.eventually("the value", func() bool { return r.value("AAPL") == one })
		if listed, all, err := listAll(cfg.Config); all || len(listed) > 0 || !strings.Contains(cfg.Cure(err), "+scan") {
			t.Errorf("%q is listed without a permission: %v", listed, err)
		}
		s.Primary().Do("ACL", "SETUSER", "edge", "+scan")
		wantListed(t, cfg.Config, "AAPL")
	})
}
