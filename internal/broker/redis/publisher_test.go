// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

// ticks are n ticks from a number on, of two topics in turn.
func ticks(from, n int) (all []broker.Tick) {
	for i := from; i < from+n; i++ {
		all = append(all, broker.Tick{Topic: fmt.Sprint("T", i%2), Value: fmt.Append(nil, i)})
	}
	return all
}

func newPublisher(t *testing.T, cfg config) (*Publisher, *logtest.Log) {
	t.Helper()
	log, buf := newLog(t)
	p, err := NewPublisher(t.Context(), cfg.Config, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, buf
}

// must publishes ticks.
func (p *Publisher) must(t *testing.T, ticks []broker.Tick) {
	t.Helper()
	if !p.Publish(t.Context(), ticks) {
		t.Fatal("the ticks were not published")
	}
}

func TestPublisherSetsThenPublishes(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, plain(s), limits)
	r.acquire("T0", "T1")
	r.settled()
	g, d := resources(t)
	p, _ := newPublisher(t, plain(s))
	const n = 2001
	p.must(t, ticks(1, n))
	if !p.Connected() {
		t.Error("not connected")
	}
	p.Close()
	returnsTo(t, g, d)
	r.eventually("every tick", func() bool { return r.Stats().Counts[broker.Ticks] == n })
	if r.value("T0") != fmt.Sprint(n-1) || r.value("T1") != fmt.Sprint(n) {
		t.Errorf("values = %s, %s", r.value("T0"), r.value("T1"))
	}
	if got := s.Do("GET", "price:T1"); got != fmt.Sprint(n) {
		t.Errorf("key = %s", got)
	}
}

// Redis never has a value whose message is still to come.
func TestSetAndPublishAreOneTransaction(t *testing.T) {
	s := redistest.Start(t)
	p, _ := newPublisher(t, plain(s))
	p.must(t, ticks(1, 10))
	if multi, exec := calls(s, "multi"), calls(s, "exec"); multi == 0 || multi != exec {
		t.Errorf("%d MULTI and %d EXEC", multi, exec)
	}
	if set, publish := calls(s, "set"), calls(s, "publish"); set != 10 || publish != 10 {
		t.Errorf("%d SET and %d PUBLISH, want 10 of each", set, publish)
	}
}

// A feed that reads the stream gets the newest ticks of a publisher, and so do the keys.
func TestPublisherIntoAStream(t *testing.T) {
	s := redistest.Start(t)
	cfg := plain(s)
	cfg.Mode, cfg.Stream = ModeStream, "ticks"
	r := run(t, cfg, limits)
	r.acquire("T0", "T1")
	r.settled()
	cfg.Entries = 100
	p, _ := newPublisher(t, cfg)
	const n = 3000
	p.must(t, ticks(1, n))
	r.eventually("the newest values", func() bool { return r.value("T0") == fmt.Sprint(n) && r.value("T1") == fmt.Sprint(n-1) })
	if got := s.Do("GET", "price:T0"); got != fmt.Sprint(n) {
		t.Errorf("key = %s", got)
	}
	var length int
	fmt.Sscan(s.Do("XLEN", "ticks"), &length)
	if length < 100 || length > 500 { // Redis trims by nodes of 100.
		t.Errorf("the stream has %d entries, want about 100", length)
	}
	if calls(s, "publish") > 0 {
		t.Error("ticks were published besides")
	}
}

// In a cluster ticks go to the shard of their topic, and come out there.
func TestPublisherIntoACluster(t *testing.T) {
	c := redistest.StartCluster(t, 2, 0, nil)
	cfg := At(c.URL())
	cfg.Channel, cfg.Key = "c:{{topic}}", "k:{{topic}}"
	p, log := newPublisher(t, cfg)
	client := c.Client()
	defer client.Close()
	ctx := t.Context()
	sub := client.SSubscribe(ctx, "c:{T1}")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	const n = 1001
	p.must(t, ticks(1, n))
	for i := 1; i <= n; i += 2 {
		m, err := sub.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if m.Payload != fmt.Sprint(i) {
			t.Fatalf("message = %s, want %d", m.Payload, i)
		}
	}
	for topic, want := range map[string]int{"T0": n - 1, "T1": n} {
		if got, err := client.Get(ctx, "k:{"+topic+"}").Result(); err != nil || got != fmt.Sprint(want) {
			t.Errorf("key of %s = %s, %v, want %d", topic, got, err, want)
		}
	}
	if log.Count("publisher up") != 1 {
		t.Error("the publisher does not say that it is up")
	}
}

