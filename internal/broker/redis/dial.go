// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

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
	return func(_ context.Context, network, addr string) (net.Conn, error) {
		return dialAs(ctx, o, cmp.Or(o.Addr, addr), network, addr)
	}
}

// dialAs dials an address of a server that is known by the host in name: what is dialled later may
// be the address without its name.
func dialAs(ctx context.Context, o *goredis.Options, name, network, addr string) (net.Conn, error) {
	deadline := time.Now().Add(o.DialTimeout)
	d := &net.Dialer{Deadline: deadline}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if o.TLSConfig != nil {
		if conn, err = handshake(ctx, conn, o.TLSConfig, name, deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return &tiedConn{Conn: conn, stop: stop}, nil
}

// handshake makes a connection one by TLS, or closes it.
func handshake(ctx context.Context, conn net.Conn, cfg *tls.Config, name string, deadline time.Time) (net.Conn, error) {
	if host, _, err := net.SplitHostPort(name); err == nil && cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &handshakeError{err}
	}
	return secure, nil
}

// handshakeError is the error of a connection that was there and did not become one by TLS.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// What a connection says that was closed before anything came.
var (
	errNoWord       = errors.New("it was closed before it said anything")
	errNoSecureWord = errors.New("it was closed behind the TLS handshake, before it said anything")
)

// noWord adds to the error of a connection on which nothing has come yet that this is so.
func noWord(conn net.Conn, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	if tied, is := conn.(*tiedConn); is {
		if _, secure := tied.Conn.(*tls.Conn); secure {
			return fmt.Errorf("%w: %w", errNoSecureWord, err)
		}
	}
	return fmt.Errorf("%w: %w", errNoWord, err)
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
	heard    bool   // Something has come.
	said     string // What came first, if it says why the connection is closed.
	err      error  // Why it has failed.
}

// farewell is the error of a connection that was closed behind a reply that says why. go-redis takes
// that for the answer to its HELLO, which may fail, and goes on.
type farewell struct {
	said string
	err  error
}

func (f *farewell) Error() string { return f.said + ": " + f.err.Error() }
func (f *farewell) Unwrap() error { return f.err }

// because adds to the error of a connection what it said before.
func (f *filter) because(err error) error {
	if err == nil || f.said == "" {
		return err
	}
	return &farewell{f.said, err}
}

func (f *filter) Write(b []byte) (int, error) {
	n, err := f.Conn.Write(b)
	return n, f.because(err)
}

// farewellOf is what a server says that takes no more clients, or not this one, before anything
// was asked of it.
func farewellOf(first []byte) string {
	for _, begins := range []string{"-ERR max number of clients", "-DENIED "} {
		if bytes.HasPrefix(first, []byte(begins)) {
			line, _, _ := bytes.Cut(first[:min(len(first), 100)], []byte("\r\n"))
			return string(line[1:])
		}
	}
	return ""
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
	switch {
	case n > 0 && !f.heard:
		f.heard, f.said = true, farewellOf(b[:n])
	case n == 0 && !f.heard:
		err = noWord(f.Conn, err)
	default:
		err = f.because(err)
	}
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
