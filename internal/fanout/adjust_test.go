// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"strings"
	"testing"
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// Conns keep what they have, and what they do next is held to the limits that there are then.
func TestAdjustLimits(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTopics, cfg.CommandRate, cfg.CommandBurst = 3, 10, 20
	w := newWorld(t, cfg, 1000, time.Second)
	id := w.connect(0)
	w.subscribe(id, "A", "B", "C")
	said := func(names ...string) string {
		got := w.record()
		w.subscribe(id, names...)
		return strings.Join(got[id], "")
	}
	next := cfg
	next.MaxTopics = 2
	w.shard.Adjust(next)
	if got := said("D"); !strings.Contains(got, "at most 2 topics") || w.shard.conn(id).topics.n != 3 {
		t.Errorf("it has %d topics and hears %s", w.shard.conn(id).topics.n, got)
	}
	next.MaxTopics = 5
	w.shard.Adjust(next)
	if said("D", "E"); w.shard.conn(id).topics.n != 5 {
		t.Errorf("it has %d topics, want 5", w.shard.conn(id).topics.n)
	}
	for range cfg.CommandBurst - 3 { // Its bucket is nearly empty by now.
		w.command(id, protocol.Command{Op: protocol.OpPing})
	}
	// The clock of another rate runs at another pace: by it the bucket would seem to be overdrawn.
	next.CommandRate, next.CommandBurst = 5, 20
	w.shard.Adjust(next)
	refused := func() uint64 { return w.shard.Stats().Count[CommandsRefused] }
	for range next.CommandBurst {
		w.command(id, protocol.Command{Op: protocol.OpPing})
	}
	if refused() != 0 {
		t.Errorf("%d commands of a burst are refused", refused())
	}
	if w.command(id, protocol.Command{Op: protocol.OpPing}); refused() != 1 {
		t.Errorf("%d commands above the burst are refused, want 1", refused())
	}
	w.shard.Adjust(next) // What stays goes on where it was.
	if w.command(id, protocol.Command{Op: protocol.OpPing}); refused() != 2 {
		t.Errorf("%d commands above the burst are refused, want 2", refused())
	}
	next.NewTopics = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 1}, epoch)
	next.MaxTopics, next.CommandRate = 100, 0
	w.shard.Adjust(next)
	if said("F", "G", "H"); w.shard.conn(id).topics.n != 6 {
		t.Errorf("it has %d topics, want one more", w.shard.conn(id).topics.n)
	}
}

// Who has been idle, open or slow for longer than is allowed from now on goes with the next visit.
func TestAdjustTimes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		busy   bool
		why    Reason
	}{
		"idle": {func(c *Config) { c.IdleTimeout = 3 * time.Second }, false, Idle},
		"old":  {func(c *Config) { c.MaxAge = 3 * time.Second }, true, MaxAge},
	} {
		cfg := testConfig()
		w := newWorld(t, cfg, 1000, 0)
		id := w.connect(0)
		if c.busy {
			w.subscribe(id, "A")
		}
		w.advance(6 * time.Second)
		if n := w.shard.Stats().Evicted[c.why]; n != 0 {
			t.Fatalf("%s: it goes before anything has changed", name)
		}
		w.shard.Adjust(cfg)
		w.advance(2 * time.Second)
		if n := w.shard.Stats().Evicted[c.why]; n != 0 {
			t.Errorf("%s: it goes though nothing has changed", name)
		}
		c.change(&cfg)
		w.shard.Adjust(cfg)
		w.advance(2 * time.Second)
		if n := w.shard.Stats().Evicted[c.why]; n != 1 {
			t.Errorf("%s: it does not go", name)
		}
	}
}

// A client that may need long to read what was written to it is not asked for more than the longest that there is now.
func TestAdjustSlowRate(t *testing.T) {
	cfg := testConfig()
	w := newWorld(t, cfg, 1000, 0)
	id := w.connect(0)
	a := w.shard.aside(id)
	a.readBy = w.shard.now + w.shard.readLongest()
	cfg.SlowRate *= 10
	w.shard.Adjust(cfg)
	if left := w.shard.toRead(a); left == 0 || left != w.shard.readLongest() {
		t.Errorf("it may need %d beats, want %d", left, w.shard.readLongest())
	}
	b := NewBacklogs(10)
	if b.Adjust(20); b.Max() != 20 {
		t.Errorf("there may be %d bytes", b.Max())
	}
}
