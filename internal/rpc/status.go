// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tickedge/internal/fanout"
	"tickedge/internal/guard"
)

// endCodes says with which code a stream ends, by the reason. Its text begins with the close code of
// docs/PROTOCOL.md, for programs that tell reasons of one code apart.
var endCodes = map[fanout.Reason]codes.Code{
	fanout.SlowConsumer: codes.ResourceExhausted,
	fanout.CommandRate:  codes.ResourceExhausted,
	fanout.Idle:         codes.DeadlineExceeded,
	fanout.Drain:        codes.Unavailable,
	fanout.MaxAge:       codes.Unavailable,
	fanout.TokenExpired: codes.Unauthenticated,
	fanout.Revoked:      codes.Unauthenticated,
	fanout.Replaced:     codes.Aborted,
	fanout.Panic:        codes.Internal,
}

// ending is the status of a stream that the edge ends.
type ending struct{ reason fanout.Reason }

func end(r fanout.Reason) error { return ending{r} }

func (e ending) Error() string { return fmt.Sprintf("%d %s", e.reason.Code(), e.reason.Text()) }

// GRPCStatus implements the interface by which grpc asks errors for their status.
func (e ending) GRPCStatus() *status.Status { return status.New(endCodes[e.reason], e.Error()) }

// refused is the status of a stream that the guard has not let in.
func refused(v guard.Verdict) error {
	text := "too many connections and streams from your address, close some or try again later"
	switch v.Outcome {
	case guard.TooFast:
		text = "too many new connections and streams from your address, try again later"
	case guard.Overloaded:
		return status.Error(codes.Unavailable, "too many new connections, try again later")
	}
	return status.Error(codes.ResourceExhausted, text)
}
