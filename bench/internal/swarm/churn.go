// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"slices"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/wire"
)

// churnSources is how many times sourceConns is gone through by new conns of a churn. A
// port is not free for a minute after a FIN of ours.
const churnSources = 100

// Way is how a conn ends that is to be replaced.
type Way uint8

const (
	ByClose Way = iota // A close frame, whose answer is awaited (RFC 6455, 7.1.1).
	ByFIN              // The socket is closed without one.
	ByRST              // The socket is reset.

	Ways = iota // How many there are.
)

func (w Way) String() string { return [Ways]string{"close frame", "FIN", "RST"}[w] }

// churn ends the conns that are due to be replaced, by each way in turn, and lets as
// many others exchange a topic. Which ones is left to chance, so that there are young
// ones among them. connect opens the new ones.
func (s *Swarm) churn() {
	if s.phase != Holding {
		return
	}
	for float64(s.churned) < (s.now-s.began).Seconds()*s.cfg.Churn && len(s.vacant)+s.pending < pendingMax {
		way := Way(s.churned % Ways)
		s.churned++
		if i := s.rng.IntN(len(s.conns)); s.conns[i].state == open {
			s.leave(int32(i), way)
		}
		if i := s.rng.IntN(len(s.conns)); s.conns[i].state == open && s.conns[i].known&(acked|awaiting) == acked {
			s.command(int32(i), "unsubscribe", s.topics(i)[:1], unsubscribeID)
		}
	}
}

// exchange goes on with a conn that has given up its first topic.
func (s *Swarm) exchange(i int32) {
	ids := s.topics(int(i))
	id := uint32(s.rng.IntN(s.cfg.Universe))
	if !slices.Contains(ids, id) { // Or the same one again.
		ids[0] = id
	}
	s.last[int(i)*s.cfg.Topics] = 0
	s.command(i, "subscribe", ids[:1], resubscribeID)
}

// leave ends an open conn that is to be replaced, or begins to.
func (s *Swarm) leave(i int32, way Way) {
	c := &s.conns[i]
	switch way {
	case ByClose:
		s.sendFrame(i, wire.OpClose, normalClosure)
		if c.state == open { // Or it was lost.
			s.depart(c)
			c.state, c.since = leaving, s.ms()
		}
		return
	case ByRST:
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	s.left(i, way)
}

// left ends a conn that is to be replaced.
func (s *Swarm) left(i int32, way Way) {
	s.rep.Left[way]++
	s.end(i)
	s.vacant = append(s.vacant, i)
}

// unanswered ends a conn that was not sent a close frame in answer to its own.
func (s *Swarm) unanswered(i int32) {
	s.violate(i, CloseIgnored, nil)
	s.left(i, ByClose)
}

// renew makes a vacant conn one that was never open, with topics of its own.
func (s *Swarm) renew(i int32) {
	s.conns[i] = conn{}
	pick(s.topics(int(i)), s.cfg.Universe, s.rng)
	clear(s.last[int(i)*s.cfg.Topics : (int(i)+1)*s.cfg.Topics])
	s.renewed++
}
