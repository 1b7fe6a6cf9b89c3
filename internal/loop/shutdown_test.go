// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tickedge/internal/fanout"
	"tickedge/internal/topics"
)

// warm has each loop have a connection once, as a loop that had none can't be told
// anything.
func warm(t *testing.T, e *edge) {
	t.Helper()
	until(t, func() bool {
		c, err := connect(e.Addr(), patience)
		if err != nil {
			t.Fatal(err)
		}
		c.close()
		for _, l := range e.loops {
			if l.events.Load() == nil {
				return false
			}
		}
		return true
	}, "each loop to have a connection")
	until(t, func() bool { return e.Conns() == 0 }, "them to be gone")
}

// Everyone is told when to come back, spread over the time, and nobody new gets in.
func TestShutdown(t *testing.T) {
	const over, count, mute = 2 * time.Second, 60, 10
	e := serve(t, func(c *Config) { c.Shard.CloseTimeout = 2500 * time.Millisecond })
	warm(t, e)
	goodbyes := make(chan time.Time, count)
	var listening sync.WaitGroup
	for i := range count {
		c := dialRaw(t, e.Addr()).upgrade("?topics=A")
		listening.Go(func() {
			for {
				m, err := c.read()
				var cl closedWith
				switch {
				case errors.As(err, &cl) && cl.code == 1012:
					if i%2 == 0 { // The others leave without an answer.
						_, _ = c.Write(closeFrame(1012, ""))
					}
					c.close()
					return
				case err != nil:
					t.Errorf("got %v", err)
					return
				case m.T == "bye":
					goodbyes <- time.Now()
					if m.Code != 1012 || m.RetryMS < 1 || m.RetryMS > 1000 {
						t.Errorf("bye = %+v", m)
					}
					// Who comes back at once finds no other loop of the same server.
					if again, err := connect(e.Addr(), patience); !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("one who was sent away comes back: %v", err)
						if err == nil {
							again.close()
						}
					}
				}
			}
		})
	}
	// Some never read nor go, and one has not even sent its request.
	for range mute {
		dialRaw(t, e.Addr()).upgrade("?topics=A")
	}
	dialRaw(t, e.Addr())
	until(t, func() bool { return e.Conns() == count+mute+1 }, "all to be there")
	ticking(t, e, 5*time.Millisecond, 10, []string{"A"})
	begin := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.end(over)
	}()
	listening.Wait()
	<-ended
	close(goodbyes)
	var at []time.Duration
	for when := range goodbyes {
		at = append(at, when.Sub(begin))
	}
	slices.Sort(at)
	if len(at) != count {
		t.Fatalf("%d of %d were told", len(at), count)
	}
	// Spread evenly, a quarter is told in each quarter. A busy machine makes it later.
	if q1, q3 := at[count/4], at[3*count/4]; q1 < over/8 || q3 < over/2 || q3-q1 < over/8 || at[count-1] > over+patience {
		t.Errorf("told from %v to %v, a quarter by %v, three by %v", at[0], at[count-1], q1, q3)
	}
	if n := e.closed("peer_reset", "1006"); n != 0 {
		t.Errorf("%d were reset", n)
	}
	// Each was evicted once, and counted once.
	if st := e.Stats(); st.Evicted[fanout.Drain] != count+mute+1 {
		t.Errorf("%d evicted for the drain, want %d", st.Evicted[fanout.Drain], count+mute+1)
	}
}

func TestShutdownTwice(t *testing.T) {
	e := serve(t)
	warm(t, e)
	c := dialRaw(t, e.Addr()).upgrade("")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { e.Shutdown(context.Background(), 100*time.Millisecond) })
	}
	c.wantBye(1012)
	c.close()
	both.Wait()
	begin := time.Now()
	e.Shutdown(context.Background(), time.Hour)
	soon(t, begin, "the third Shutdown")
	if _, err := connect(e.Addr(), patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect: %v", err)
	}
}

