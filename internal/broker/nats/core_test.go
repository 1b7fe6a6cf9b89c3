// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/broker/brokertest"
	"tickedge/internal/feed"
	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// coreFeed is a feed with one source without a stream, which runs until the test ends.
type coreFeed struct {
	t     *testing.T
	table *topics.Table
	feed  *feed.Feed
	log   *logtest.Log
	ids   map[string]topics.ID
}

// runCore returns one that is up.
func runCore(t *testing.T, c Config) *coreFeed {
	t.Helper()
	f := startCore(t, c)
	f.until("the source is up", func() bool { return f.table.Health().Up })
	return f
}

func startCore(t *testing.T, c Config) *coreFeed {
	t.Helper()
	logger, log := logtest.New(t)
	f := &coreFeed{t: t, table: topics.New(topics.Config{Max: 10_000, Linger: time.Millisecond}), log: log, ids: make(map[string]topics.ID)}
	var err error
	if f.feed, err = feed.New(feed.Config{{Broker: c}}, f.table, logger); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.feed.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// down waits until the source says that it is down, with words of an error and of what to do.
func (f *coreFeed) down(err, hint string) {
	f.t.Helper()
	f.until("it is down", func() bool { return !f.table.Health().Up && f.feed.Stats().LastError != "" })
	if f.log.Count("feed down") != 1 || f.log.Count(err) == 0 || f.log.Count(hint) == 0 {
		f.t.Errorf("the log does not say once that the feed is down, %q, and what to do, %q", err, hint)
	}
}

func (f *coreFeed) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("did not come about within %v: %s", patience, what)
		}
	}
}

func (f *coreFeed) acquire(names ...string) {
	f.t.Helper()
	for _, name := range names {
		id, err := f.table.Acquire([]byte(name), 0)
		if err != nil {
			f.t.Fatal(err)
		}
		f.ids[name] = id
	}
}

func (f *coreFeed) value(name string) string {
	if row := f.table.Row(f.ids[name]); row != nil {
		return string(row.Value())
	}
	return ""
}

// hears publishes a value again and again until it is shown: the first may come before the subscription.
func (f *coreFeed) hears(nc *natsgo.Conn, name, value string) {
	f.t.Helper()
	f.until(name+" shows "+value, func() bool {
		if err := nc.Publish(name, []byte(value)); err != nil {
			f.t.Fatal(err)
		}
		return f.value(name) == value
	})
}

// stale waits until a topic is, for a reason.
func (f *coreFeed) stale(name string, want topics.Why) {
	f.t.Helper()
	f.until(fmt.Sprintf("%s is stale for %v", name, want), func() bool {
		at, why := f.table.StaleFor(f.ids[name])
		return at != 0 && why == want
	})
}

func coreURL(addr, password string) string {
	return fmt.Sprintf("nats://edge:%s@%s?mode=core", password, addr)
}

// A topic that is not permitted, from the beginning or not any more, is refused, alone, until it is permitted.
func TestForbiddenTopic(t *testing.T) {
	t.Parallel()
	s, o := startServer(t, "", -1)
	nc := dialServer(t, s)
	permit(t, s, o, nil, []string{"NEVER"})
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret)})
	f.acquire("A", "B", "NEVER")
	f.hears(nc, "A", "1")
	f.stale("NEVER", topics.NotPermitted)
	permit(t, s, o, nil, []string{"A", "NEVER"})
	f.stale("A", topics.NotPermitted)
	f.hears(nc, "B", "2")
	if st := f.feed.Stats(); st.Refused[broker.NotPermitted] != 2 || !f.table.Health().Up {
		t.Errorf("refused are %v, up is %v", st.Refused, f.table.Health().Up)
	}
	if got := f.log.Count("topics are refused"); got != 1 {
		t.Errorf("the log tells of %d refusals, want one line", got)
	}
	f.until("both are asked for again", func() bool { return f.feed.Stats().Refusals[broker.NotPermitted] >= 4 })
	permit(t, s, o, nil, nil)
	f.hears(nc, "A", "3")
	f.hears(nc, "NEVER", "4")
	f.until("none is refused", func() bool { return f.feed.Stats().Refused == [broker.Causes]int64{} })
	if st := f.feed.Stats(); st.Channels != 3 || st.Counts[broker.Connects] != 1 {
		t.Errorf("%d subscriptions over %d connections, want 3 over 1", st.Channels, st.Counts[broker.Connects])
	}
}

