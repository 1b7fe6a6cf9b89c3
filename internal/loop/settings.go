// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"math"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// settings are what of a [Config] may change while a server runs. They do not change themselves: each loop goes by
// those that it has taken.
type settings struct {
	maxConns    int
	maxSessions int
	backlog     int64
	retrySpread time.Duration
	origins     *auth.Origins
	existing    *auth.Patterns
	verifier    *auth.Verifier
	requests    *guard.PrefixLimit
	shard       fanout.Config
}

// settings are those of a config that has its defaults.
func (c *Config) settings() *settings {
	return &settings{
		maxConns: c.MaxConns, maxSessions: c.MaxSessions, backlog: c.Backlog, retrySpread: c.RetrySpread,
		origins: c.Origins, existing: c.Existing, verifier: c.Verifier, requests: c.Requests, shard: c.Shard,
	}
}

// Adjust takes from cfg, which is valid, what may change while the server runs: the numbers of connections, sessions and
// bytes of backlog, RetrySpread, the limits of the guard, the origins, the topics that exist, the requests of one client, what
// [fanout.Shard.Adjust] takes, and another verifier if there was one. The rest of cfg is not looked at. Connections that are
// there keep what they have. It waits until all loops go by it; if ctx ends before that, they will in their next turn.
func (s *Server) Adjust(ctx context.Context, cfg Config) error {
	if cfg.Backlog <= 0 {
		cfg.Backlog = math.MaxInt64
	}
	if (cfg.Verifier == nil) != (s.cfg.Verifier == nil) {
		cfg.Verifier = s.settings.Load().verifier
	}
	if cfg.Origins == nil {
		cfg.Origins = s.settings.Load().origins
	}
	s.guard.Adjust(cfg.Guard)
	s.sessions.adjust(cfg.MaxSessions)
	s.cfg.Shard.Backlogs.Adjust(cfg.Backlog)
	s.settings.Store(cfg.settings())
	for _, l := range s.loops {
		if l.events.Load() != nil { // Else it does so with its first connection.
			l.ask(l.adjust)
		}
	}
	return s.Turning(ctx)
}

// adjust has a loop go by the newest settings.
func (l *loop) adjust() {
	newest := l.server.settings.Load()
	if l.set == newest {
		return
	}
	if most := newest.shard.MaxTopics; most > l.topicsMost {
		// Clients that are here may still send as long commands as they were told that they may: these limits only grow.
		l.topicsMost, l.parser = most, protocol.NewParser(most)
		l.limits.Message = max(l.limits.Message, protocol.MessageMax(most))
	}
	l.set = newest
	l.shard.Adjust(newest.shard)
}
