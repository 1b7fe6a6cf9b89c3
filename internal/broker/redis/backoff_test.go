// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

// An hour's outage: attempts every few seconds, two lines in the log.
func TestReconnectBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := idle(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+2*broker.BackoffMax)
		defer cancel()
		attempts, begin := 0, time.Now()
		r.reconnect(ctx, func(ctx context.Context, up func()) error {
			attempts++
			if time.Since(begin) < time.Hour {
				return errors.New("refused")
			}
			up()
			<-ctx.Done()
			return ctx.Err()
		})
		// Half of 5 s on average makes 1,440.
		if attempts < 1200 || attempts > 1750 {
			t.Errorf("%d attempts in an hour", attempts)
		}
		if log.Count("msg=\"feed down\"") != 1 || log.Count("msg=\"feed up\"") != 1 || log.Count("outage=1h0m") != 1 {
			t.Error("want one line when it goes down and one when it is up again")
		}
	})
}

// A Redis that lets us in and throws us out at once is not stormed.
func TestShortLinksBackOff(t *testing.T) {
	for _, c := range []struct {
		lived       time.Duration
		least, most int // Links in a minute.
	}{
		{time.Second, 10, 35},
		{broker.BackoffMax, 11, 12}, // Long enough to be followed by the shortest wait.
	} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := idle(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			links := 0
			r.reconnect(ctx, func(ctx context.Context, up func()) error {
				links++
				up()
				broker.Sleep(ctx, c.lived)
				return errors.New("thrown out")
			})
			if links < c.least || links > c.most {
				t.Errorf("links of %v: %d in a minute, want %d to %d", c.lived, links, c.least, c.most)
			}
		})
	}
}

// Sentinels may have another master by now, so what is not there is not waited for as long.
// One that throws us out is.
func TestMastersAreSoughtSooner(t *testing.T) {
	for works, most := range map[bool]int{false: 200, true: 45} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := idle(t)
			r.target = sentinels{}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			links := 0
			r.reconnect(ctx, func(ctx context.Context, up func()) error {
				links++
				if works {
					up()
				}
				return errors.New("refused")
			})
			// Waits of up to 5 s are 24 a minute, those of up to 1 s twice as many at least.
			if links > most || !works && links < 55 {
				t.Errorf("works %v: %d attempts in a minute", works, links)
			}
		})
	}
}

// idle is a feed that does not run.
func idle(t *testing.T) (*server, *logtest.Log) {
	log, buf := newLog(t)
	cfg := At("redis://127.0.0.1:1")
	cfg.feed(t, topics.New(limits), log)
	return cfg.server(), buf
}

// What comes from the other side may find a fault in a library. It costs the link, whether
// it shows in one of its goroutines or before they run.
func TestPanicEndsTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log := idle(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		links, counted := 0, panics.Count(panics.Feed)
		r.reconnect(ctx, func(ctx context.Context, up func()) error {
			links++
			switch links {
			case 1:
				return errors.New("refused")
			case 2: // One line about the outage is there already.
				panic("in a link")
			}
			up()
			if links == 3 {
				ctx, cancel := context.WithCancelCause(ctx)
				defer cancel(nil)
				return runAll(ctx, cancel, func(context.Context) error { panic("in a goroutine") }, await)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if links != 4 || log.Count("panic: in a link") != 1 || log.Count("panic: in a goroutine") != 1 || log.Count("stack=") != 2 || log.Count(panics.Hint) != 2 {
			t.Errorf("%d links, want 4 and both panics in the log, with stacks and what to do", links)
		}
		if got := panics.Count(panics.Feed) - counted; got != 2 {
			t.Errorf("%d panics are counted", got)
		}
		if e := r.Stats().LastError; e != "panic: in a goroutine" {
			t.Errorf("last error = %q", e)
		}
	})
}

func await(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// The answers of sentinels and nodes may find a fault too. It costs that answer.
func TestPanicCostsAnAnswer(t *testing.T) {
	s := asking("127.0.0.1:1")
	if _, err := s.ask(t.Context(), []*goredis.Client{nil}); err == nil || !strings.Contains(err.Error(), "panic: ") {
		t.Errorf("sentinels: %v", err)
	}
	c := still(t)
	c.known = []string{"127.0.0.1:1"}
	c.upstream = &upstream{} // Without options to talk to a node.
	if _, err := c.ask(t.Context()); err == nil || !strings.Contains(err.Error(), "panic: ") {
		t.Errorf("nodes: %v", err)
	}
}
