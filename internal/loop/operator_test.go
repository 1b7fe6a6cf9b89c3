// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tickedge/internal/fanout"
)

// An announcement comes to all that are there, on every loop and of both kinds, and to none that has not taken what it was
// sent: that one gets what it was sent before, and no text.
func TestAnnounce(t *testing.T) {
	e := serve(t, func(c *Config) { c.Shard.SlowTimeout = time.Hour })
	fat := names("fat", 256)
	slow := dialRaw(t, e.Addr())
	_ = slow.SetReadBuffer(8 << 10)
	slow.upgrade("")
	slow.send(subscribe(fat...))
	slow.want("ack")
	stop := ticking(t, e, 30*time.Millisecond, 4<<10, fat)
	until(t, func() bool { n, _ := e.backlog(); return n > 0 && e.skipped() > 2 }, "the slow one is not behind")
	var quick []*raw
	for range 2*announceMost + 1 {
		quick = append(quick, dialRaw(t, e.Addr()).upgrade("?topics=thin"))
	}
	_, _, events := e.follow("?topics=thin")
	events.want("hello")
	events.want("ack")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	const text = "Maintenance\nat \"18:00\" UTC"
	sent, skipped, err := e.Announce(ctx, Filter{}, text)
	if sent != len(quick)+1 || skipped != 1 || err != nil {
		t.Errorf("%d sent, %d skipped, %v", sent, skipped, err)
	}
	for _, c := range quick {
		if m := c.want("announcement"); m.Text != text {
			t.Errorf("%+v", m)
		}
	}
	if m := events.want("announcement"); m.Text != text {
		t.Errorf("%+v", m)
	}
	stop()
	if sent, _, err = e.Announce(ctx, Filter{Address: netip.MustParseAddr("127.0.0.9")}, "x"); sent != 0 || err != nil {
		t.Errorf("%d sent to nobody, %v", sent, err)
	}
	e.onLoops(func(l *loop) { l.publish(time.Now()) })
	if n := e.Stats().Count[fanout.Announcements]; n != uint64(len(quick)+1) {
		t.Errorf("%d were counted", n)
	}
	until(t, func() bool {
		m, err := slow.read()
		if err != nil || m.T == "announcement" {
			t.Fatalf("%+v %v", m, err)
		}
		n, _ := e.backlog()
		return n == 0
	}, "what the slow one was sent")
	slow.send(command(`{"op":"ping","id":"end"}`))
	for {
		m, err := slow.read()
		if err != nil || m.T == "announcement" {
			t.Fatalf("%+v %v", m, err)
		}
		if m.T == "pong" && strings.Contains(string(m.ID), "end") {
			break
		}
	}
}
