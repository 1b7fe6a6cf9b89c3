// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/feed"
	"tickedge/internal/topics"
)

// load publishes numbers that only grow, to all topics in turn, and looks on while the
// table gets them.
type load struct {
	t       testing.TB
	r       *rig
	client  goredis.UniversalClient
	publish func(ctx context.Context, p goredis.Pipeliner, topic, value string)
	names   []string
	stop    func()
}

// loadTopics is how many topics a load has, and loadEvery the time between two of its
// ticks.
const (
	loadTopics = 50
	loadEvery  = 2 * time.Millisecond
)

func startLoad(r *rig, client goredis.UniversalClient, publish func(context.Context, goredis.Pipeliner, string, string)) *load {
	r.t.Helper()
	l := &load{t: r.t, r: r, client: client, publish: publish}
	for i := range loadTopics {
		l.names = append(l.names, fmt.Sprint("T", i))
	}
	r.acquire(l.names...)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.run(ctx) })
	wg.Go(func() { l.look(ctx) })
	l.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	r.t.Cleanup(l.stop)
	l.flows()
	return l
}

// run publishes. A tick that fails may have got through all the same, so its number is
// not used again.
func (l *load) run(ctx context.Context) {
	for n := 1; broker.Sleep(ctx, loadEvery); n++ {
		topic := l.names[n%len(l.names)]
		pipe := l.client.TxPipeline()
		l.publish(ctx, pipe, topic, fmt.Sprintf(`{"seq":%d}`, n))
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := pipe.Exec(try)
		cancel()
		// A transaction in a cluster does not look for the new owner of its slot by itself.
		if c, ok := l.client.(*goredis.ClusterClient); ok && err != nil {
			c.ReloadState(ctx)
		}
	}
}

// look sees to it that no value goes back in time.
func (l *load) look(ctx context.Context) {
	newest := make(map[string]int)
	for broker.Sleep(ctx, time.Millisecond) {
		for _, name := range l.names {
			n := 0
			fmt.Sscanf(l.r.value(name), `{"seq":%d}`, &n)
			if n < newest[name] {
				l.t.Errorf("%s went back from %d to %d", name, newest[name], n)
			}
			newest[name] = n
		}
	}
}

// flows waits until each topic has a newer value than now.
func (l *load) flows() {
	l.t.Helper()
	for _, name := range l.names {
		was := l.r.value(name)
		l.r.eventually("ticks of "+name, func() bool { return l.r.value(name) != was })
	}
}

// recovers waits until ticks of all topics flow again, and logs how long that took.
func (l *load) recovers(what string, since time.Time) {
	l.t.Helper()
	l.flows()
	l.t.Logf("%s: all topics had new values after %v", what, time.Since(since).Round(time.Millisecond))
}

// same stops the ticks and compares the table with what Redis holds.
func (l *load) same() {
	l.t.Helper()
	l.stop()
	key, err := newTemplate("key", l.r.config.withDefaults().Key)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, name := range l.names {
		want := ""
		l.r.eventually("the value of "+name+" is what Redis holds", func() bool {
			var err error
			want, err = l.client.Get(context.Background(), key.name(name)).Result()
			return err == nil && l.r.value(name) == want
		})
	}
}

func published(ctx context.Context, p goredis.Pipeliner, topic, value string) {
	p.Set(ctx, "price:"+topic, value, 0)
	p.Publish(ctx, "channel:prices:"+topic, value)
}

// patient is a config whose timeout is short enough for a test of a frozen server, and that
// knows the versions of a load.
func patient(url string) config {
	cfg := At(url)
	cfg.Timeout, cfg.VersionField = 2*time.Second, "seq"
	return cfg
}

