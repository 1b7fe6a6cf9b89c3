// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tickedge/bench/internal/fakeedge"
	"tickedge/bench/internal/wire"
)

// lively is a script of a server that carries out commands, with a row for each topic
// that is wanted behind its ack, and answers close frames. ended is told how each conn
// has ended.
func lively(ended func(op wire.Op, err error)) func(*fakeedge.Conn) {
	return func(c *fakeedge.Conn) {
		topics := c.Open()
		c.Text(fakeedge.Rows("snapshot", topics, 7, 0))
		for {
			op, p, err := c.Read()
			switch {
			case err != nil:
				ended(op, err)
				return
			case op == wire.OpClose:
				c.Text(fakeedge.Rows("update", topics[:1], 8, 0)) // It was on its way.
				c.Close(1000, "")
				ended(op, nil)
				c.Gone()
				return
			}
			var cmd struct {
				Op     string
				Topics []string
				ID     int
			}
			_ = json.Unmarshal(p, &cmd) // What is not JSON is no known command.
			switch cmd.Op {
			case "unsubscribe":
				topics = slices.DeleteFunc(topics, func(s string) bool { return s == cmd.Topics[0] })
			case "subscribe":
				topics = append(topics, cmd.Topics...)
			}
			c.Text(fmt.Sprintf(`{"t":"ack","id":%d,"op":"%s","topics":%d}`, cmd.ID, cmd.Op, len(topics)))
			if cmd.Op == "subscribe" {
				c.Text(fakeedge.Rows("snapshot", cmd.Topics, 3, 0))
			}
		}
	}
}

func TestChurnReplacesConnsByEachWay(t *testing.T) {
	var mu sync.Mutex
	closes, others := 0, 0
	sources := map[string]bool{}
	play := lively(func(op wire.Op, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			closes++
		} else {
			others++
		}
	})
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		mu.Lock()
		host, _, _ := net.SplitHostPort(c.Head.RemoteAddr)
		sources[host] = true
		mu.Unlock()
		play(c)
	})
	cfg := config(addr, 20)
	cfg.Churn = 300
	sum := run(t, cfg, func(r *Report) bool {
		return r.Left[ByClose] > 20 && r.Left[ByFIN] > 20 && r.Left[ByRST] > 20 && r.Changed > 20 && r.Connected > 80
	})
	if len(sum.Violations)+len(sum.Lost)+len(sum.Refused) > 0 {
		t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
	}
	// Each way in turn, but for those on their way out.
	lo, hi := slices.Min(sum.Left[:]), slices.Max(sum.Left[:])
	if hi > 2*lo {
		t.Errorf("left %v", sum.Left)
	}
	if sum.Open > 20 || sum.Acked > sum.Open || sum.Open < 0 || sum.Acked < 0 {
		t.Errorf("%+v", sum.Gauges)
	}
	// The server learns of the last ends when it reads, which may be after the swarm's.
	seen := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return uint64(closes) >= sum.Left[ByClose] && uint64(others) >= sum.Left[ByFIN]+sum.Left[ByRST]
	}
	for deadline := time.Now().Add(2 * patience); !seen() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sources) < 40 { // One for those of the beginning, and then another one each time.
		t.Errorf("conns came from %d addresses, so the ports of one would run out", len(sources))
	}
	if uint64(closes) < sum.Left[ByClose] || uint64(others) < sum.Left[ByFIN]+sum.Left[ByRST] {
		t.Errorf("the server saw %d close frames and %d other ends, %v were sent", closes, others, sum.Left)
	}
}

