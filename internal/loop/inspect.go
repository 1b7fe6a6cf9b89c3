// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"slices"

	"tickedge/internal/fanout"
)

// inspectMost is how many places for conns one turn looks at for an operator: some 0.2 ms.
const inspectMost = 2048

// Identity says which client a conn is of.
type Identity struct {
	Conn string // As in its hello and in the log.
	// Remote is the address of the client until the handshake is over. Then it is the far
	// end of the socket, behind a proxy the proxy's own: the client's is given up to save
	// memory, unless the log is at debug.
	Remote string
	User   string // Of its token, empty without one.
}

// ConnInfo is what the edge knows of a connection.
type ConnInfo struct {
	Identity
	Transport string // websocket, events, http; none while it is opened or closed.
	Loop      int
	fanout.ConnInfo
}

// Eviction is what was known of a connection when it was evicted.
type Eviction struct {
	Identity
	Loop int
	fanout.Eviction
}

func (c *conn) identity() Identity {
	identity := Identity{Conn: connName(c.name), Remote: c.remote()}
	if c.more != nil {
		identity.User = c.more.user
	}
	return identity
}

// remember keeps the identity of a conn that is evicted, in step with what the shard has
// just noted of it.
func (l *loop) remember(c *conn) {
	identity := c.identity()
	if len(l.evicted) < fanout.EvictionsKept {
		l.evicted = append(l.evicted, identity)
		return
	}
	l.evicted[l.evictedAt] = identity
	l.evictedAt = (l.evictedAt + 1) % fanout.EvictionsKept
}

// Evictions returns the last evictions of each loop, at most [fanout.EvictionsKept], the
// newest first. It waits for a turn of each loop; the error is that of ctx.
func (s *Server) Evictions(ctx context.Context) ([]Eviction, error) {
	var all []Eviction
	err := s.onLoops(ctx, func(l *loop) (more bool) {
		noted := l.shard.Evictions(nil)
		for i, e := range noted {
			// The rings turn together, so the oldest of both are at the same place.
			all = append(all, Eviction{l.evicted[(l.evictedAt+i)%len(l.evicted)], l.index, e})
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b Eviction) int { return b.At.Compare(a.At) })
	return all, nil
}

// Inspect returns the first n connections in the order of compare, which must not keep
// its arguments. It looks at all of them in pieces of less than a millisecond, so some
// may have come or gone meanwhile. The error is that of ctx.
func (s *Server) Inspect(ctx context.Context, n int, compare func(a, b *fanout.ConnInfo) int) ([]ConnInfo, error) {
	var first []ConnInfo
	var piece []fanout.ConnInfo
	next := make([]fanout.ConnID, len(s.loops))
	err := s.onLoops(ctx, func(l *loop) (more bool) {
		piece, next[l.index], more = l.shard.Infos(piece[:0], next[l.index], inspectMost)
		slices.SortFunc(piece, func(a, b fanout.ConnInfo) int { return compare(&a, &b) })
		for _, info := range piece[:min(n, len(piece))] {
			first = append(first, ConnInfo{l.conn(info.ID).identity(), l.conn(info.ID).transport(), l.index, info})
		}
		slices.SortStableFunc(first, func(a, b ConnInfo) int { return compare(&a.ConnInfo, &b.ConnInfo) })
		first = first[:min(n, len(first))]
		return more
	})
	if err != nil {
		return nil, err
	}
	return first, nil
}

// Turning waits for a turn of each loop, and returns the error of ctx if one takes none by then.
func (s *Server) Turning(ctx context.Context) error {
	return s.onLoops(ctx, func(*loop) (more bool) { return false })
}

// onLoops calls f on one loop after the other, on its goroutine, again as long as f wants
// more. Loops that never had a connection are left out. After an error f may still run,
// so what it writes to must not be looked at then.
func (s *Server) onLoops(ctx context.Context, f func(l *loop) (more bool)) error {
	for _, l := range s.loops {
		for more := l.events.Load() != nil; more; {
			answer := make(chan bool, 1)
			l.ask(func() {
				if ctx.Err() == nil {
					answer <- f(l)
				}
			})
			select {
			case more = <-answer:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
