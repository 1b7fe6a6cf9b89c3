// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/backoffice"
)

// ListConns implements the service.
func (s *Server) ListConns(ctx context.Context, req *backofficev1.ListConnsRequest) (resp *backofficev1.ListConnsResponse, err error) {
	err = s.serve(ctx, "ListConns", func(q *backoffice.Request) error {
		conns, next, f := q.Conns(ctx, backoffice.Question{
			Conn: req.GetConn(), User: req.GetUser(), Address: req.GetAddress(), Topic: req.GetTopic(), Cursor: req.GetCursor(),
			Limit: int(req.GetLimit()),
		})
		if f != nil {
			return f
		}
		resp = &backofficev1.ListConnsResponse{Next: next}
		for _, c := range conns {
			resp.Conns = append(resp.Conns, &backofficev1.Conn{
				Id: c.ID, User: c.User, Address: c.Address, State: c.State, Transport: c.Transport, Since: c.Since,
				Topics: uint32(c.Topics), IntervalMs: c.Window, BacklogBytes: int64(c.Backlog),
			})
		}
		return nil
	})
	return resp, err
}

// Disconnect implements the service.
func (s *Server) Disconnect(ctx context.Context, req *backofficev1.DisconnectRequest) (resp *backofficev1.DisconnectResponse, err error) {
	err = s.serve(ctx, "Disconnect", func(q *backoffice.Request) error {
		bye := backoffice.DefaultBye
		if req.GetCode() != 0 {
			bye.Code = int(req.GetCode())
		}
		if req.Reason != nil {
			bye.Reason = req.GetReason()
		}
		bye.Retry = int(req.GetRetryMs())
		var n int
		var all bool
		var f *backoffice.Fault
		switch t := req.GetTarget().(type) {
		case *backofficev1.DisconnectRequest_Conn:
			n, f = q.EndConn(ctx, t.Conn, bye)
		case *backofficev1.DisconnectRequest_User:
			n, all, f = q.EndUser(ctx, t.User, bye)
		default:
			return status.Error(codes.InvalidArgument, "want conn, the id of a connection, or user, the sub of tokens")
		}
		if f != nil {
			return f
		}
		resp = &backofficev1.DisconnectResponse{Disconnected: uint32(n), AllEdges: all}
		return nil
	})
	return resp, err
}