// A server that cuts the conn on a close frame, or does nothing, is caught.
func TestCloseFrameThatIsNotAnswered(t *testing.T) {
	for name, after := range map[string]func(*fakeedge.Conn){
		"closed":  func(*fakeedge.Conn) {},
		"reset":   func(c *fakeedge.Conn) { c.Reset() },
		"ignored": func(c *fakeedge.Conn) { c.Gone() },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(fakeedge.Scripted(t, func(c *fakeedge.Conn) {
				c.Open()
				for {
					if op, _, err := c.Read(); err != nil || op == wire.OpClose {
						after(c)
						return
					}
				}
			}), 3)
			cfg.Churn, cfg.HandshakeTimeout = 20, 500*time.Millisecond
			sum := run(t, cfg, func(r *Report) bool { return r.Violations.Total() > 0 })
			if sum.Violations[CloseIgnored] == nil || len(sum.Violations) != 1 || len(sum.Lost)+len(sum.Refused) > 0 {
				t.Errorf("violations %s, lost %s, refused %s", kinds(sum.Violations), kinds(sum.Lost), kinds(sum.Refused))
			}
		})
	}
}

// A topic that was given up must not come any more.
func TestRowOfATopicThatWasGivenUp(t *testing.T) {
	cfg := config(fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		topics := c.Open()
		c.Read() // The unsubscribe, of the first topic.
		c.Text(`{"t":"ack","id":2,"op":"unsubscribe","topics":2}`)
		c.Read()
		c.Text(`{"t":"ack","id":3,"op":"subscribe","topics":3}`)
		c.Text(fakeedge.Rows("update", topics[:1], 7, 0))
		c.Gone()
	}), 1)
	cfg.Seed = 3 // Draws another topic instead.
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	sent := false
	sum := keep(t, s, func(sum *Report) bool {
		if sum.Acked == 1 && !sent {
			sent = true
			s.command(0, "unsubscribe", s.topics(0)[:1], unsubscribeID)
		}
		return sum.Violations.Total() > 0
	})
	if sum.Violations[RowNotAsked] == nil || sum.Changed != 1 {
		t.Errorf("violations %s, %d changed", kinds(sum.Violations), sum.Changed)
	}
}

// Many conns are looked at in parts, none is left out, and the gauge is of all of them.
func TestSweepOverManyConns(t *testing.T) {
	cfg := config(netip.MustParseAddrPort("127.0.0.1:1"), 3*sweepMax+1)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.now = time.Minute
	for i := range s.conns {
		s.conns[i] = conn{state: open, known: acked, lastFrame: s.ms(), window: 500}
	}
	s.conns[0].window = 60000 // For which a minute is not long.
	for range 3 {
		if s.sweep(sweepMax); s.gauges.Unserved != 0 {
			t.Fatal("the gauge is of a part of the conns")
		}
	}
	if s.sweep(sweepMax); s.gauges.Unserved != len(s.conns)-1 {
		t.Errorf("%d unserved, want %d", s.gauges.Unserved, len(s.conns)-1)
	}
	for window, unserved := range map[uint16]time.Duration{500: unservedAfter, 30000: time.Minute} {
		for _, c := range []struct {
			at   time.Duration
			want int
		}{{unserved, 0}, {unserved + time.Millisecond, 1}} {
			s.now, s.unserved = c.at, 0
			s.conns[0] = conn{state: open, known: acked, window: window}
			if s.inspect(0); s.unserved != c.want {
				t.Errorf("window %d ms, %v without a frame: %d unserved, want %d", window, c.at, s.unserved, c.want)
			}
		}
	}
}

func TestSourcesOfAMillionConns(t *testing.T) {
	used := map[netip.Addr]int{}
	for n := range 1_000_000 {
		used[source(netip.MustParseAddr("127.9.9.9"), n)]++
	}
	if len(used) != 125 {
		t.Errorf("%d addresses, want 125", len(used))
	}
	for addr, n := range used {
		if !addr.IsLoopback() || n != sourceConns || addr == netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%d conns come from %v", n, addr)
		}
	}
	// With those of churn they stay within 127.0.0.0/16.
	if last := source(netip.MustParseAddr("127.0.0.1"), 1_000_000+churnSources*sourceConns); last != netip.MustParseAddr("127.0.0.227") {
		t.Errorf("the last source is %v", last)
	}
	if from := source(netip.MustParseAddr("10.0.0.1"), 5); from.IsValid() {
		t.Errorf("a server elsewhere is called from %v", from)
	}
}
