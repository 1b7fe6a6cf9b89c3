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
	if err == nil && !s.set.Load().requests.Take(who.prefix, time.Now()) {
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
	w := s.wanting(who)
	defer func() { w.cursor.release(time.Now()) }()
	if n, most := len(req.GetTopics()), w.set.limits.MaxTopics; n == 0 || n > most {
		return nil, status.Errorf(codes.InvalidArgument, "%d topics, want 1 to %d", n, most)
	}
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
		is := fanout.SightOf(s.cfg.Table, e.id)
		switch {
		case is.Row == nil && is.Code == 0:
			is.Code, is.Reason = protocol.ErrNotNow, "the source of the topic has not answered in time"
		case is.Row != nil && size+len(is.Row.Value()) > answerMax:
			is.Code, is.Reason = protocol.ErrTooManyTopics, "the answer has no room for the row: ask for fewer topics"
		}
		if is.Code != 0 {
			resp.Missing = append(resp.Missing, reject(e.name, at[e.name], is.Code, is.Reason))
			continue
		}
		size += len(is.Row.Value())
		resp.Rows = append(resp.Rows, rowOf(e.name, is.Row))
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
			is := fanout.SightOf(s.cfg.Table, e.id)
			open = open || is.Row == nil && is.Code == 0
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
