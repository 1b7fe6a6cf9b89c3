// SPDX-License-Identifier: Apache-2.0

// Package checkpoint stores what a shard of trades needs to go on: where its source was, its open bars and
// the ids that it knows, as one piece that is written whole or not at all.
package checkpoint

import (
	"context"
	"errors"
)

// Store keeps the newest state of each key. Any goroutine may use it.
type Store interface {
	// Load returns the state of a key, nil if there is none. Whoever loads becomes its owner: epoch is to be
	// given to Save, and what earlier owners save from now on is refused with [ErrFenced].
	Load(ctx context.Context, key string) (state []byte, epoch int64, err error)
	// Save replaces the state of a key.
	Save(ctx context.Context, key string, epoch int64, state []byte) error
	Close() error
}

// ErrFenced is what an owner gets that is none any more: it has to stop at once.
var ErrFenced = errors.New("the checkpoint belongs to another process now")
