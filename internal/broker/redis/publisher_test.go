package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

// script is a source of so many ticks without pauses, of two topics in turn.
type script struct{ n, end int }

func (s *script) Next(time.Time) (Tick, error) {
	if s.n == s.end {
		return Tick{}, io.EOF
	}
	s.n++
	return Tick{Topic: fmt.Sprint("T", s.n%2), Value: fmt.Append(nil, s.n)}, nil
}

func newPublisher(t *testing.T, cfg Config) (*Publisher, *logtest.Log) {
	t.Helper()
	log, buf := newLog(t)
	p, err := NewPublisher(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	return p, buf
}

// start runs a publisher until the test ends.
func start(t *testing.T, p *Publisher, source Source) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, source) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not return within 10 s of the end of its context")
		}
	})
}

func TestPublisherSetsThenPublishes(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, plain(s), limits)
	r.acquire("T0", "T1")
	r.settled()
	p, _ := newPublisher(t, plain(s))
	g, d := resources(t)
	const n = 2*publishMax + 1
	if err := p.Run(t.Context(), &script{end: n}); err != nil {
		t.Fatal(err)
	}
	returnsTo(t, g, d)
	r.eventually("every tick", func() bool { return r.Stats().Ticks == n })
	if r.value("T0") != fmt.Sprint(n-1) || r.value("T1") != fmt.Sprint(n) {
		t.Errorf("values = %s, %s", r.value("T0"), r.value("T1"))
	}
	if got := s.Do("GET", "price:T1"); got != fmt.Sprint(n) {
		t.Errorf("key = %s", got)
	}
	if st := p.State(); st.Published != n || !st.Connected {
		t.Errorf("state = %+v", st)
	}
}

// Redis never has a value whose message is still to come.
func TestSetAndPublishAreOneTransaction(t *testing.T) {
	s := redistest.Start(t)
	p, _ := newPublisher(t, plain(s))
	if err := p.Run(t.Context(), &script{end: 10}); err != nil {
		t.Fatal(err)
	}
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
	p, _ := newPublisher(t, cfg)
	p.KeepEntries(100)
	const n = 3 * publishMax
	if err := p.Run(t.Context(), &script{end: n}); err != nil {
		t.Fatal(err)
	}
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
	const n = publishMax + 1
	if err := p.Run(ctx, &script{end: n}); err != nil {
		t.Fatal(err)
	}
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
	if err := p.Run(t.Context(), &script{end: 2}); err != nil {
		t.Fatal(err)
	}
	slot := c.Slot("k:{T1}")
	old := c.Owner(slot)
	old.Kill()
	if err := p.Run(t.Context(), &script{end: 4}); err != nil {
		t.Fatal(err)
	}
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
	if err := p.Run(t.Context(), &script{end: 4}); err != nil {
		t.Fatal(err)
	}
	if got := s.Primary().Do("GET", "price:T0"); got != "4" || log.Count("publisher up") != 1 {
		t.Errorf("key = %s", got)
	}
}

func TestPublisherNeedsOneSource(t *testing.T) {
	log, _ := newLog(t)
	cfg := Config{Sources: []SourceConfig{{Patterns: []string{"A*"}, URL: "redis://a:1"}, {URL: "redis://b:1"}}}
	if _, err := NewPublisher(cfg, log); err == nil || !strings.Contains(err.Error(), "want one") {
		t.Errorf("error = %v", err)
	}
}

// The other way round, who fetches a value after a message could get an older one.
func TestSetComesBeforePublish(t *testing.T) {
	p, _ := newPublisher(t, At("redis://127.0.0.1:1"))
	b := batch{p: p}
	value := []byte("1")
	b.add(t.Context(), Tick{Topic: "A", Value: value})
	value[0] = '2' // The source's from now on.
	if got := fmt.Sprintf("%s %s", b.cmds[0].Args(), b.cmds[1].Args()); got != "[set price:A 1] [publish channel:prices:A 1]" {
		t.Errorf("commands = %s", got)
	}
}

