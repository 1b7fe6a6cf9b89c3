// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tickedge/bench/internal/fakeedge"
	"tickedge/bench/internal/wire"
)

// patience is how long a test waits for what must happen soon. It is only reached when that fails,
// or on a machine that has no time for it.
const patience = 30 * time.Second

func config(addr netip.AddrPort, conns int) Config {
	return Config{
		Addr: addr, Host: addr.String(), Target: "/ws",
		Conns: conns, Rate: 1000, Topics: 3, Universe: 20, Pattern: "SYM%04d", Seed: 1,
		Every: 20 * time.Millisecond, HandshakeTimeout: patience, AckTimeout: patience,
	}
}

// run keeps a swarm until enough says so, then stops it and returns the sum of its
// reports. It holds from the moment that the swarm is ready.
func run(t *testing.T, cfg Config, enough func(sum *Report) bool) *Report {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return keep(t, s, enough)
}

// keep is run with a swarm that is there.
func keep(t *testing.T, s *Swarm, enough func(sum *Report) bool) *Report {
	t.Helper()
	orders := make(chan Order, 2)
	sum := NewReport(Connecting)
	deadline := time.Now().Add(2 * patience)
	held, stopped := false, false
	err := s.Run(orders, func(r *Report) {
		sum.Merge(r)
		sum.Phase, sum.Gauges, sum.Done = r.Phase, r.Gauges, r.Done
		if r.Ready && !held {
			held = true
			orders <- Hold
		}
		late := time.Now().After(deadline)
		if !stopped && (enough(sum) || late) {
			stopped = true
			orders <- Stop
			if late {
				t.Errorf("what the test waited for did not come: %+v", sum.Counts)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Done {
		t.Error("no last report")
	}
	return sum
}

func kinds(t Tallies) string {
	var out []string
	for kind, of := range t {
		out = append(out, fmt.Sprintf("%s ×%d", kind, of.Count))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func TestCleanServer(t *testing.T) {
	cfg := config(fakeedge.Clean(t, 30*time.Millisecond, 10*time.Second), 40)
	sum := run(t, cfg, func(r *Report) bool { return r.Types[wire.Update] >= 400 })
	if len(sum.Violations)+len(sum.Lost)+len(sum.Refused) > 0 {
		t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
	}
	if sum.Connected != 40 || sum.Open != 40 || sum.Acked != 40 || sum.Unserved != 0 {
		t.Errorf("connected %d, %+v; want 40 of each", sum.Connected, sum.Gauges)
	}
	if sum.Types[wire.Hello] != 40 || sum.Types[wire.Ack] != 40 || sum.Types[wire.Snapshot] != 40 {
		t.Errorf("frames by type: %v", sum.Types)
	}
	if want := 3 * (sum.Types[wire.Snapshot] + sum.Types[wire.Update]); sum.Rows != want {
		t.Errorf("%d rows, want %d", sum.Rows, want)
	}
	if p50 := time.Duration(sum.Update.Quantile(0.5)) * time.Microsecond; p50 < 9900*time.Millisecond || p50 > 20*time.Second {
		t.Errorf("staleness of updates: p50 %v, want about 10s", p50)
	}
	if p50 := time.Duration(sum.Snapshot.Quantile(0.5)) * time.Microsecond; p50 < 59*time.Minute {
		t.Errorf("staleness of snapshots: p50 %v, want an hour", p50)
	}
	if sum.Rates.N() != 40 || sum.Rates.Min() == 0 {
		t.Errorf("rates of %d conns from %d", sum.Rates.N(), sum.Rates.Min())
	}
	if sum.WindowMin != 500 || sum.WindowMax != 500 || sum.CPU == 0 || sum.Bytes == 0 {
		t.Errorf("counts: %+v", sum.Counts)
	}
}

// The same bytes, whatever way TCP cuts them, mean the same.
func TestStreamCutAtEveryByte(t *testing.T) {
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		c.Accept("")
		topics := c.Subscribe()
		stream := fakeedge.Frame(wire.OpText, fakeedge.Hello) + fakeedge.Frame(wire.OpText, fakeedge.Ack(3)) +
			fakeedge.Frame(wire.OpPing, "x") + fakeedge.Frame(wire.OpText, fakeedge.Rows("update", topics, 1, 0))
		for i := range stream {
			c.Raw(stream[i : i+1])
		}
		if op, p, err := c.Read(); err != nil || op != wire.OpPong || string(p) != "x" {
			t.Errorf("answer to the ping: %v %q %v", op, p, err)
		}
		c.Gone()
	})
	sum := run(t, config(addr, 3), func(r *Report) bool { return r.Types[wire.Update] == 3 && r.Pings == 3 })
	if len(sum.Violations)+len(sum.Lost) > 0 || sum.Rows != 9 {
		t.Errorf("violations %s, lost %s, %d rows", kinds(sum.Violations), kinds(sum.Lost), sum.Rows)
	}
}

// A frame of the largest size arrives whole, next to the answer of the handshake.
func TestLargestFrame(t *testing.T) {
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		big := make([]byte, wire.FrameMax-len(`{"t":"news","x":""}`))
		for i := range big {
			big[i] = 'x'
		}
		c.Accept(fakeedge.Frame(wire.OpText, fakeedge.Hello) + fakeedge.Frame(wire.OpText, `{"t":"news","x":"`+string(big)+`"}`))
		c.Text(fakeedge.Ack(len(c.Subscribe())))
		c.Gone()
	})
	sum := run(t, config(addr, 1), func(r *Report) bool { return r.Acked == 1 })
	if len(sum.Violations)+len(sum.Lost) > 0 || sum.Types[wire.Other] != 1 || sum.Bytes < wire.FrameMax {
		t.Errorf("violations %s, lost %s, %+v", kinds(sum.Violations), kinds(sum.Lost), sum.Counts)
	}
}

func TestTopicsFollowFromSeedAndNumber(t *testing.T) {
	cfg := config(netip.MustParseAddrPort("127.0.0.1:1"), 100)
	whole, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.First, cfg.Conns = 60, 40
	part, _ := New(cfg)
	cfg.Seed = 2
	other, _ := New(cfg)
	if !slices.Equal(whole.ids[60*3:], part.ids) {
		t.Error("the topics of a conn depend on the split into swarms")
	}
	if slices.Equal(part.ids, other.ids) {
		t.Error("the topics do not depend on the seed")
	}
	if whole.key(60) != part.key(0) || whole.key(0) == whole.key(1) {
		t.Error("keys do not follow from the number of the conn")
	}
	for i := range 100 {
		ids := slices.Clone(whole.topics(i))
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 3 || ids[2] >= 20 {
			t.Errorf("topics of conn %d: %v", i, ids)
		}
	}
}

func TestNames(t *testing.T) {
	for pattern, good := range map[string]bool{
		"SYM%04d": true, "kline:1m:%d": true, "%d": true,
		"SYM": false, "SYM%s": false, "SYM %d": false, "SYM%d%d": false, "": false, "%070d": false,
	} {
		if _, err := Names(pattern, 1000); (err == nil) != good {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	names, _ := Names("SYM%04d", 1000)
	if names[0] != "SYM0000" || names[999] != "SYM0999" {
		t.Errorf("names from %s to %s", names[0], names[999])
	}
}

func TestSourceAddresses(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	for n, want := range map[int]string{0: "127.0.0.2", 7999: "127.0.0.2", 8000: "127.0.0.3", 999999: "127.0.0.126"} {
		if got := source(local, n); got.String() != want {
			t.Errorf("conn %d comes from %v, want %s", n, got, want)
		}
	}
	if source(netip.MustParseAddr("192.0.2.1"), 0).IsValid() {
		t.Error("a source is chosen towards another host")
	}
}

// Conns that are apart have all topics between them, and none twice before all have been
// given away.
func TestApart(t *testing.T) {
	cfg := config(netip.AddrPort{}, 4)
	cfg.First, cfg.Apart, cfg.Universe = 3, true, 20
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := []uint32{9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0}; !slices.Equal(s.ids, want) {
		t.Errorf("got %d, want %d", s.ids, want)
	}
}
