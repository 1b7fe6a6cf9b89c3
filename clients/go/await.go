// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"iter"
)

// await returns what take has, or its error if it has nothing, and waits for notify while there is neither.
func await[U any](ctx context.Context, notify <-chan struct{}, take func() (u U, ok bool, err error)) (U, error) {
	for {
		var none U
		if ctx.Err() != nil {
			return none, context.Cause(ctx)
		}
		switch u, ok, err := take(); {
		case ok:
			return u, nil
		case err != nil:
			return none, err
		}
		select {
		case <-notify:
		case <-ctx.Done():
		}
	}
}

// all returns what next does, one after the other, up to its first error.
func all[U any](ctx context.Context, next func(context.Context) (U, error)) iter.Seq2[U, error] {
	return func(yield func(U, error) bool) {
		for {
			u, err := next(ctx)
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}
