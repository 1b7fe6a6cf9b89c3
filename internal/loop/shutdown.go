package loop

import (
	"context"
	"time"

	"tickedge/internal/fanout"
)

const (
	// portTime bounds the wait for all loops to stop accepting. It takes each a turn, and some
	// more where connections come all the time.
	portTime = 2 * time.Second
	// shutTries is how many turns a loop waits for a moment in which no connection is to be
	// accepted: a fifth of a second.
	shutTries = 40
	// engineTime bounds the end of the loops, after that of the conns.
	engineTime = 10 * time.Second
)

// shutting is how far a loop is with not accepting any more. Owned by the loop, but for done.
type shutting struct {
	shut  bool // It accepts nobody: who still comes, where the port can't be closed, is refused.
	tries int
	done  chan struct{} // Closed when it is shut.
}

// Shutdown stops accepting, tells every conn to come back, spread over the time given, and
// stops the loops. It returns early when ctx ends: all connections are closed then, told or
// not. Beside the time given it takes no longer than [Config.StopTime].
//
// Nobody is told before no loop accepts any more: a client comes back at once, and would
// find another loop of this server.
func (s *Server) Shutdown(ctx context.Context, over time.Duration) {
	stop, cancel := context.WithTimeout(context.Background(), over+s.cfg.StopTime())
	defer cancel()
	s.closePort(ctx, stop)
	for _, l := range s.loops {
		l.ask(func() { l.shard.Drain(over) })
	}
	// A visit comes at least once a second, so give the last ones that long.
	s.awaitEmpty(ctx, over+1500*time.Millisecond)
	for _, l := range s.loops {
		l.ask(func() { l.shard.EvictAll(fanout.Drain) })
	}
	s.awaitEmpty(ctx, s.cfg.Shard.CloseTimeout+time.Second)
	for _, l := range s.loops {
		l.stop(stop)
	}
	s.finished.Wait()
}

// StopTime is the most that [Server.Shutdown] takes beside the time of its drain.
func (c *Config) StopTime() time.Duration { return c.Shard.CloseTimeout + engineTime }

// closePort has all loops stop accepting, and waits until they have. A loop that never had a
// connection has nobody to tell, and is stopped.
func (s *Server) closePort(ctx, stop context.Context) {
	ctx, cancel := context.WithTimeout(ctx, portTime)
	defer cancel()
	for _, l := range s.loops {
		if l.events.Load() == nil {
			go l.stop(stop)
			continue
		}
		l.ask(l.shut)
	}
	for _, l := range s.loops {
		select {
		case <-l.shutting.done:
		case <-l.done:
		case <-ctx.Done():
		}
	}
}

// shut stops accepting, in a turn that finds no connection waiting for it: the kernel resets
// those that wait at a listener that is closed.
func (l *loop) shut() {
	switch s := &l.shutting; {
	case s.shut:
	case s.tries < shutTries && l.connectionWaits():
		s.tries++
		l.ask(l.shut)
	default:
		l.closeListener()
		s.shut = true
		close(s.done)
	}
}

// awaitEmpty waits until all connections are closed, for at most the time given.
func (s *Server) awaitEmpty(ctx context.Context, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for s.Conns() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}
