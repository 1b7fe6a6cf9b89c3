package redis

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tickedge/internal/resp"
)

// poolSize is far above the one connection that a client uses. It is also the number
// of failed dials after which go-redis starts to dial from a goroutine of its own,
// which Close does not wait for.
const poolSize = 1000

// tune sets what holds for every connection, whatever the URL says.
func tune(o *goredis.Options, c Config) {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = c.Timeout, c.Timeout, c.Timeout
	o.ContextTimeoutEnabled = true
	// Retries are ours: every one has to know whether its work is still wanted.
	o.MaxRetries, o.DialerRetries = -1, 1
	// RESP2 and nothing else: whatever is asked of the server beyond the commands of
	// the feed is one thing more that an old server or a proxy may refuse.
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PoolSize, o.PipelinePoolSize, o.MinIdleConns = poolSize, -1, 0
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer returns a dialer for o for whatever go-redis reads from. The connections close
// when ctx ends. That is what ends a read or write in progress: go-redis looks at a context
// before and after those, not during them.
func dialer(ctx context.Context, o *goredis.Options) dialFunc {
	return filtered(bareDialer(ctx, o), resp.Follower{})
}

// bareDialer is dialer for whoever reads with care himself.
func bareDialer(ctx context.Context, o *goredis.Options) dialFunc {
	d := &net.Dialer{Timeout: o.DialTimeout}
	dial := d.DialContext
	if o.TLSConfig != nil {
		cfg := o.TLSConfig
		if host, _, err := net.SplitHostPort(o.Addr); err == nil && cfg.ServerName == "" {
			cfg = cfg.Clone() // What is dialled later may be the address without its name.
			cfg.ServerName = host
		}
		dial = (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext
	}
	return func(_ context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		return &tiedConn{Conn: conn, stop: stop}, nil
	}
}

// sticky returns a dialer that dials for ever what it has dialled first: a name may stand
// for several servers, and positions of one mean nothing to another.
func sticky(dial dialFunc) dialFunc {
	var mu sync.Mutex
	var to net.Addr
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if to != nil {
			network, addr = to.Network(), to.String()
		}
		conn, err := dial(ctx, network, addr)
		if err == nil {
			to = conn.RemoteAddr()
		}
		return conn, err
	}
}

// execute runs a pipeline. Each command has its own error then. go-redis gives them none if Redis
// has refused the connection itself, for its password for instance: they would seem to have
// found nothing.
func execute(ctx context.Context, pipe goredis.Pipeliner) {
	cmds, err := pipe.Exec(ctx)
	if err == nil || slices.ContainsFunc(cmds, func(c goredis.Cmder) bool { return c.Err() != nil }) {
		return
	}
	for _, c := range cmds {
		c.SetErr(err)
	}
}

// tiedConn is a connection that a context closes.
type tiedConn struct {
	net.Conn
	stop func() bool
}

func (c *tiedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

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