func TestPasswordAndTLS(t *testing.T) {
	t.Parallel()
	ca := redistest.NewCA(t)
	s := redistest.StartTLS(t, ca, "--requirepass", secret, "--tls-auth-clients", "yes")
	s.Do("SET", "price:AAPL", "1")
	cert, key := ca.Issue("edge")
	cfg := At("rediss://:" + secret + "@" + s.TLSAddr())
	cfg.TLS = TLSFiles{CA: ca.File, Cert: cert, Key: key}
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.eventually("the value", func() bool { return r.value("AAPL") == "1" })
	publish(s, "AAPL", "2")
	r.eventually("the tick", func() bool { return r.value("AAPL") == "2" })
}

func TestTLSErrors(t *testing.T) {
	t.Parallel()
	ca := redistest.NewCA(t)
	s := redistest.StartTLS(t, ca, "--tls-auth-clients", "yes")
	cert, key := redistest.NewCA(t).Issue("edge")
	for name, c := range map[string]struct {
		tls   TLSFiles
		error string
	}{
		"an authority that did not sign it": {TLSFiles{CA: redistest.NewCA(t).File}, "failed to verify certificate"},
		"no certificate of ours":            {TLSFiles{CA: ca.File}, "remote error: tls: "},
		"a certificate that Redis rejects":  {TLSFiles{CA: ca.File, Cert: cert, Key: key}, "remote error: tls: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := At("rediss://" + s.TLSAddr())
			cfg.TLS = c.tls
			r := run(t, cfg, limits)
			// Now and then the connection is reset before the reason has been read.
			r.eventually("the error says what is wrong", func() bool { return strings.Contains(r.Stats().LastError, c.error) })
		})
	}
}

func TestTLSHints(t *testing.T) {
	for want, err := range map[string]error{
		"-redis-tls-ca":   &tls.CertificateVerificationError{Err: errors.New("x")},
		"-redis-tls-cert": &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")},
	} {
		if got := hint(fmt.Errorf("connect: %w", err)); !strings.Contains(got, want) {
			t.Errorf("hint of %v is %q, want %s in it", err, got, want)
		}
	}
}

func TestTwoSources(t *testing.T) {
	t.Parallel()
	fx, rest := redistest.Start(t), redistest.Start(t)
	log, buf := newLog(t)
	table := topics.New(limits)
	f, err := feed.New(feed.Config{{Patterns: []string{"fx:*", "*-USD"}, Broker: Config{URL: fx.URL()}}, {Broker: Config{URL: rest.URL()}}}, table, log)
	if err != nil {
		t.Fatal(err)
	}
	r := runFeed(t, f, table, buf)
	r.acquire("fx:EUR", "BTC-USD", "AAPL")
	tick := func(s *redistest.Server, topic, value string) {
		t.Helper()
		r.eventually("the tick of "+topic, func() bool {
			publish(s, topic, value)
			return r.value(topic) == value
		})
	}
	tick(fx, "fx:EUR", "1")
	tick(fx, "BTC-USD", "2")
	tick(rest, "AAPL", "3")

	fx.Kill()
	r.eventually("one source is down", func() bool { st := r.Stats(); return !st.Sources[0].Connected && !st.Connected })
	tick(rest, "AAPL", "4")
	if st := r.Stats(); !st.Sources[1].Connected || st.Sources[1].Counts[broker.Connects] != 1 || st.Sources[0].Topics != "fx:*,*-USD" || st.Sources[1].Topics != "" {
		t.Errorf("stats = %+v", st)
	}
	if r.table.SourceState(0).Up || !r.table.SourceState(1).Up {
		t.Error("the table does not know which source is down")
	}
	fx.Start()
	tick(fx, "fx:EUR", "5")
	r.eventually("both are up", func() bool { return r.table.SourceState(0).Up && r.Stats().Connected })
}

