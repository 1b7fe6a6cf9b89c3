// SPDX-License-Identifier: Apache-2.0

// Package rpc is the door of the edge for programs that speak gRPC: the service of
// proto/tickedge/prices/v1, health and reflection, on a port of its own. docs/GRPC.md is what its
// clients know.
//
//	server.go    Server: start, drain, counters
//	listen.go    the port: how many connections, TLS
//	settings.go  what may change while it is served
//	caller.go    who calls
//	admit.go     which topics a caller may have
//	stream.go    one stream: its goroutines, its times and its commands
//	cursor.go    what a stream lacks
//	requests.go  GetPrices and ListTopics
//	status.go    reasons as codes
//
// Nothing here is called by a loop or by the feed: streams come by and read the topic table, as loops
// do. Whoever calls a method is a peer that is not trusted.
package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
	"tickedge/internal/fanout"
	"tickedge/internal/guard"
	"tickedge/internal/panics"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

// Share is what this door shares with that of the loops. Its methods may be called from any goroutine
// and wait for nothing.
type Share interface {
	// Enter asks for room for one more connection or stream of a prefix, until Leave.
	Enter(prefix guard.Prefix, now time.Time) guard.Verdict
	Leave(prefix guard.Prefix)
	// EnterUser counts a stream in as a connection of its user. If a newer one has to take its
	// place, end is called, once; never after leave.
	EnterUser(user string, end func()) (leave func())
	// ListNames returns one page of names that a caller may have. It is false while there is no list yet.
	ListNames(prefix, after string, most int, allowed auth.Grant) (names []string, next string, truncated, ok bool)
}

// Config says how a [Server] works.
type Config struct {
	Listen     string // host:port; empty for no server.
	TLSCert    string // With TLSKey: the port has TLS.
	TLSKey     string
	ClientCA   string // Clients show a certificate of these authorities, or a token where tokens are asked for. It needs TLSCert.
	MaxConns   int    // Connections at a time.
	MaxStreams int    // Streams and requests of a connection at a time.

	Table      *topics.Table
	Limits     fanout.Config // The times and limits of the client port.
	Share      Share
	Trusted    guard.Trusted
	Verifier   *auth.Verifier     // Nil if nobody needs a token.
	Existing   *auth.Patterns     // The topics that exist, whoever asks for them.
	Private    *auth.Private      // The names that are private.
	Requests   *guard.PrefixLimit // Requests that are answered once.
	FetchWait  time.Duration
	ListTopics bool
	Log        *slog.Logger

	// Register, if it is not nil, adds methods that are not of this package. Calls that last end when draining is closed.
	Register func(r grpc.ServiceRegistrar, draining <-chan struct{})
}

// Server serves streams. Its methods may be called from any goroutine.
type Server struct {
	pricesv1.UnimplementedPricesServer
	cfg         Config
	set         atomic.Pointer[settings]   // The newest.
	secure      atomic.Pointer[tls.Config] // The same; nil without TLS.
	start       time.Time
	wrongTokens *guard.PrefixLimit

	door      *door
	rpc       *grpc.Server
	health    *health.Server
	draining  chan struct{} // Closed when the edge goes down.
	drainOver time.Duration // Set before that.
	finished  chan struct{} // Closed when nothing is served any more.

	counts struct {
		streams atomic.Int64
		updates atomic.Uint64
		ended   [codesMax]atomic.Uint64
		tokens  [auth.Reasons]atomic.Uint64
	}
}

// codesMax is more than the highest code of gRPC.
const codesMax = 17

// keepaliveMin is how often a client may ping a connection. Who pings more often is sent away.
const keepaliveMin = 5 * time.Second

// headerMax bounds the metadata of a call: a token has 8 KiB at most.
const headerMax = 16 << 10

