// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"testing"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
)

// endless is a store in which there is always another user to be told again, until its context ends.
type endless struct{ alert.Store }

func (endless) Republish(ctx context.Context, _ string, _ int) (string, error) { return "u", ctx.Err() }

func (endless) Unpublished(ctx context.Context, _ int) ([]alert.News, error) { return nil, ctx.Err() }

type nowhere struct{ broker.Publisher }

func (nowhere) Publish(context.Context, []broker.Tick) bool { return false }

// Whoever tells all users again ends when it is told to, in the middle of them.
func TestPublishEnds(t *testing.T) {
	r := newRig(t)
	r.w.cfg.Store, r.w.cfg.To = endless{}, nowhere{}
	r.w.cfg.Table.SetSourceState(0, true, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.w.publish(ctx) }()
	cancel(errors.New("the end"))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}
