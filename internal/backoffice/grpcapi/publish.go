// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/backoffice"
)

// publishing is a call of Publish.
type publishing = grpc.BidiStreamingServer[backofficev1.PublishRequest, backofficev1.PublishResponse]

// aheadMost is how many values are read before those are answered that came before: at most 8 KiB each.
const aheadMost = 64

// resultPrefix begins the names of results; the rest is that of package backoffice.
const resultPrefix = "RESULT_"

var (
	errIdle   = &backoffice.Fault{Status: http.StatusRequestTimeout, Detail: "no value came for a minute"}
	errUnread = &backoffice.Fault{Status: http.StatusRequestTimeout, Detail: "answers were not read for 15 s: read them while you publish"}

	errDraining = &backoffice.Fault{
		Status: http.StatusServiceUnavailable, Detail: "the edge goes down: what has no answer may be published again with the same ver",
	}
)

// Publish implements the service.
func (s *Server) Publish(wire publishing) error {
	return s.serve(wire.Context(), "Publish", func(q *backoffice.Request) error { return s.publish(wire, q) })
}

// publish takes values in batches: of what has come, and no more than may be on its way. Who does not read the answers is read no
// more.
func (s *Server) publish(wire publishing, q *backoffice.Request) error {
	ctx, cancel := context.WithCancel(wire.Context())
	defer cancel()
	values, why := receive(ctx, wire)
	counts := make(map[string]int)
	defer func() { q.NoteResults(counts) }()
	idle := time.NewTimer(s.idle)
	defer idle.Stop()
	for {
		idle.Reset(s.idle)
		select {
		case first, more := <-values:
			if !more {
				return *why
			}
			b := s.service.NewBatch(aheadMost)
			b.Put(orderOf(first), time.Now())
			takeReady(b, values)
			results := b.Await(ctx)
			for i := range results {
				counts[results[i].Result]++
			}
			if err := s.answer(wire, results); err != nil {
				return err
			}
		case <-s.draining:
			return errDraining
		case <-idle.C:
			return errIdle
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receive takes values in a goroutine of its own, until ctx ends. When values is closed, why says why no more come.
func receive(ctx context.Context, wire publishing) (values chan *backofficev1.PublishRequest, why *error) {
	values, why = make(chan *backofficev1.PublishRequest, aheadMost), new(error)
	go func() {
		defer close(values)
		for {
			v, err := wire.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				*why = err
				return
			}
			select {
			case values <- v:
			case <-ctx.Done():
				*why = ctx.Err()
				return
			}
		}
	}()
	return values, why
}

// takeReady puts what can be had without waiting.
func takeReady(b *backoffice.Batch, values <-chan *backofficev1.PublishRequest) {
	for n := 1; n < backoffice.BatchMost; n++ {
		select {
		case v, more := <-values:
			if !more {
				return
			}
			b.Put(orderOf(v), time.Now())
		default:
			return
		}
	}
}

func orderOf(v *backofficev1.PublishRequest) *backoffice.Order {
	o := &backoffice.Order{Topic: v.GetTopic(), Value: v.GetValue()}
	if v.GetVer() != 0 {
		o.Ver = &v.Ver
	}
	return o
}

// answer sends results in a goroutine of its own, as that may wait for a client that does not read. It ends with the call.
func (s *Server) answer(wire publishing, results []backoffice.Result) error {
	sent := make(chan error, 1)
	go func() {
		for i := range results {
			if err := wire.Send(responseOf(&results[i])); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	late := time.NewTimer(s.slow)
	defer late.Stop()
	select {
	case err := <-sent:
		return err
	case <-late.C:
		return errUnread
	}
}

func responseOf(r *backoffice.Result) *backofficev1.PublishResponse {
	return &backofficev1.PublishResponse{
		Topic: r.Topic, Ver: r.Ver, Error: r.Error,
		Result: backofficev1.Result(backofficev1.Result_value[resultPrefix+strings.ToUpper(r.Result)]),
	}
}
