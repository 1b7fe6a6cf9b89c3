package redis

import (
	"context"
	"net"

	"tickedge/internal/resp"
)

// filter is a connection from which go-redis reads. go-redis allocates whatever length is
// claimed, and goes as deep into arrays as they are, so it gets to see only what a
// [resp.Follower] lets pass. Behind that the connection has failed.
type filter struct {
	net.Conn
	follower resp.Follower
	err      error // Why it has failed.
}

// filtered puts a filter under what dial connects, with a follower like the one that is
// given.
func filtered(dial dialFunc, follower resp.Follower) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &filter{Conn: conn, follower: follower}, nil
	}
}

// Read is called by one goroutine at a time, as with any connection of go-redis.
func (f *filter) Read(b []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.Conn.Read(b)
	n, f.err = f.follower.Follow(b[:n])
	if f.err == nil {
		return n, err
	}
	f.Close()
	if n > 0 {
		return n, nil
	}
	return 0, f.err
}
