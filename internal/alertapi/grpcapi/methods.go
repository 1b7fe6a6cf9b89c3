// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
)

// CreateAlert implements the service.
func (s *Server) CreateAlert(ctx context.Context, req *alertsv1.CreateAlertRequest) (*alertsv1.CreateAlertResponse, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	in, err := inputOf(req.GetUserId(), req.GetSpec())
	if err != nil {
		return nil, err
	}
	a, created, f := s.service.Create(ctx, who, in, req.GetIdempotencyKey())
	if f != nil {
		return nil, told(f)
	}
	return &alertsv1.CreateAlertResponse{Alert: alertOf(&a), Created: created}, nil
}

// GetAlert implements the service.
func (s *Server) GetAlert(ctx context.Context, req *alertsv1.GetAlertRequest) (*alertsv1.GetAlertResponse, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	a, f := s.service.Get(ctx, who, req.GetUserId(), req.GetId())
	if f != nil {
		return nil, told(f)
	}
	return &alertsv1.GetAlertResponse{Alert: alertOf(&a)}, nil
}

// ListAlerts implements the service.
func (s *Server) ListAlerts(ctx context.Context, req *alertsv1.ListAlertsRequest) (*alertsv1.ListAlertsResponse, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	list, next, f := s.service.List(ctx, who, alert.Query{
		User: req.GetUserId(), Symbol: req.GetSymbol(), Active: req.GetActiveOnly(), After: req.GetAfter(), Limit: int(req.GetLimit()),
	})
	if f != nil {
		return nil, told(f)
	}
	resp := &alertsv1.ListAlertsResponse{Next: next}
	for i := range list {
		resp.Alerts = append(resp.Alerts, alertOf(&list[i]))
	}
	return resp, nil
}

// UpdateAlert implements the service.
func (s *Server) UpdateAlert(ctx context.Context, req *alertsv1.UpdateAlertRequest) (*alertsv1.UpdateAlertResponse, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	in, err := inputOf(req.GetUserId(), req.GetSpec())
	if err != nil {
		return nil, err
	}
	if req.GetUpdateMask() == nil {
		in.GiveSet()
	}
	for _, path := range req.GetUpdateMask().GetPaths() {
		if path == "*" {
			in.GiveAll()
		} else if !in.Give(path) {
			return nil, status.Errorf(codes.InvalidArgument, "update_mask: %.40q is no field of spec: want its fields, or *", path)
		}
	}
	match, err := matchOf(req.GetArm())
	if err != nil {
		return nil, err
	}
	a, f := s.service.Change(ctx, who, in, req.GetId(), match)
	if f != nil {
		return nil, told(f)
	}
	return &alertsv1.UpdateAlertResponse{Alert: alertOf(&a)}, nil
}

// DeleteAlert implements the service.
func (s *Server) DeleteAlert(ctx context.Context, req *alertsv1.DeleteAlertRequest) (*alertsv1.DeleteAlertResponse, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	match, err := matchOf(req.GetArm())
	if err != nil {
		return nil, err
	}
	if f := s.service.Delete(ctx, who, req.GetUserId(), req.GetId(), match); f != nil {
		return nil, told(f)
	}
	return &alertsv1.DeleteAlertResponse{}, nil
}

// ListFired implements the service.
func (s *Server) ListFired(ctx context.Context, req *alertsv1.ListFiredRequest) (*alertsv1.ListFiredResponse, error) {
	who, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	list, number, f := s.service.Fired(ctx, who, req.GetUserId(), req.GetAfter(), int(req.GetLimit()))
	if f != nil {
		return nil, told(f)
	}
	resp := &alertsv1.ListFiredResponse{Number: number}
	for i := range list {
		resp.Fired = append(resp.Fired, firingOf(&list[i].Firing))
	}
	return resp, nil
}

// matchOf is the arm that an alert must have; 0 is any.
func matchOf(arm int64) (alertapi.Match, error) {
	switch {
	case arm < 0:
		return nil, status.Error(codes.InvalidArgument, "arm: want the arm of the alert, or 0 for any")
	case arm == 0:
		return nil, nil
	}
	return alertapi.Match{arm}, nil
}
