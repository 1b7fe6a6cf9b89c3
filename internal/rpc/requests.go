// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/fanout"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

const (
	// answerMax bounds the rows of an answer, in bytes, as on the client port.
	answerMax = 1 << 20
	// namesLook is when a list of names is looked for again that is being made.
	namesLook = 25 * time.Millisecond

	namesDefault = 100
	namesMax     = 1000
)

// tooManyRequests is the answer beyond the rate of requests.
var tooManyRequests = status.Error(codes.ResourceExhausted, "too many requests from your address, try again later")

// ask says who makes a request that is answered once, if its prefix may make one more.
func (s *Server) ask(ctx context.Context) (*caller, error) {
	who, err := s.identify(ctx)
	if err == nil && !s.cfg.Requests.Take(who.prefix, time.Now()) {
		err = tooManyRequests
	}
	return who, err
}

// GetPrices implements the service. It holds the topics while it waits for those that are fetched.
func (s *Server) GetPrices(ctx context.Context, req *pricesv1.GetPricesRequest) (*pricesv1.GetPricesResponse, error) {
	who, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(req.GetTopics()); n == 0 || n > s.cfg.Limits.MaxTopics {
		return nil, status.Errorf(codes.InvalidArgument, "%d topics, want 1 to %d", n, s.cfg.Limits.MaxTopics)
	}
	w := s.wanting(who)
	defer func() { w.cursor.release(time.Now()) }()
	missing := w.want(req.GetTopics(), time.Now())
	if err := s.awaitRows(ctx, w.cursor); err != nil {
		return nil, err
	}
	resp, size := &pricesv1.GetPricesResponse{Missing: missing}, 0
	at := make(map[string]int, len(req.GetTopics()))
	for i, name := range req.GetTopics() {
		if _, again := at[name]; !again {
			at[name] = i
		}
	}
	for _, e := range w.cursor.entries {
		row, code, reason := s.sight(e)
		switch {
		case row == nil && code == 0:
			code, reason = protocol.ErrNotNow, "the source of the topic has not answered in time"
		case row != nil && size+len(row.Value()) > answerMax:
			code, reason = protocol.ErrTooManyTopics, "the answer has no room for the row: ask for fewer topics"
		}
		if code != 0 {
			resp.Missing = append(resp.Missing, reject(e.name, at[e.name], code, reason))
			continue
		}
		size += len(row.Value())
		resp.Rows = append(resp.Rows, rowOf(e.name, row))
		resp.FeedDown = resp.FeedDown || !s.cfg.Table.SourceUp(e.name)
	}
	return resp, nil
}

// awaitRows waits until each topic has a row or is known to have none, or for as long as it may.
func (s *Server) awaitRows(ctx context.Context, c *cursor) error {
	late := time.NewTimer(s.cfg.FetchWait)
	defer late.Stop()
	again := time.NewTicker(fetchLook)
	defer again.Stop()
	for {
		open := false
		for _, e := range c.entries {
			row, code, _ := s.sight(e)
			open = open || row == nil && code == 0
		}
		if !open {
			return nil
		}
		select {
		case <-again.C:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.draining:
			return end(fanout.Drain)
		}
	}
}

// sight is what there is of a topic now: a row, or why there is none. Neither is there while one may
// still come.
func (s *Server) sight(e entry) (row *topics.Row, code int, reason string) {
	t := s.cfg.Table
	row = t.Row(e.id)
	if row != nil && !row.Delisted() {
		return row, 0, ""
	}
	at, why := t.StaleFor(e.id)
	switch {
	case t.Withdrawn(e.id):
		return nil, protocol.ErrNotNow, "the edge is full of topics, try again in some minutes"
	case at > 0 && why != topics.Silent:
		code, reason = fanout.StaleFor(why)
		return nil, code, reason
	case row != nil:
		return nil, protocol.ErrNoValue, "the topic is delisted: its source has withdrawn it"
	case t.IsAbsent(e.id):
		return nil, protocol.ErrNoValue, "the source has no value of the topic"
	case !t.SourceUp(e.name):
		return nil, protocol.ErrNotNow, "the source of the topic is down"
	}
	return nil, 0, ""
}

// ListTopics implements the service.
func (s *Server) ListTopics(ctx context.Context, req *pricesv1.ListTopicsRequest) (*pricesv1.ListTopicsResponse, error) {
	who, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	if !s.cfg.ListTopics {
		return nil, status.Error(codes.Unimplemented, "this edge lists no topics: its operator has not set -list-topics")
	}
	most := int(req.GetLimit())
	if most > namesMax {
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("limit is 1 to %d, or 0 for %d", namesMax, namesDefault))
	}
	if most == 0 {
		most = namesDefault
	}
	again := time.NewTicker(namesLook)
	defer again.Stop()
	for {
		names, next, truncated, ok := s.cfg.Share.ListNames(req.GetPrefix(), req.GetAfter(), most, who.grant)
		if ok {
			return &pricesv1.ListTopicsResponse{Topics: names, Next: next, Truncated: truncated}, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-s.draining:
			return nil, end(fanout.Drain)
		}
	}
}
