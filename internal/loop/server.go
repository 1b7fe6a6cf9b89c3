// SPDX-License-Identifier: Apache-2.0

// Package loop owns the sockets. It runs the event loops, admits connections, and
// moves bytes between them, package wsproto and package fanout. No other package
// knows gnet.
//
//	server.go        Server: start, drain, stop; what the loops share
//	shutdown.go      how all loops stop accepting, before anybody is told to go
//	engine.go        one gnet engine: its start and end, and what calls for turns
//	accept.go        what follows from an accept that fails
//	listen*.go       where to listen, socket options, and how a loop stops accepting
//	loop.go          one loop: its turns, and gnet's events of connections
//	conn.go          one connection: its stages, what is written to it, and its end
//	door.go          which connections may come in: PROXY header, limits by prefix
//	http.go          requests, and the routes that answer them; pages and refusals
//	health.go        health checks of platforms that know one port only
//	websocket.go     the route of the WebSocket
//	sse.go           the route of server-sent events
//	keepalive.go     connections of plain HTTP, which go on behind an answer
//	plain.go         what plain HTTP asks for; prices.go and names.go answer it
//	echo.go          a server that sends back what it gets, for conformance suites
//	frames.go        what comes on a WebSocket: messages, commands, control frames
//	share.go         what another door of the edge shares with this one
//	session.go       what tokens say, when they end, and how many connections a user has
//	revoked.go       the end of those whose tokens were revoked
//	send_*.go        one write to a socket
//	files_*.go       the limit of open files
//	settings.go      what may change while the loops run
//	validate.go      what an operator may set
//	stats.go         what the loops count
//	turned.go        what the log says of clients that were turned away
//	inspect.go       connections and evictions, for operators
//
// There is one gnet engine per loop, each with a listener of its own on the same
// port (SO_REUSEPORT), so that accepting is serial per loop and the handler is the
// loop's state. A loop's goroutine is the only one that touches what the loop owns;
// the others leave word in an atomic and let a turn of the loop see it.
package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
	"tickedge/internal/wsproto"
)

// RefuseRoom is how many connections above the maximum are held for as long as it
// takes to read their request and refuse it. Those above it are closed
// at once.
const RefuseRoom = 64

// Config says how a [Server] works.
type Config struct {
	Listen   string // host:port, see listenOn; port 0 takes a free one.
	Loops    int    // Event loops; off Linux always 1.
	MaxConns int    // Connections held at a time, over all loops.
	Backlog  int64  // Bytes that sockets have not taken, over all loops; 0 is no limit.

	// Paths are those of the WebSocket, in their clean form (see httphead.ParsePath); none is
	// /ws alone.
	Paths []string
	Pages map[string]*httphead.Page // By path.

	// HealthPath is where platforms ask whether the edge is well, in its clean form; empty is
	// nowhere. Ready is the answer, which is kept up to date from outside: a loop does not wait to
	// find it out.
	HealthPath string
	Ready      *atomic.Bool

	MaxHead int // KiB of a request head; 0 is 8.

	// What a 503 advises is spread over this time, in whole seconds from 1 on: those who are
	// refused together do not come back together.
	RetrySpread time.Duration

	Guard         guard.Config   // How much one client may have.
	Trusted       guard.Trusted  // The proxies whose X-Forwarded-For is believed.
	ProxyProtocol bool           // Every connection begins with a PROXY header.
	Origins       *auth.Origins  // The web pages that may connect; nil is those of the request's host.
	Verifier      *auth.Verifier // Of the tokens that everybody needs; nil if nobody does.
	MaxSessions   int            // Connections of one user, of which the newest stay; 0 is no limit.
	Existing      *auth.Patterns // The topics that exist, whoever asks for them; nil is all.
	Private       *auth.Private  // The names that are private; nil is none. The verifier has to know the same.

	// Of plain HTTP: how long a connection may be without a request, how long a value that the edge
	// does not hold is awaited, the requests of one client, and whether names are listed. Times of
	// 0 are the defaults, and nil is no limit.
	KeepAlive  time.Duration
	FetchWait  time.Duration
	Requests   *guard.PrefixLimit
	ListTopics bool
	// SourceNames returns names that are listed beside those that are held, in any order and not to be
	// changed, and whether the source has no more. It is called once a second at most, and only if
	// somebody asks; it waits for nothing. Nil lists those that are held.
	SourceNames func() (names []string, all bool)

	// Traced is called with the traces of rows (see [topics.Row]) that a loop has sent in updates by a time, each once by each
	// loop or a little more often. It must not wait, nor keep the slice. Nil if no row is traced.
	Traced func(traces []uint16, by time.Time)

	Shard fanout.Config
	Log   *slog.Logger

	// Those of the edge, if nothing is set.
	limits limits
	routes routes
	answer func(l *loop, c *conn, msg wsproto.Event, out []byte) ([]byte, fanout.Reason) // To a message.

	onCommand func(*protocol.Command) // For tests: called before a command is carried out.
}

