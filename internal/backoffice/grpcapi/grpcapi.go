// SPDX-License-Identifier: Apache-2.0

// Package grpcapi is the back office for programs that speak gRPC: proto/tickedge/backoffice/v1. It is apart from backoffice so
// that who serves HTTP alone links no gRPC. What may be done, and by whom, is said there.
//
//	grpcapi.go  who calls, and how calls end
//	methods.go  connections
//	publish.go  values
package grpcapi

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/backoffice"
	"tickedge/internal/panics"
)

// Server is the methods of gRPC in front of a service.
type Server struct {
	backofficev1.UnimplementedBackOfficeServer
	service  *backoffice.Service
	draining <-chan struct{}
	idle     time.Duration // See [backoffice.StreamIdle].
	slow     time.Duration // See [backoffice.AnswerTime].
}

// New returns the methods of a service.
func New(s *backoffice.Service) *Server {
	return &Server{service: s, idle: backoffice.StreamIdle, slow: backoffice.AnswerTime}
}

// Register adds the methods to a server of gRPC that is somebody else's: it sees to what connections and messages may be, and
// makes of a panic the end of a call. Calls of Publish end when draining is closed. It is called once.
func (s *Server) Register(r grpc.ServiceRegistrar, draining <-chan struct{}) {
	s.draining = draining
	backofficev1.RegisterBackOfficeServer(r, s)
}

// statusGone is what calls are counted by whose client has gone, or has set a deadline that is over.
const statusGone = 499

// serve answers one call: bounded, of somebody who may, counted, and with a line in the audit.
func (s *Server) serve(ctx context.Context, method string, do func(*backoffice.Request) error) (err error) {
	from := ""
	p, _ := peer.FromContext(ctx)
	if p != nil && p.Addr != nil {
		from = p.Addr.String()
	}
	q := s.service.Begin(method, "gRPC "+method, from)
	code := http.StatusInternalServerError
	defer func() { q.End(code) }() // Also of a panic.
	f := q.Enter()
	if f == nil {
		f = s.identify(ctx, q, p)
	}
	if f != nil {
		err = f
	} else {
		err = panics.Try(panics.Admin, func() error { return do(q) })
	}
	code, err = told(err)
	if code != http.StatusOK {
		q.Note("error", status.Convert(err).Message())
	}
	return err
}

// identify says who calls, as the port of HTTP does.
func (s *Server) identify(ctx context.Context, q *backoffice.Request, p *peer.Peer) *backoffice.Fault {
	md, _ := metadata.FromIncomingContext(ctx)
	site := ""
	if fields := md.Get("sec-fetch-site"); len(fields) > 0 {
		site = fields[0]
	}
	if f := backoffice.FromPage(md.Get("origin"), site); f != nil {
		return f
	}
	var cert *x509.Certificate
	if p != nil {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			cert = s.service.Vouch(info.State.PeerCertificates)
		}
	}
	return q.Identify(cert, md.Get("authorization"))
}

// codeOf says with which code a call ends, by the status of HTTP.
var codeOf = map[int]codes.Code{
	http.StatusBadRequest:         codes.InvalidArgument,
	http.StatusUnauthorized:       codes.Unauthenticated,
	http.StatusForbidden:          codes.PermissionDenied,
	http.StatusNotFound:           codes.NotFound,
	http.StatusRequestTimeout:     codes.DeadlineExceeded,
	http.StatusTooManyRequests:    codes.ResourceExhausted,
	http.StatusServiceUnavailable: codes.Unavailable,
}

// told returns what a call is counted by, and what its client is told.
func told(err error) (code int, _ error) {
	var fault *backoffice.Fault
	var bug *panics.Error
	switch {
	case err == nil:
		return http.StatusOK, nil
	case errors.As(err, &fault):
		return fault.Status, status.Error(codeOf[fault.Status], fault.Detail)
	case errors.As(err, &bug):
		return http.StatusInternalServerError, err
	}
	switch c := status.FromContextError(err).Code(); {
	case c != codes.Unknown, status.Code(err) == codes.Canceled, status.Code(err) == codes.DeadlineExceeded:
		return statusGone, err
	case status.Code(err) == codes.ResourceExhausted: // A message that is too long.
		return http.StatusRequestEntityTooLarge, err
	}
	return http.StatusBadRequest, err
}