// The primary is killed, and a replica takes its place.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 1, secret, "watch-"+secret)
	client := s.Client()
	defer client.Close()
	url := strings.Replace(s.URL(), "://", "://:"+secret+"@", 1) + "?sentinel_password=watch-" + secret
	r := run(t, patient(url), limits)
	l := startLoad(r, client, published)

	old, killed := s.Primary(), time.Now()
	old.Kill()
	r.eventually("the feed knows that it is down", func() bool { return !r.table.SourceState(0).Up })
	s.WaitMoved(old)
	t.Logf("the sentinels took %v", time.Since(killed))
	l.recovers("killed primary", killed)
	l.same()
	if st := r.Stats(); st.Counts[broker.Gaps] == 0 || !st.Connected {
		t.Errorf("stats = %+v, want a gap", st)
	}
}

// The primary is frozen, a replica takes its place, and when it thaws it believes for a
// while that it is the primary still.
func TestSentinelFrozenPrimary(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 1, "", "")
	client := s.Client()
	defer client.Close()
	r := run(t, patient(s.URL()), limits)
	l := startLoad(r, client, published)

	old, frozen := s.Primary(), time.Now()
	old.Freeze()
	defer old.Thaw()
	s.WaitMoved(old)
	t.Logf("the sentinels took %v", time.Since(frozen))
	l.recovers("frozen primary", frozen)
	old.Thaw()
	r.eventually("the old primary is a replica", func() bool { return old.IsReplica() })
	l.flows()
	l.same()
	r.eventually("the feed stays with the new primary", func() bool { return r.Stats().Connected })
}

// The link works, and yet it has to go. What is published to the old primary meanwhile is
// lost in Redis, so only versions keep the values from going back.
func TestSentinelSwitch(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 1, "", "")
	client := s.Client()
	defer client.Close()
	r := run(t, patient(s.URL()), limits)
	l := startLoad(r, client, published)
	begin := time.Now()
	s.Failover()
	r.eventually("the link goes to the new primary", func() bool { return r.Stats().Counts[broker.Connects] > 1 })
	l.recovers("failover on demand", begin)
	l.same()
}

func TestSentinelsThatCannotHelp(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 0, "", "watch-"+secret)
	primary := s.Primary()
	t.Run("wrong name", func(t *testing.T) {
		r := run(t, patient("redis-sentinel://"+s.Addrs()[0]+"/other?sentinel_password=watch-"+secret), limits)
		r.eventually("the log names the cause", func() bool { return strings.Contains(r.Stats().LastError, errNoMaster.Error()) })
		r.eventually("a hint in the log", func() bool { return r.log.Count("correct the master's name") > 0 })
	})
	t.Run("no password", func(t *testing.T) {
		r := run(t, patient(s.URL()), limits)
		r.eventually("the log names the cause", func() bool { return strings.Contains(r.Stats().LastError, "NOAUTH") })
	})
	t.Run("one answers", func(t *testing.T) {
		// One refuses, one says nothing.
		s.Guards()[0].Kill()
		s.Guards()[1].Freeze()
		defer s.Guards()[1].Thaw()
		begin := time.Now()
		r := run(t, patient(s.URL()+"?sentinel_password=watch-"+secret), limits)
		r.eventually("connected", func() bool { return r.Stats().Connected })
		t.Logf("connected after %v", time.Since(begin))
	})
	t.Run("it is a replica", func(t *testing.T) {
		primary.Do("REPLICAOF", "127.0.0.1", "1")
		s := asking(s.Addrs()[2])
		s.master, s.sentinelOpts.Password = redistest.SentinelName, "watch-"+secret
		if _, err := s.resolve(t.Context()); !errors.Is(err, errNotMaster) {
			t.Errorf("error = %v", err)
		}
	})
}

// tuned are options for tests that need no more.
func (c Config) tuned() *goredis.Options {
	o := new(goredis.Options)
	tune(o, c.withDefaults())
	return o
}

func inSlots(url string) config {
	cfg := patient(url)
	cfg.Channel, cfg.Key = "channel:prices:{{topic}}", "price:{{topic}}"
	return cfg
}