// Server holds the loops. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	settings atomic.Pointer[settings] // The newest.
	table    *topics.Table
	loops    []*loop

	guard       *guard.Guard
	sessions    *sessions
	wrongTokens *guard.PrefixLimit // Nil if nobody needs a token.
	turned      turnedLog

	notFound *httphead.Refusal
	names    nameList

	conns    atomic.Int64 // Admitted ones, of all loops.
	refusing atomic.Int64 // Those that are held to be refused.

	acceptFailures atomic.Uint64
	failing        atomic.Int32 // Loops that can't accept.

	conflated struct {
		sync.Mutex
		most uint64 // Reported so far.
	}

	fail     chan error // The first engine that ended unasked.
	finished sync.WaitGroup
}

// Start runs the loops and returns when all of them accept connections. The server
// goes on until [Server.Shutdown], which must be called, also after an error from
// [Server.Failed].
func Start(cfg Config, table *topics.Table) (*Server, error) {
	if runtime.GOOS != "linux" {
		cfg.Loops = 1 // SO_REUSEPORT does not spread connections there.
	}
	if cfg.Loops < 1 || cfg.MaxConns < 1 {
		return nil, errors.New("loop: Config.Loops and Config.MaxConns must be above 0")
	}
	if cfg.limits == (limits{}) {
		cfg.limits = edgeLimits(cfg.Shard.MaxTopics)
	}
	if len(cfg.Paths) == 0 {
		cfg.Paths = []string{DefaultPath}
	}
	if cfg.MaxHead == 0 {
		cfg.MaxHead = MaxHeadMin
	}
	cfg.KeepAlive, cfg.FetchWait = cmp.Or(cfg.KeepAlive, DefaultKeepAlive), cmp.Or(cfg.FetchWait, DefaultFetchWait)
	if cfg.Ready == nil {
		cfg.Ready = new(atomic.Bool)
	}
	if cfg.routes == nil {
		cfg.routes, cfg.answer = edgeRoutes(&cfg), (*loop).command
	}
	if cfg.Origins == nil {
		cfg.Origins, _ = auth.ParseOrigins("") // There is nothing wrong with this.
	}
	s := &Server{
		cfg: cfg, table: table, fail: make(chan error, cfg.Loops),
		guard: guard.New(cfg.Guard, time.Now()), sessions: newSessions(cfg.MaxSessions), turned: turnedLog{log: cfg.Log},
		notFound: &httphead.Refusal{Status: 404, Reason: "not found: the WebSocket is at " + cfg.Paths[0] + ", events are at " + EventsPath + ", values at " + PricesPath},
	}
	if cfg.Verifier != nil {
		s.wrongTokens = guard.NewPrefixLimit(auth.WrongTokens, time.Now())
	}
	network, host, port, err := listenOn(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("loop: listen on %s: %w", cfg.Listen, err)
	}
	shared := isShared(network, host, port)
	if cfg.Backlog <= 0 {
		cfg.Backlog = math.MaxInt64
	}
	s.cfg.Backlog, s.cfg.Shard.Backlogs = cfg.Backlog, fanout.NewBacklogs(cfg.Backlog)
	s.settings.Store(s.cfg.settings())
	for i := range cfg.Loops {
		l := newLoop(s, i)
		if err := l.start(l, network+"://"+net.JoinHostPort(host, port)); err != nil {
			s.Shutdown(context.Background(), 0)
			return nil, fmt.Errorf("loop: listen on %s: %w", cfg.Listen, err)
		}
		s.loops = append(s.loops, l)
		if i == 0 {
			// Port 0 was chosen now; the other loops share it.
			_, port, _ = net.SplitHostPort(l.addr.String())
		}
	}
	if shared {
		cfg.Log.Info("another process listens on this port too: clients are spread over both (SO_REUSEPORT)", "addr", s.Addr().String(),
			"hint", "if that is not meant, end one of them, or give it another port: ss -ltnp lists them")
	}
	if families := s.Families(); host == "" && families != bothIPs {
		cfg.Log.Warn("clients of one IP family only can connect", "listen", cfg.Listen, "family", families,
			"hint", "IPv6 is off, or not permitted to this process, or net.ipv6.bindv6only is set; name an address, such as 0.0.0.0, to have it so")
	}
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.loops[0].addr }