// Who may not ask publishers hears ticks all the same.
func TestForbiddenQuestion(t *testing.T) {
	t.Parallel()
	s, o := startServer(t, "", -1)
	nc := dialServer(t, s)
	permit(t, s, o, []string{newestSubject}, nil)
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret), Timeout: 2 * patience})
	f.acquire("A")
	f.until("it is known to have no value", func() bool { return f.table.IsAbsent(f.ids["A"]) })
	f.hears(nc, "A", "1")
}

// A password that is changed ends the feed, with a line that says what to do, until it is the right one.
func TestPasswordChanged(t *testing.T) {
	t.Parallel()
	s, o := startServer(t, "", -1)
	nc := dialServer(t, s)
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret)})
	f.acquire("A")
	f.hears(nc, "A", "1")
	other := o.Clone()
	other.Users = []*server.User{{Username: "edge", Password: "other"}, {Username: "publisher", Password: secret}}
	if err := s.ReloadOptions(other); err != nil {
		t.Fatal(err)
	}
	f.until("it is down", func() bool { return !f.table.Health().Up })
	f.until("it has tried again", func() bool { return strings.Contains(strings.ToLower(f.feed.Stats().LastError), "authorization") })
	if f.log.Count("feed down") != 1 || f.log.Count("correct user and password") != 1 || f.log.Count(secret) != 0 {
		t.Error("the log does not say once what to do, or has the password")
	}
	if err := s.ReloadOptions(o.Clone()); err != nil {
		t.Fatal(err)
	}
	f.until("it is up", func() bool { return f.table.Health().Up })
	f.hears(nc, "A", "2")
}

// After a gap a topic that had ticks is stale, unless a publisher knows its newest value.
func TestCoreGap(t *testing.T) {
	t.Parallel()
	s, _ := startServer(t, "", -1)
	nc := dialServer(t, s)
	g := brokertest.NewGate(t, s.Addr().String())
	f := runCore(t, Config{URL: coreURL(g.Addr(), secret)})
	f.acquire("KEPT", "LOST", "NONE")
	logger, _ := logtest.New(t)
	p, err := Config{URL: coreURL(s.Addr().String(), secret)}.Publisher(t.Context(), logger)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	tick := func(ver int64) {
		ticks := []broker.Tick{{Topic: "KEPT", Value: []byte(`{"p":1}`), Ver: ver}}
		if !p.Publish(t.Context(), ticks) || ticks[0].Fate != broker.Taken {
			t.Fatalf("fate %d", ticks[0].Fate)
		}
	}
	f.until("it is heard", func() bool { tick(7); return f.value("KEPT") == `{"p":1,"ver":7}` })
	f.hears(nc, "LOST", "1")
	over := g.Outage()
	f.until("it is down", func() bool { return !f.table.Health().Up })
	tick(8)
	over()
	f.until("it is up", func() bool { return f.table.Health().Up })
	if got := f.value("KEPT"); got != `{"p":1,"ver":8}` {
		t.Errorf("it is up with %s", got)
	}
	f.stale("LOST", broker.Unconfirmed.Why())
	// A publisher that comes back later than we have is asked all the same.
	late, err := Config{URL: coreURL(s.Addr().String(), secret)}.Publisher(t.Context(), logger)
	if err != nil {
		t.Fatal(err)
	}
	late.(*publisher).responder.keep("LOST", []byte(`"late"`))
	late.Publish(t.Context(), []broker.Tick{{Topic: "OTHER", Value: []byte("1")}})
	f.until("its value", func() bool { return f.value("LOST") == `"late"` })
	late.Close()
	if at, _ := f.table.StaleFor(f.ids["LOST"]); at != 0 {
		t.Error("it is stale with its value")
	}
	if at, _ := f.table.StaleFor(f.ids["KEPT"]); at != 0 {
		t.Error("the one whose value was asked for is stale")
	}
	f.hears(nc, "LOST", "2")
	if at, _ := f.table.StaleFor(f.ids["LOST"]); at != 0 {
		t.Error("it is stale behind its tick")
	}
	if got := f.feed.Stats().Counts[broker.Gaps]; got != 1 {
		t.Errorf("%d gaps, want 1", got)
	}
}

// A publisher that does not answer holds nobody up who wants other topics.
func TestMutePublisher(t *testing.T) {
	t.Parallel()
	s, _ := startServer(t, "", -1)
	nc := dialServer(t, s)
	asked := make(chan struct{}, 100)
	if _, err := nc.Subscribe(newestSubject, func(*natsgo.Msg) { asked <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret), Timeout: 10 * patience})
	f.acquire("A")
	<-asked
	f.acquire("B")
	f.hears(nc, "B", "1")
	f.hears(nc, "A", "1")
}

