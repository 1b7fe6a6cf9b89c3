// SPDX-License-Identifier: Apache-2.0

package fanout

import "fmt"

// Adjusted is c with what may change of it while there are conns, as cfg has that: the times of those that are slow, idle or old, how
// many topics they may have, and the rates.
func (c Config) Adjusted(cfg Config) Config {
	c.SlowTimeout, c.SlowRate, c.IdleTimeout, c.MaxAge = cfg.SlowTimeout, cfg.SlowRate, cfg.IdleTimeout, cfg.MaxAge
	c.MaxTopics, c.MaxValueless = cfg.MaxTopics, cfg.MaxValueless
	c.CommandRate, c.CommandBurst = cfg.CommandRate, cfg.CommandBurst
	c.SubscribeRate, c.SubscribeBurst = cfg.SubscribeRate, cfg.SubscribeBurst
	c.NewTopics, c.Snapshots = cfg.NewTopics, cfg.Snapshots
	return c
}

// Adjust has a shard go by [Config.Adjusted] of cfg, which is valid. Conns keep what they have; what they do next is held to the new
// limits.
func (s *Shard) Adjust(cfg Config) {
	commands, subscribes, longest := s.commands, s.subscribes, s.readLongest()
	s.cfg = s.cfg.Adjusted(cfg)
	s.follow()
	fresh, others := commands != s.commands, subscribes != s.subscribes
	if !fresh && !others && longest == s.readLongest() {
		return
	}
	at := s.clock.Sub(s.start)
	for i := range s.asides {
		for j := range s.asides[i] {
			a := &s.asides[i][j]
			if fresh { // The clock of another rate runs at another pace.
				a.commands = s.commands.Full(at)
			}
			if others {
				a.subscribes = s.subscribes.Full(at)
			}
			if left := a.readBy - s.now; left <= longest { // Else it was over before now.
				a.readBy = s.now + min(left, s.readLongest())
			}
		}
	}
}

// readLongest is the most that a client may need to read what was written to it.
func (s *Shard) readLongest() beat { return beat(readMax * second / uint64(s.cfg.SlowRate)) }

// follow sets what follows from what may change of the configuration.
func (s *Shard) follow() {
	cfg := &s.cfg
	s.Snapshots = cfg.Snapshots
	s.times.slow, s.times.climb = beats(cfg.SlowTimeout), max(1, beats(cfg.SlowTimeout)/4)
	s.times.idle, s.times.age = beats(cfg.IdleTimeout), 0
	if cfg.MaxAge > 0 {
		s.times.age = beats(cfg.MaxAge)
	}
	s.commands, s.subscribes = cfg.Limits()
	s.tooManyCommands = fmt.Sprintf("too many commands: at most %d per second, where auth and long lists count as several", cfg.CommandRate)
	s.tooManySubscribes = fmt.Sprintf("too many new topics: at most %d per second", cfg.SubscribeRate)
	s.tooManyTopics = fmt.Sprintf("at most %d topics per connection", cfg.MaxTopics)
	s.tooManyValueless = fmt.Sprintf("you have %d topics without a value: unsubscribe some before you ask for one that the edge has no value of", cfg.MaxValueless)
}