func publishedSharded(ctx context.Context, p goredis.Pipeliner, topic, value string) {
	p.Set(ctx, "price:{"+topic+"}", value, 0)
	p.SPublish(ctx, "channel:prices:{"+topic+"}", value)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3, 1, nil)
	s.Calm()
	client := s.Client()
	defer client.Close()
	cfg := inSlots(s.URL())
	cfg.VersionField = "" // Nothing is lost here, so the order has to be right without.
	r := run(t, cfg, limits)
	r.eventually("connected without a topic", func() bool { return r.table.SourceState(0).Up })
	l := startLoad(r, client, publishedSharded)
	slot := s.Slot("{T0}")

	gaps := r.Stats().Counts[broker.Gaps]
	begin := time.Now()
	s.Failover(slot)
	l.recovers("failover on demand", begin)
	r.eventually("a gap", func() bool { return r.Stats().Counts[broker.Gaps] > gaps })

	// Two slots go to another node, and back.
	gaps = r.Stats().Counts[broker.Gaps]
	for range 2 {
		for _, name := range l.names[:2] {
			slot := s.Slot("{" + name + "}")
			to := s.Nodes()[0]
			for i := 0; to == s.Owner(slot) || to.IsReplica(); i++ {
				to = s.Nodes()[i]
			}
			s.Settled()
			begin = time.Now()
			s.Migrate(slot, to)
		}
	}
	l.recovers("the last of the moved slots", begin)
	r.eventually("a gap", func() bool { return r.Stats().Counts[broker.Gaps] > gaps })
	l.same()
}

func TestClusterKilledPrimary(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3, 1, nil)
	client := s.Client()
	defer client.Close()
	r := run(t, inSlots(s.URL()), limits)
	l := startLoad(r, client, publishedSharded)
	slot := s.Slot("{T0}")
	old, killed := s.Owner(slot), time.Now()
	old.Kill()
	r.eventually("the feed is down", func() bool { return !r.table.SourceState(0).Up })
	s.WaitMoved(slot, old)
	t.Logf("the cluster took %v", time.Since(killed))
	l.recovers("killed primary", killed)
	r.eventually("the feed is up", func() bool { return r.table.SourceState(0).Up })
	t.Logf("up again %v after the kill", time.Since(killed))
	l.same()
}

// A primary is frozen, loses its slots, and thaws as one that believes that it has them.
func TestClusterFrozenPrimary(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3, 1, nil)
	client := s.Client()
	defer client.Close()
	r := run(t, inSlots(s.URL()), limits)
	l := startLoad(r, client, publishedSharded)
	slot := s.Slot("{T0}")
	old, frozen := s.Owner(slot), time.Now()
	old.Freeze()
	defer old.Thaw()
	r.eventually("the feed is down", func() bool { return !r.table.SourceState(0).Up })
	t.Logf("down %v after the freeze", time.Since(frozen))
	s.WaitMoved(slot, old)
	t.Logf("the cluster took %v", time.Since(frozen))
	r.eventually("the feed is up", func() bool { return r.table.SourceState(0).Up })
	t.Logf("up again %v after the freeze", time.Since(frozen))
	l.recovers("frozen primary", frozen)
	old.Thaw()
	r.eventually("the old primary is a replica", func() bool { return old.IsReplica() })
	l.flows()
	l.same()
}