func TestPublisherGetsThroughAnOutage(t *testing.T) {
	s := redistest.New(t)
	p, log := newPublisher(t, plain(s))
	start(t, p, &script{end: 10})
	redistest.Eventually(t, "the failure is logged", func() bool { return log.Count("publisher down") == 1 })
	if log.Count("start Redis") != 1 {
		t.Error("the log does not say what to do")
	}
	s.Start()
	redistest.Eventually(t, "all are published", func() bool { return p.State().Published == 10 })
	if got := s.Do("GET", "price:T0"); got != "10" {
		t.Errorf("key = %s", got)
	}
	if log.Count("publisher down") != 1 || log.Count("publisher up") != 1 {
		t.Error("want one line for each change")
	}
}

func TestPublisherControls(t *testing.T) {
	s := redistest.Start(t)
	p, _ := newPublisher(t, plain(s))
	for _, speed := range []float64{0, 0.9, 10.1, -1} {
		if err := p.SetSpeed(speed); err == nil {
			t.Errorf("speed %v was taken", speed)
		}
	}
	if err := p.SetSpeed(10); err != nil {
		t.Error(err)
	}
	p.Pause()
	m := newMarket(t, MarketConfig{Symbols: DefaultSymbols(), Rate: 1000, Volatility: 1})
	start(t, p, m)
	if st := p.State(); !st.Paused || st.Speed != 10 {
		t.Errorf("state = %+v", st)
	}
	p.Resume()
	redistest.Eventually(t, "ticks", func() bool { return p.State().Published > 100 })
	p.Pause()
	// One transaction may be on its way.
	var before uint64
	redistest.Eventually(t, "no more ticks", func() bool {
		before, _ = p.State().Published, s.Do("PING")
		return p.State().Published == before
	})
	p.Resume()
	redistest.Eventually(t, "ticks again", func() bool { return p.State().Published > before+100 })
}

func TestPublisherStopsAtABadSource(t *testing.T) {
	s := redistest.Start(t)
	p, _ := newPublisher(t, plain(s))
	bad := errors.New("line 7")
	err := p.Run(t.Context(), sourceFunc(func() (Tick, error) { return Tick{}, bad }))
	if !errors.Is(err, bad) {
		t.Errorf("error = %v", err)
	}
}

type sourceFunc func() (Tick, error)

func (f sourceFunc) Next(time.Time) (Tick, error) { return f() }

// The whole of a demonstration: the market, the server in the process, the feed.
func TestEmbedded(t *testing.T) {
	g, d := resources(t)
	e, err := StartEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("feed", func(t *testing.T) {
		cfg := At(e.URL())
		cfg.Timeout = 600 * time.Millisecond
		r := run(t, cfg, limits)
		r.acquire(DefaultSymbols()...)
		p, _ := newPublisher(t, cfg)
		start(t, p, newMarket(t, MarketConfig{Symbols: DefaultSymbols(), Rate: 2000, Volatility: 1}))
		r.eventually("all symbols tick", func() bool {
			for name := range r.ids {
				if row := r.table.Row(r.ids[name]); row == nil || row.N == 0 {
					return false
				}
			}
			return true
		})
		p.Pause()
		ping := r.Stats().Connects
		begin := time.Now()
		r.eventually("pongs keep a quiet connection", func() bool { return time.Since(begin) > 3*cfg.Timeout })
		if st := r.Stats(); st.Connects != ping || st.NotJSON+st.NotUTF8+st.TooBig > 0 {
			t.Errorf("stats = %+v", st)
		}
		// Out of subscriber mode and into it again.
		for name := range r.ids {
			r.release(name)
		}
		r.table.Sweep(time.Now().Add(time.Hour))
		r.eventually("nothing is subscribed", func() bool { return r.Stats().Channels == 0 })
		r.acquire("AAPL")
		r.eventually("the newest value is fetched", func() bool { return r.value("AAPL") != "" })
	})
	e.Close()
	returnsTo(t, g, d)
}
