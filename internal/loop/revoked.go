// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
)

// revokedMost is how many places for conns one turn looks at: some 0.5 ms where a million tokens are revoked.
const revokedMost = 512

// EndRevoked ends the connections whose tokens were revoked, and returns how many. It is to be called when a list has changed:
// who comes meanwhile is looked at by that list already. Requests that await something are answered with 401; other connections
// of plain HTTP are at their next request. The error is that of ctx; some may have been ended then.
func (s *Server) EndRevoked(ctx context.Context) (ended int, err error) {
	revoked := s.cfg.Verifier.Revocations()
	if revoked == nil {
		return 0, nil
	}
	next := make([]fanout.ConnID, len(s.loops))
	err = s.onLoops(ctx, func(l *loop) (more bool) {
		n, more := l.endRevoked(revoked, &next[l.index])
		ended += n
		return more
	})
	if err != nil {
		return 0, err // What it counted may still be written to.
	}
	return ended, nil
}

// endRevoked looks at the conns from next on, as many as one turn may.
func (l *loop) endRevoked(revoked *auth.Revocations, next *fanout.ConnID) (ended int, more bool) {
	all := fanout.ConnID(len(l.slabs) << slabBits)
	for end := min(*next+revokedMost, all); *next < end; *next++ {
		if !l.conn(*next).isRevoked(revoked) {
			continue
		}
		if ended == endMost {
			return ended, true
		}
		l.shard.Evict(*next, fanout.Revoked)
		ended++
	}
	return ended, *next < all
}

func (c *conn) isRevoked(revoked *auth.Revocations) bool {
	if c.gc == nil || c.more == nil {
		return false
	}
	switch more := c.more; {
	case c.stage == talking || c.stage == streaming:
		return more.user != "" && revoked.Has(more.user, more.tokenID, more.issued)
	case c.stage == asking && more.ask != nil:
		return more.ask.user != "" && revoked.Has(more.ask.user, more.ask.tokenID, more.ask.issued)
	}
	return false
}
