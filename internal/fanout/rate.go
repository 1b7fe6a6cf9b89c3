// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"time"

	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// The rates that suit pages in browsers. A page that reloads, or that scrolls through
// lists of topics, stays far below them.
const (
	DefaultCommandRate    = 20  // Commands per second.
	DefaultCommandBurst   = 40  // Commands at once.
	DefaultSubscribeRate  = 50  // New topics per second.
	DefaultSubscribeBurst = 512 // New topics at once: twice the default of -max-topics.

	// RateMax and BurstMax bound what may be configured.
	RateMax  = 10_000
	BurstMax = 100_000

	// patience is how many bursts a client may go on for after it was told that it is
	// too fast. What is refused counts, so who waits is forgiven, at the rate.
	patience = 2
)

// Limits are those of the commands of one client, and of the topics that it subscribes anew, for all that serve clients.
func (cfg *Config) Limits() (commands, subscribes guard.Limit) {
	burst := cfg.SubscribeBurst
	if burst == 0 {
		burst = 2 * cfg.MaxTopics
	}
	return newLimit(cfg.CommandRate, cfg.CommandBurst, patience*cfg.CommandBurst), newLimit(cfg.SubscribeRate, burst, 0)
}

// newLimit returns the limit of a rate, of which 0 is none.
func newLimit(rate, burst, excess int) guard.Limit {
	if rate == 0 {
		return guard.Limit{}
	}
	return guard.NewLimit(guard.Rate{PerSecond: rate, Burst: burst}, excess)
}

// What commands are charged beside 1, in commands of the rate. An ordinary one, with a topic
// or two, takes 2 to 3 µs of a loop beside its system calls. docs/SECURITY.md has the costs
// of all of them, and the command that measures them.
const (
	// TopicsPerCharge topics that are named, known or not, are charged as a command is:
	// 0.1 to 1 µs each. So are those that list answers.
	TopicsPerCharge = 32
	// bytesPerCharge bytes are: 10 to 30 ns each to parse, most for many small values.
	bytesPerCharge = 2 << 10
	// partsPerCharge parts are: a fragment takes 0.1 µs, a read up to 20 if it has to wake
	// the loop.
	partsPerCharge = 4
	// authCharge is that of a token, which takes 3 µs to some ms to verify, by its algorithm.
	// Who renews does it once a minute or less.
	authCharge = 30
)

// reading is what a message is charged for having been read, beside 1.
func reading(size protocol.Size) int {
	return size.Bytes/bytesPerCharge + max(0, size.Parts-1)/partsPerCharge
}

// charge is what a command costs, in commands of the rate, and what it costs if it is
// refused: to have been read.
func (s *Shard) charge(c *conn, cmd *protocol.Command) (full, refused int) {
	refused = 1 + reading(cmd.Size)
	full = refused + len(cmd.Topics)/TopicsPerCharge
	switch cmd.Op {
	case protocol.OpList:
		full += int(c.topics.n) / TopicsPerCharge
	case protocol.OpAuth:
		full += authCharge
	case protocol.OpScreen:
		full += ScreenCharge
	}
	// Whoever has a full bucket may send anything: a page's first subscribe of as many
	// topics as a conn may have, whatever the burst is.
	return min(full, s.cfg.CommandBurst), min(refused, s.cfg.CommandBurst)
}

// newTopicsTurn is how many topics that the table did not hold one turn makes, at about
// 1 µs each, but for those that are known to exist: so 400 conns that name 256 each do not
// hold up everybody's frames. It is looked at when a command comes, which is then carried out
// whole. Names beyond it are rejected, as nothing is kept for later, but for the first
// newTopicsFew of a command: a client that wants little does not suffer from those that want much.
const (
	newTopicsTurn = 1024
	newTopicsFew  = 16
)

const (
	// malformedMax is how many malformed commands at once end a conn. A person who types
	// stays below it, a program that sends garbage does not.
	malformedMax = 16
	// forgiven is how long it takes until one of them does not count any more, so that a
	// program that makes a mistake now and then keeps its conn, however old that gets.
	forgiven = beat(10 * time.Second / SlotTime)
)

// mistake counts a malformed command of a conn, and reports whether it has made too many. It
// keeps when the last one will be forgiven (as a guard.Bucket does, whose rates are too fast
// for this), and only of conns that have made one: the others have no room for it.
func (s *Shard) mistake(id ConnID, c *conn) bool {
	pending := beat(0)
	if c.erred {
		// What is further away lies in the past.
		if left := s.mistakes[id] - s.now; left < malformedMax*forgiven {
			pending = left
		}
	}
	if pending += forgiven; pending > (malformedMax-1)*forgiven {
		return true
	}
	if s.mistakes == nil {
		s.mistakes = make(map[ConnID]beat)
	}
	c.erred = true
	s.mistakes[id] = s.now + pending
	return false
}
