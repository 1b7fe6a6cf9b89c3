package redistest

import (
	"testing"
	"time"
)

// The harness does what the tests of the feed build on.

func TestSentinels(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	s := StartSentinel(t, 1, "a", "b")
	t.Logf("up after %v", time.Since(begin))
	old := s.Primary()
	old.Kill()
	begin = time.Now()
	now := s.WaitMoved(old)
	t.Logf("moved after %v", time.Since(begin))
	Eventually(t, "the new primary takes writes", func() bool { return !now.IsReplica() })
}

func TestCluster(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	c := StartCluster(t, 3, 1, nil)
	t.Logf("up after %v", time.Since(begin))
	slot := c.Slot("price:{AAPL}")
	old := c.Owner(slot)
	begin = time.Now()
	c.Failover(slot)
	t.Logf("failed over after %v", time.Since(begin))
	now := c.Owner(slot)
	if now == old {
		t.Error("no failover")
	}
	var other *Server
	for _, n := range c.nodes[:3] {
		if n != old {
			other = n
			break
		}
	}
	now.Do("SET", "price:{AAPL}", "1")
	begin = time.Now()
	c.Migrate(slot, other)
	t.Logf("migrated after %v", time.Since(begin))
	if got := other.Do("GET", "price:{AAPL}"); got != "1" || c.Owner(slot) != other {
		t.Errorf("value at the new owner = %s", got)
	}
	other.Kill()
	begin = time.Now()
	c.WaitMoved(slot, other)
	t.Logf("failed over after its death after %v", time.Since(begin))
}