// The numbers of subscriptions are used again. What was on its way by the old one is not taken for a tick
// of the new topic.
func TestNumbersAreUsedAgain(t *testing.T) {
	l := &coreLink{s: newSource(&upstream{}, nil, nil)}
	old, next := &want{topic: "A", subject: "A", state: busy}, &want{topic: "B", subject: "B", state: busy}
	l.s.wants["A"], l.s.wants["B"] = old, next
	l.begin(nil, old)
	number := old.subscription - 1
	l.end(nil, old)
	l.begin(nil, next)
	if next.subscription-1 != number {
		t.Fatal("the number is not used again")
	}
	l.take(&wireMessage{sub: number, subject: []byte("A"), payload: []byte("1"), size: 1}) // It has no owner to tell.
	if got := l.s.counters[broker.Unwanted].Load(); got != 1 {
		t.Errorf("%d messages are unwanted, want 1", got)
	}
}

// In a cluster of which one server is about to end, clients go to the other: the feed is told as down meanwhile, and
// what was published is there behind it, though the publisher has to move too.
func TestLameDuckInACluster(t *testing.T) {
	t.Parallel()
	one := startWith(t, &server.Options{ServerName: "one", Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}})
	route := must(url.Parse("nats://" + one.ClusterAddr().String()))
	two := startWith(t, &server.Options{ServerName: "two", Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}, Routes: []*url.URL{route}})
	both := "nats://" + one.Addr().String() + "," + two.Addr().String() + "?mode=core"
	f := runCore(t, Config{URL: both})
	leave, stay := one, two
	if one.NumClients() == 0 {
		leave, stay = two, one
	}
	f.until("the servers know each other", func() bool { return leave.NumRoutes() > 0 && stay.NumRoutes() > 0 })
	f.acquire("A", "B")
	atLeaving, _ := newPublisherOf(t, "nats://"+leave.Addr().String()+","+stay.Addr().String()+"?mode=core")
	atOther, _ := newPublisherOf(t, "nats://"+stay.Addr().String()+"?mode=core")
	ver := int64(0)
	publish := func() {
		ver++
		value := fmt.Appendf(nil, `{"n":%d}`, ver)
		fates(t, atLeaving, broker.Tick{Topic: "A", Value: value, Ver: ver})
		fates(t, atOther, broker.Tick{Topic: "B", Value: value, Ver: ver})
	}
	f.until("both are heard", func() bool { publish(); return f.value("A") != "" && f.value("B") != "" })
	go leave.LameDuckShutdown()
	f.until("the edge is at the other server", func() bool { publish(); return f.log.Count("feed up") == 2 })
	want := fmt.Sprintf(`{"n":%d,"ver":%d}`, ver, ver)
	f.until("the newest values are there", func() bool { return f.value("A") == want && f.value("B") == want })
	if st := f.feed.Stats(); st.Counts[broker.Gaps] != 1 || f.log.Count("feed down") != 1 || f.log.Count(errLame.Error()) != 1 {
		t.Errorf("%d gaps, and the log tells of %d", st.Counts[broker.Gaps], f.log.Count("feed down"))
	}
	leave.WaitForShutdown()
	publish()
	want = fmt.Sprintf(`{"n":%d,"ver":%d}`, ver, ver)
	f.until("the newest values are there when it has ended", func() bool { return f.value("A") == want && f.value("B") == want })
}

// A server that is restarted is come back to, and one that is about to end is left for another.
func TestServersEnd(t *testing.T) {
	t.Parallel()
	one, _ := startServer(t, "", -1)
	two, _ := startServer(t, "", -1)
	f := runCore(t, Config{URL: coreURL(one.Addr().String()+","+two.Addr().String(), secret)})
	f.acquire("A")
	leave, stay := one, two
	if one.NumClients() == 0 {
		leave, stay = two, one
	}
	f.hears(dialServer(t, leave), "A", "1")
	go leave.LameDuckShutdown()
	f.until("the edge is at the other server", func() bool { return stay.NumClients() > 0 && f.table.Health().Up })
	f.hears(dialServer(t, stay), "A", "2")
	if f.log.Count("feed up") != 2 {
		t.Error("it was not up twice")
	}
	leave.WaitForShutdown()
	port := stay.Addr().String()
	stay.Shutdown()
	stay.WaitForShutdown()
	f.until("it is down", func() bool { return !f.table.Health().Up })
	var n int
	if _, err := fmt.Sscanf(port[strings.LastIndexByte(port, ':')+1:], "%d", &n); err != nil {
		t.Fatal(err)
	}
	again, _ := startServer(t, "", n)
	f.until("it is up", func() bool { return f.table.Health().Up })
	f.hears(dialServer(t, again), "A", "3")
}