// Families says of which IP families its clients can be.
func (s *Server) Families() string { return s.loops[0].families }

// Failed has an element when a loop has ended unasked, because epoll failed for instance.
// A failed accept does not end a loop. The conns of that loop are lost then, and new ones
// may still be sent to it by the kernel, so the process should end.
func (s *Server) Failed() <-chan error { return s.fail }

// Conns is how many connections are open now, those that are being refused included.
func (s *Server) Conns() int { return int(s.conns.Load() + s.refusing.Load()) }

// Shutdown stops accepting, tells every conn to come back, spread over the time given, and
// stops the loops. It returns early when ctx ends: all connections are closed then, told or
// not. Beside the time given it takes no longer than [Config.StopTime].
//
// Nobody is told before no loop accepts any more: a client comes back at once, and would
// find another loop of this server.
func (s *Server) Shutdown(ctx context.Context, over time.Duration) {
	stop, cancel := context.WithTimeout(context.Background(), over+s.cfg.StopTime())
	defer cancel()
	s.closePort(ctx, stop)
	for _, l := range s.loops {
		l.ask(func() { l.shard.Drain(over) })
	}
	// A visit comes at least once a second, so give the last ones that long.
	s.awaitEmpty(ctx, over+1500*time.Millisecond)
	for _, l := range s.loops {
		l.ask(func() { l.shard.EvictAll(fanout.Drain) })
	}
	s.awaitEmpty(ctx, s.cfg.Shard.CloseTimeout+time.Second)
	for _, l := range s.loops {
		l.stop(stop)
	}
	s.names.end() // Another door may ask for names until its own end.
	s.finished.Wait()
	s.turned.end()
}

// awaitEmpty waits until all connections are closed, for at most the time given.
func (s *Server) awaitEmpty(ctx context.Context, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for s.Conns() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// admission says what becomes of a new connection.
type admission uint8

const (
	admitted admission = iota
	refused            // Its request is read and refused.
	dropped            // There is no room even for that.
)

// admit counts one connection in, of which there may be so many, unless it is dropped. As accepting is serial per
// loop, at most one more per loop is open while this decides. A shut loop lets nobody in.
func (s *Server) admit(most int, shut bool) admission {
	if !shut {
		if s.conns.Add(1) <= int64(most) {
			return admitted
		}
		s.conns.Add(-1)
	}
	if s.refusing.Add(1) <= RefuseRoom {
		return refused
	}
	s.refusing.Add(-1)
	return dropped
}

// demote makes an admitted connection one that is refused, so that it takes no room from
// others. It reports false, and changes nothing, if there is no room for that.
func (s *Server) demote() bool {
	if s.refusing.Add(1) > RefuseRoom {
		s.refusing.Add(-1)
		return false
	}
	s.conns.Add(-1)
	return true
}

// dismiss counts a connection out that was not dropped.
func (s *Server) dismiss(wasRefused bool) {
	if wasRefused {
		s.refusing.Add(-1)
	} else {
		s.conns.Add(-1)
	}
}
