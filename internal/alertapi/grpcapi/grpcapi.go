// SPDX-License-Identifier: Apache-2.0

// Package grpcapi is the service of alerts for programs that speak gRPC: proto/tickedge/alerts/v1. It is apart from alertapi so
// that who serves REST alone links no gRPC. What may be done, and by whom, is said there.
//
//	grpcapi.go  the port, and who calls
//	methods.go  the methods
//	convert.go  messages to and from alerts
package grpcapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
	"tickedge/internal/panics"
)

// Server is the methods of gRPC in front of a service.
type Server struct {
	alertsv1.UnimplementedAlertsServiceServer
	service *alertapi.Service

	mu     sync.Mutex
	counts map[codes.Code]uint64
}

// New returns the methods of a service.
func New(s *alertapi.Service) *Server {
	return &Server{service: s, counts: make(map[codes.Code]uint64)}
}

// Register adds the methods to a server of gRPC that is somebody else's, who sees to its limits; [Server.Intercept] belongs to it.
func (s *Server) Register(r grpc.ServiceRegistrar) { alertsv1.RegisterAlertsServiceServer(r, s) }

// Limits of a connection.
const (
	streamsMax   = 100 // Requests of a connection at a time.
	headerMax    = 16 << 10
	greetTime    = 5 * time.Second
	idleTime     = 5 * time.Minute
	pingTime     = 30 * time.Second
	pongTime     = 10 * time.Second
	keepaliveMin = 5 * time.Second // How often a client may ping. Who pings more often is sent away.
	// A connection ends at this age, and with it the answers that its client does not read.
	ageMax   = time.Hour
	ageGrace = 30 * time.Second
	endTime  = 5 * time.Second
)

// Serve answers at a listener until ctx ends, and then finishes what was asked. Without secure it is in the clear. The error is nil
// at the end of ctx.
func (s *Server) Serve(ctx context.Context, ln net.Listener, secure *tls.Config) error {
	creds := insecure.NewCredentials()
	if secure != nil {
		creds = credentials.NewTLS(secure)
	}
	r := grpc.NewServer(
		grpc.Creds(creds), grpc.MaxConcurrentStreams(streamsMax), grpc.MaxRecvMsgSize(alertapi.BodyMax), grpc.MaxHeaderListSize(headerMax),
		grpc.ConnectionTimeout(greetTime), grpc.UnaryInterceptor(s.Intercept),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTime, MaxConnectionAge: ageMax, MaxConnectionAgeGrace: ageGrace, Time: pingTime, Timeout: pongTime,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
	)
	s.Register(r)
	h := health.NewServer()
	h.SetServingStatus(alertsv1.AlertsService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(r, h)
	reflection.Register(r)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		h.Shutdown()
		last := time.AfterFunc(endTime, r.Stop)
		defer last.Stop()
		r.GracefulStop()
	})
	err := r.Serve(netutil.LimitListener(ln, s.service.Conns()))
	if !stop() {
		<-ended
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, grpc.ErrServerStopped)) {
		return nil
	}
	return fmt.Errorf("grpcapi: %w", err)
}

// Counts is how many requests were answered, by code.
func (s *Server) Counts() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]uint64)
	for code, n := range s.counts {
		all[code.String()] = n
	}
	return all
}

// Intercept counts a request, and makes of a panic its end.
func (s *Server) Intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	var bug *panics.Error
	err = panics.Try(panics.Alerts, func() (err error) { resp, err = handle(ctx, req); return err })
	if errors.As(err, &bug) {
		s.service.Panicked(err)
		err = status.Error(codes.Internal, "a bug of the server, which is in its log")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[status.Code(err)]++
	return resp, err
}

// caller is who calls, if its address may make one more request.
func (s *Server) caller(ctx context.Context) (*alertapi.Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var remote netip.AddrPort
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		remote, _ = netip.ParseAddrPort(p.Addr.String())
	}
	now, client := time.Now(), s.service.Prefix(remote.Addr(), md.Get("x-forwarded-for"))
	if f := s.service.Admit(client, now); f != nil {
		return nil, told(f)
	}
	who, f := s.service.Identify(client, md.Get("authorization"), now)
	if f != nil {
		return nil, told(f)
	}
	return who, nil
}

// codeOf says with which code a call ends, by the status of REST.
var codeOf = map[int]codes.Code{
	http.StatusBadRequest:          codes.InvalidArgument,
	http.StatusUnprocessableEntity: codes.InvalidArgument,
	http.StatusUnauthorized:        codes.Unauthenticated,
	http.StatusForbidden:           codes.PermissionDenied,
	http.StatusNotFound:            codes.NotFound,
	http.StatusConflict:            codes.Aborted,
	http.StatusPreconditionFailed:  codes.Aborted, // What was read is to be read again, as of the other.
	http.StatusTooManyRequests:     codes.ResourceExhausted,
	http.StatusServiceUnavailable:  codes.Unavailable,
}

// told is a fault as clients have it.
func told(f *alertapi.Fault) error {
	code, ok := codeOf[f.Status]
	switch {
	case errors.Is(f, alert.ErrQuota):
		code = codes.ResourceExhausted
	case errors.Is(f, alert.ErrKey):
		code = codes.AlreadyExists
	case !ok:
		code = codes.Internal
	}
	return status.Error(code, f.Detail)
}