// A node that does not answer holds up the topics of no other, whether it is connected or is still to be.
func TestClusterPausedPrimaryHoldsUpNobody(t *testing.T) {
	const one = `{"seq":1}`
	t.Parallel()
	s := redistest.StartCluster(t, 3, 0, nil)
	paused := s.Owner(s.Slot("{T0}"))
	const part = 1024 // Slots. One whose ends have an owner is its own.
	var isPaused [1 << 14 / part]bool
	for i := range isPaused {
		isPaused[i] = s.Owner(i*part) == paused && s.Owner((i+1)*part-1) == paused
	}
	other := "OTHER"
	for s.Owner(s.Slot("{"+other+"}")) == paused {
		other += "X"
	}
	var madeUp []string
	for i := 0; len(madeUp) < aheadMax+commandMax; i++ {
		if name := fmt.Sprint("MADEUP", i); isPaused[slotOf("{"+name+"}")/part] {
			madeUp = append(madeUp, name)
		}
	}
	s.Owner(s.Slot("{"+other+"}")).Do("SET", "price:{"+other+"}", one)
	cfg := inSlots(s.URL())
	cfg.Timeout = time.Minute // It is not missed before that.
	connected, yet := run(t, cfg, limits), run(t, cfg, limits)
	connected.acquire("T0")
	connected.eventually("a node is subscribed to", func() bool { return connected.Stats().Channels == 1 })
	yet.eventually("the slots are known", func() bool { return yet.table.SourceState(0).Up })
	paused.Do("CLIENT", "PAUSE", "600000") // The other nodes don't miss it.
	for _, r := range []*rig{connected, yet} {
		r.acquire(madeUp...)
		r.acquire(other)
		r.eventually("the value of a topic of another node", func() bool { return r.value(other) == one })
	}
}

func TestClusterWithTLS(t *testing.T) {
	const one = `{"seq":1}`
	t.Parallel()
	ca := redistest.NewCA(t)
	s := redistest.StartCluster(t, 2, 0, ca)
	s.Owner(s.Slot("{AAPL}")).Do("SET", "price:{AAPL}", one)
	cfg := inSlots(s.URL())
	cfg.TLS.CA = ca.File
	r := run(t, cfg, limits)
	r.acquire("AAPL", "MSFT")
	r.eventually("the value", func() bool { return r.value("AAPL") == one })
	r.eventually("the tick", func() bool {
		s.Owner(s.Slot("{MSFT}")).Do("SPUBLISH", "channel:prices:{MSFT}", one)
		return r.value("MSFT") == one
	})
}

func TestNotACluster(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	r := run(t, inSlots("redis-cluster://"+s.Addr()), limits)
	r.eventually("the error", func() bool { return r.log.Count("use redis:// in the URL") > 0 })
	if st := r.Stats(); r.table.SourceState(0).Seq > 0 || st.LastError == "" {
		t.Errorf("stats = %+v", st)
	}

	c := redistest.StartCluster(t, 2, 0, nil)
	r = run(t, At("redis://"+c.Nodes()[0].Addr()), limits)
	for i := range 10 {
		r.acquire(fmt.Sprint("T", i))
	}
	r.eventually("the hint", func() bool { return r.log.Count("use redis-cluster:// in the URL") > 0 })
}

// BenchmarkClusterFailover is what 50,000 topics in a cluster of three primaries cost in
// time: until all are subscribed, and from the death of a primary until all are again, of
// which cluster-ms is the cluster's own part.
func BenchmarkClusterFailover(b *testing.B) {
	const n = 50_000
	var subscribed, moved, current time.Duration
	for range b.N {
		s := redistest.StartCluster(b, 3, 1, nil)
		cfg := inSlots(s.URL())
		cfg.VersionField = ""
		r := run(b, cfg, limits)
		all := func() bool { return r.table.SourceState(0).Up && r.Stats().Channels == n }
		begin := time.Now()
		for i := range n {
			r.acquire(fmt.Sprint("T", i))
		}
		r.eventually("all are subscribed", all)
		subscribed += time.Since(begin)
		old := s.Owner(0)
		old.Kill()
		begin = time.Now()
		r.eventually("the feed is down", func() bool { return !r.table.SourceState(0).Up })
		s.WaitMoved(0, old)
		moved += time.Since(begin)
		r.eventually("all are subscribed again", all)
		current += time.Since(begin)
		r.stop()
	}
	b.ReportMetric(float64(subscribed.Milliseconds())/float64(b.N), "subscribe-ms")
	b.ReportMetric(float64(moved.Milliseconds())/float64(b.N), "cluster-ms")
	b.ReportMetric(float64(current.Milliseconds())/float64(b.N), "failover-ms")
}