// When the context ends, the rest is closed, told or not.
func TestShutdownCutShort(t *testing.T) {
	for _, when := range []string{"before", "during"} {
		t.Run(when, func(t *testing.T) {
			e := serve(t)
			warm(t, e)
			for range 10 {
				dialRaw(t, e.Addr()).upgrade("?topics=A")
			}
			ctx, cancel := context.WithCancel(context.Background())
			if when == "before" {
				cancel()
			} else {
				time.AfterFunc(200*time.Millisecond, cancel)
			}
			defer cancel()
			begin := time.Now()
			e.Shutdown(ctx, time.Hour)
			soon(t, begin, "it")
			if n := e.Conns(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

// A server that never had a connection has nobody to tell, and its port is free again.
func TestShutdownOfAnIdleServer(t *testing.T) {
	e := serve(t)
	begin := time.Now()
	e.end(time.Hour)
	soon(t, begin, "it")
	l, err := listenPlain(e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	again := serve(t, func(c *Config) { c.Listen = e.Addr().String() })
	dialRaw(t, again.Addr()).upgrade("")
}

// The time to stop does not grow with the number of loops.
func TestShutdownOfManyLoops(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 64 })
	warm(t, e)
	begin := time.Now()
	e.end(0)
	soon(t, begin, "it") // One after the other they would take 32 s.
}

// An address that is taken is an error, and nothing is left of the attempt.
func TestStartOnATakenPort(t *testing.T) {
	takeBaseline(t)
	l, err := listenPlain("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.Listen, cfg.Log = l.Addr().String(), (&testLog{}).logger()
	if s, err := Start(cfg, topics.New(topics.Config{Max: 10})); err == nil {
		s.Shutdown(context.Background(), 0)
		t.Error("Start on a port that is taken gave no error")
	}
	l.Close()
	wantBaseline(t)
	for _, bad := range []func(*Config){
		func(c *Config) { c.Loops = 0 }, func(c *Config) { c.MaxConns = 0 }, func(c *Config) { c.Listen = "nonsense" },
	} {
		cfg := quick()
		cfg.Log = (&testLog{}).logger()
		bad(&cfg)
		if s, err := Start(cfg, topics.New(topics.Config{Max: 10})); err == nil {
			s.Shutdown(context.Background(), 0)
			t.Errorf("Start with %+v gave no error", cfg)
		}
	}
	wantBaseline(t)
}

// A loop that ends unasked is reported.
func TestLoopThatEndsIsReported(t *testing.T) {
	e := serve(t)
	dialRaw(t, e.Addr()).upgrade("")
	go e.loops[1].gnet.Stop(t.Context())
	select {
	case err := <-e.Failed():
		if !strings.Contains(err.Error(), "event loop 1 ended") {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(patience):
		t.Error("nothing is reported")
	}
}

// Who has connected when the port is closed, and waits to be accepted, is served and told like
// the others: the kernel would reset those that wait at a listener that is closed.
func TestShutdownAcceptsThoseWhoWait(t *testing.T) {
	const waiting = 10
	e := serve(t, func(c *Config) { c.Loops = 1 })
	warm(t, e)
	busy, held := make(chan struct{}), make(chan struct{})
	e.loops[0].ask(func() { close(held); <-busy })
	<-held
	var conns []*raw
	for range waiting {
		c := dialRaw(t, e.Addr())
		c.send([]byte(upgradeRequest("?topics=A")))
		conns = append(conns, c)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); e.end(time.Second) }()
	until(t, func() bool {
		e.loops[0].requests.Lock()
		defer e.loops[0].requests.Unlock()
		return len(e.loops[0].requests.list) > 0
	}, "the loop to be asked")
	close(busy)
	for _, c := range conns {
		if err := c.switched(); err != nil {
			t.Fatalf("handshake: %v", err)
		}
		c.want("hello")
		c.want("ack")
	}
	for _, c := range conns {
		c.wantBye(1012)
		c.close()
	}
	<-ended
}

// What a 503 advises is spread over the time that is set, in whole seconds.
func TestRetrySpread(t *testing.T) {
	for spread, most := range map[time.Duration]int{0: 1, time.Second: 1, 3500 * time.Millisecond: 4, time.Minute: 60} {
		t.Run(spread.String(), func(t *testing.T) {
			e := serve(t, func(c *Config) { c.Loops, c.RetrySpread = 1, spread })
			warm(t, e)
			seen := make(map[int]int)
			e.onLoops(func(l *loop) {
				for range 100 * most {
					r := l.unavailable()
					n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header, "Retry-After: "), "\r\n"))
					if err != nil || r.Status != 503 {
						t.Errorf("%+v", r)
					}
					seen[n]++
				}
			})
			for n := 1; n <= most; n++ {
				if seen[n] < 50 {
					t.Errorf("%d s is advised %d times of %d, want about 100", n, seen[n], 100*most)
				}
			}
			if len(seen) != most {
				t.Errorf("%d times are advised, want 1 to %d s: %v", len(seen), most, seen)
			}
		})
	}
}