// Start opens the port and serves it until [Server.Shutdown], which must be called.
func Start(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, start: time.Now(), draining: make(chan struct{}), finished: make(chan struct{}), health: health.NewServer()}
	l := &cfg.Limits
	s.wrongTokens = guard.NewPrefixLimit(auth.WrongTokens, s.start)
	s.set.Store(cfg.settings())
	secure, err := cfg.loadTLS()
	if err != nil {
		return nil, err
	}
	s.secure.Store(secure)
	if s.door, err = s.listen(); err != nil {
		return nil, err
	}
	s.rpc = grpc.NewServer(
		grpc.Creds(s.credentials()),
		grpc.MaxConcurrentStreams(uint32(cfg.MaxStreams)),
		grpc.MaxRecvMsgSize(protocol.MessageMax(l.MaxTopics)),
		grpc.MaxHeaderListSize(headerMax),
		grpc.ConnectionTimeout(l.HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: l.IdleTimeout, Time: l.PingInterval, Timeout: l.PongTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.keepUnary), grpc.StreamInterceptor(s.keepStream),
	)
	pricesv1.RegisterPricesServer(s.rpc, s)
	healthv1.RegisterHealthServer(s.rpc, s.health)
	if cfg.Register != nil {
		cfg.Register(s.rpc, s.draining)
	}
	reflection.Register(s.rpc)
	s.SetReady(false)
	go func() {
		defer close(s.finished)
		if err := s.rpc.Serve(s.door); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			cfg.Log.Error("the port for gRPC serves nobody any more", "error", err)
		}
	}()
	return s, nil
}

// Quiet has grpc say nothing on standard error. What peers do is counted here, and what fails is returned.
func Quiet() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) }

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.door.Addr() }

// SetReady says what the health service answers: for the whole server, and for its service.
func (s *Server) SetReady(ready bool) {
	answer := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		answer = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", answer)
	s.health.SetServingStatus(pricesv1.Prices_ServiceDesc.ServiceName, answer)
}

// Shutdown takes no more connections and streams, ends the streams spread over the time given, and
// returns when all have ended, or when ctx has: then what is left is cut off. It is called once.
func (s *Server) Shutdown(ctx context.Context, over time.Duration) {
	s.health.Shutdown()
	s.drainOver = over
	close(s.draining)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.rpc.GracefulStop() // It tells all connections at once (GOAWAY).
	}()
	ctx, cancel := context.WithTimeout(ctx, over+s.cfg.Limits.CloseTimeout)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		s.rpc.Stop()
		<-ended
	}
	<-s.finished
}

// Updates is how many rows were sent as updates.
func (s *Server) Updates() uint64 { return s.counts.updates.Load() }

// Stats is what a server has counted.
type Stats struct {
	Conns, Streams int64
	Refused        uint64            // Connections that found no room.
	Ended          map[string]uint64 // Streams that were served and have ended, by code.
	Tokens         map[string]uint64 // Tokens that were refused, by reason.
	Updates        uint64            // Rows of updates.
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	st := Stats{
		Conns: s.door.open.Load(), Streams: s.counts.streams.Load(), Refused: s.door.refused.Load(), Updates: s.Updates(),
		Ended: make(map[string]uint64), Tokens: make(map[string]uint64),
	}
	for code := range s.counts.ended {
		if n := s.counts.ended[code].Load(); n > 0 {
			st.Ended[codes.Code(code).String()] = n
		}
	}
	for why := auth.Reason(1); why < auth.Reasons; why++ {
		if n := s.counts.tokens[why].Load(); n > 0 {
			st.Tokens[why.Label()] = n
		}
	}
	return st
}

// ended counts a stream that has ended.
func (s *Server) ended(err error) {
	if code := int(status.Code(err)); code < codesMax {
		s.counts.ended[code].Add(1)
	}
}

// keepUnary makes of a panic the end of its request.
func (s *Server) keepUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	err = panics.Try(panics.Conn, func() (err error) { resp, err = handle(ctx, req); return err })
	return resp, s.told(err)
}

// keepStream makes of a panic the end of its stream.
func (s *Server) keepStream(srv any, wire grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return s.told(panics.Try(panics.Conn, func() error { return handle(srv, wire) }))
}

// told returns what the client is told of an error, and logs it if it is a panic.
func (s *Server) told(err error) error {
	var p *panics.Error
	if !errors.As(err, &p) {
		return err
	}
	s.cfg.Log.Error("panic while a call of gRPC was served", append([]any{"error", err, "hint", panics.Hint}, panics.Attrs(err)...)...)
	return end(fanout.Panic)
}
