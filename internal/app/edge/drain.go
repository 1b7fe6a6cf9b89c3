// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"time"

	"tickedge/internal/app"
	"tickedge/internal/fanout"
)

const (
	// stopTime is what an edge may need to end beside -drain-delay and -drain: 12 s for its
	// connections and loops (loop.Config.StopTime), and 3 s for the admin port, the feed and the
	// log. What supervises it has to wait for that long before it kills.
	stopTime = 15 * time.Second
	// progressLines is how many lines the log has of a long drain. Of a short one it has one each
	// second.
	progressLines = 10
)

// leave sends the clients away, and ends the server. First, for -drain-delay, nothing changes
// but that the edge is not ready: a balancer that asks has sent its new clients elsewhere by the
// time that the port is closed.
func (e *edge) leave() (code int) {
	now := e.running()
	begin, delay, over := time.Now(), now.drainDelay, now.drain
	e.draining.Store(true)
	e.log.Info("stopping: not ready any more; a second signal stops at once", "drain_delay", delay, "drain", over, "connections", e.server.Conns())
	select {
	case <-time.After(delay):
	case err := <-e.server.Failed():
		return e.failed(err)
	}
	ended, at, from := make(chan struct{}), time.Now(), e.server.Conns()
	e.drainFrom.Store(int64(from))
	if from > 0 {
		e.log.Info("the client port is closed and clients are sent away", "drain", over, "connections", from)
	}
	go func() {
		defer close(ended)
		e.shutdown(over)
	}()
	progress := time.NewTicker(max(time.Second, over/progressLines))
	defer progress.Stop()
	for {
		select {
		case <-progress.C:
			e.log.Info("draining", "connections", e.server.Conns(), "of", from, "for", time.Since(at).Round(time.Second), "drain", over)
		case <-ended:
			e.log.Info("stopped", "sent_away", e.server.Stats().Evicted[fanout.Drain], "took", time.Since(begin).Round(time.Millisecond))
			return app.OK
		}
	}
}
