// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"time"
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