func TestPublisherFollowsAShard(t *testing.T) {
	c := redistest.StartCluster(t, 3, 1, nil)
	cfg := At(c.URL())
	cfg.Channel, cfg.Key, cfg.Timeout = "c:{{topic}}", "k:{{topic}}", time.Second
	p, log := newPublisher(t, cfg)
	p.must(t, ticks(1, 2))
	slot := c.Slot("k:{T1}")
	old := c.Owner(slot)
	old.Kill()
	p.must(t, ticks(1, 4))
	client := c.Client()
	defer client.Close()
	if got, err := client.Get(t.Context(), "k:{T1}").Result(); err != nil || got != "3" {
		t.Errorf("key = %s, %v", got, err)
	}
	if log.Count("publisher down") != 1 || c.Owner(slot) == old {
		t.Error("the shard did not fail")
	}
}

func TestPublisherFollowsTheMaster(t *testing.T) {
	s := redistest.StartSentinel(t, 1, secret, "")
	_, addrs, _ := strings.Cut(s.URL(), "://")
	p, log := newPublisher(t, At("redis-sentinel://:"+secret+"@"+addrs))
	p.must(t, ticks(1, 4))
	if got := s.Primary().Do("GET", "price:T0"); got != "4" || log.Count("publisher up") != 1 {
		t.Errorf("key = %s", got)
	}
}

// The other way round, who fetches a value after a message could get an older one.
func TestSetComesBeforePublish(t *testing.T) {
	p, _ := newPublisher(t, At("redis://127.0.0.1:1"))
	pipe := p.client.TxPipeline()
	p.add(t.Context(), pipe, broker.Tick{Topic: "A", Value: []byte("1")})
	if got := fmt.Sprintf("%s %s", pipe.Cmds()[0].Args(), pipe.Cmds()[1].Args()); got != "[set price:A 1] [publish channel:prices:A 1]" {
		t.Errorf("commands = %s", got)
	}
}

func TestPublisherGetsThroughAnOutage(t *testing.T) {
	s := redistest.New(t)
	p, log := newPublisher(t, plain(s))
	done := make(chan bool, 1)
	go func() { done <- p.Publish(t.Context(), ticks(1, 10)) }()
	redistest.Eventually(t, "the failure is logged", func() bool { return log.Count("publisher down") == 1 })
	if log.Count("start Redis") != 1 {
		t.Error("the log does not say what to do")
	}
	s.Start()
	if !<-done || !p.Connected() {
		t.Error("the ticks were not published")
	}
	if got := s.Do("GET", "price:T0"); got != "10" {
		t.Errorf("key = %s", got)
	}
	if log.Count("publisher down") != 1 || log.Count("publisher up") != 1 {
		t.Error("want one line for each change")
	}
}

// A channel that is not permitted costs the others of its script and transaction nothing: each is told.
func TestForbiddenChannel(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "~*", "resetchannels", "&channel:prices:B", "&channel:prices:C", "+@all")
	r := run(t, plain(s), limits)
	r.acquire("B", "C")
	r.settled()
	cfg := plain(s)
	cfg.URL = strings.Replace(cfg.URL, "://", "://edge:"+secret+"@", 1)
	p, log := newPublisher(t, cfg)
	all := []broker.Tick{
		{Topic: "B", Value: []byte(`{"p":1}`), Ver: 1}, {Topic: "A", Value: []byte(`{"p":2}`), Ver: 1},
		{Topic: "C", Value: []byte(`{"p":3}`), Ver: 1}, {Topic: "A", Value: []byte("4")}, {Topic: "A", Value: []byte(`{"p":5}`), Ver: 2},
	}
	p.must(t, all)
	for i, want := range []broker.Fate{broker.Taken, broker.Forbidden, broker.Taken, broker.Forbidden, broker.Forbidden} {
		if all[i].Fate != want {
			t.Errorf("the fate of tick %d is %d, want %d", i, all[i].Fate, want)
		}
	}
	r.eventually("the others are told", func() bool { return r.value("B") == `{"p":1,"ver":1}` && r.value("C") == `{"p":3,"ver":1}` })
	if log.Count("topics are not permitted") != 1 || log.Count("publisher down") != 0 || log.Count(secret) != 0 {
		t.Error("want one line, without the password")
	}
}
