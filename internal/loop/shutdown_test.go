package loop

import (
	"context"
	"errors"
	"slices"
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
	const over, count, mute = time.Second, 60, 10
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
					if m.Code != 1012 || m.RetryMS < 1000 || m.RetryMS > 10_000 {
						t.Errorf("bye = %+v", m)
					}
					goodbyes <- time.Now()
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
	refusedAfter := time.Duration(0)
	until(t, func() bool {
		c, err := connect(e.Addr(), patience)
		if err == nil {
			c.close()
		}
		refusedAfter = time.Since(begin)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "the kernel to refuse connections")
	if refusedAfter > 2*time.Second {
		t.Errorf("connections were refused after %v", refusedAfter)
	}
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
	if q1, q3 := at[count/4], at[3*count/4]; q1 < over/8 || q3 < over/2 || q3-q1 < over/8 || at[count-1] > over+3*time.Second {
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
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the third Shutdown took %v", took)
	}
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
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
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
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
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
	if took := time.Since(begin); took > 20*time.Second { // One after the other they would take 32 s.
		t.Errorf("it took %v", took)
	}
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
