// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// group is the symbols that share a connection, and keeps it: one that ended is followed by another, and
// one whose life is over is replaced by another that has begun before it ends.
type group struct {
	in       *inlet
	trackers []*tracker
	of       map[string]*tracker // By the exchange's names.
}

func (g *group) run(ctx context.Context) {
	wait := backoff{min: g.in.c.BackoffMin, max: g.in.c.BackoffMax}
	for ctx.Err() == nil {
		s, err := g.open(ctx)
		if err == nil {
			for _, t := range g.trackers {
				t.back(micros())
			}
			s.live.Store(micros() + settling.Microseconds())
			s, err = g.keep(ctx, s)
			if time.Since(s.began) > g.in.c.BackoffMax {
				wait.reset()
			}
			for _, t := range g.trackers {
				t.lost(s.last.Load())
			}
		}
		if ctx.Err() != nil {
			return
		}
		var fatal errFatal
		switch {
		case errors.As(err, &fatal):
			g.in.failed("an exchange can't be used", err)
			g.in.fatal(err)
			return
		case errors.Is(err, errOver):
			wait.reset()
			continue
		}
		if n := g.in.attempts; n > 0 && g.in.connections.Load() == 0 && g.in.tried.Add(1) >= n {
			g.in.failed("an exchange can't be reached", err)
			g.in.fatal(err)
			return
		}
		after := max(wait.next(), g.in.banWait())
		g.in.failed("a connection to an exchange ended", err, "again_in", after.Round(time.Millisecond))
		sleep(ctx, after)
	}
}

// errOver is that a connection's life is over, and it has no successor.
var errOver = errors.New("the connection was as old as it gets")

// keep waits until a connection ends, replacing it in time. It returns the last one, and why that ended.
func (g *group) keep(ctx context.Context, s *session) (*session, error) {
	g.in.connected.Add(1)
	defer g.in.connected.Add(-1)
	due := g.life()
	for {
		if over := s.wait(ctx, due); !over {
			s.close()
			return s, s.err
		}
		if g.in.vendor.single {
			s.close()
			return s, errOver
		}
		g.in.log.Info("a connection is replaced before the exchange ends it")
		next, err := g.open(ctx)
		if err != nil {
			if ctx.Err() == nil {
				g.in.failed("a connection to an exchange was not replaced", err)
			}
			due = g.in.c.BackoffMax
			continue
		}
		select {
		case <-s.done: // Perhaps before the next one was subscribed.
			for _, t := range g.trackers {
				t.back(micros())
			}
		default:
			s.wait(ctx, g.in.c.Overlap)
		}
		s.close()
		s, due = next, g.life()
		s.live.Store(micros() + settling.Microseconds())
	}
}

// life is when a connection is to be replaced: somewhat before the exchange ends it, and not all at once.
func (g *group) life() time.Duration {
	if g.in.c.Life == 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return g.in.c.Life - rand.N(g.in.c.Life/20+1)
}
