// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// Topics for which the server has no room are refused, those and no others, over one connection, until there is room.
func TestMaxSubscriptions(t *testing.T) {
	t.Parallel()
	const room = 20
	s := startWith(t, &server.Options{MaxSubs: room + 1}) // One is for answers of publishers.
	nc := must(natsgo.Connect(s.ClientURL()))
	defer nc.Close()
	f := runCore(t, Config{URL: "nats://" + s.Addr().String() + "?mode=core"})
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprint("T", i))
	}
	f.acquire(names...)
	refused := func() int64 { return f.feed.Stats().Refused[broker.TooManySubscriptions] }
	f.until("the rest is refused", func() bool { return refused() == 60-room })
	if st := f.feed.Stats(); st.Channels != room || st.Counts[broker.Connects] != 1 || !f.table.Health().Up {
		t.Errorf("%d subscriptions over %d connections, up is %v", st.Channels, st.Counts[broker.Connects], f.table.Health().Up)
	}
	f.stillRight(nc, names, room, "1")
	for _, name := range names[:30] { // Subscribed ones and refused ones.
		f.table.Release(f.ids[name], time.Time{})
	}
	f.until("those that nobody wants are given up", func() bool {
		f.table.Sweep(time.Now().Add(time.Hour))
		return f.feed.Stats().Held == 30 && refused() == 30-room
	})
	f.stillRight(nc, names[30:], room, "2")
	for _, name := range names[30:] {
		f.table.Release(f.ids[name], time.Time{})
	}
	f.until("nothing is refused", func() bool {
		f.table.Sweep(time.Now().Add(time.Hour))
		return f.feed.Stats().Held == 0 && refused() == 0
	})
	if f.log.Count("max_subscriptions") == 0 || f.log.Count("topics are refused") > 1+int(time.Minute/tellRefused) || f.feed.Stats().Counts[broker.Connects] != 1 {
		t.Error("the log does not say what to do, or too often, or it has connected again")
	}
}

// stillRight demands that as many topics as there is room for tick, and that the others are stale.
func (f *coreFeed) stillRight(nc *natsgo.Conn, names []string, room int, value string) {
	f.t.Helper()
	f.until(fmt.Sprintf("%d tick, and the others are stale", room), func() bool {
		ticking, stale := 0, 0
		for _, name := range names {
			if err := nc.Publish(name, []byte(value)); err != nil {
				f.t.Fatal(err)
			}
			if f.value(name) == value {
				ticking++
			} else if at, why := f.table.StaleFor(f.ids[name]); at != 0 && why == broker.TooManySubscriptions.Why() {
				stale++
			}
		}
		return ticking == room && stale == len(names)-room
	})
}

// While the server has as many connections as it takes, the log says what to do, and the edge comes when one ends.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	s := startWith(t, &server.Options{MaxConn: 1})
	nc := must(natsgo.Connect(s.ClientURL()))
	f := startCore(t, Config{URL: "nats://" + s.Addr().String()})
	f.down("maximum connections", "raise max_connections")
	nc.Close()
	f.until("it is up", func() bool { return f.table.Health().Up })
}

// Where there is no room for the one subscription of all topics, the log says so.
func TestNoRoomAtAll(t *testing.T) {
	t.Parallel()
	s := startWith(t, &server.Options{MaxSubs: 1})
	f := startCore(t, Config{URL: "nats://" + s.Addr().String() + "?mode=core&wildcard=true"})
	f.down("maximum subscriptions", "raise max_subscriptions")
}
