// SPDX-License-Identifier: Apache-2.0

// Package checkpoint stores what a shard of trades needs to go on: where its source was, its open bars and
// the ids that it knows, as one piece that is written whole or not at all.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// Store keeps the newest state of each key. Any goroutine may use it. What it has returned from Save has
// reached the disk. A state that can't be read whole is an error, never none.
type Store interface {
	// Load returns the state of a key, nil if none was saved yet. Whoever loads becomes its owner: epoch is to be
	// given to Save, and what earlier owners save from now on is refused with [ErrFenced].
	Load(ctx context.Context, key string) (state []byte, epoch int64, err error)
	// Save replaces the state of a key. Of an error other than ErrFenced it is not known whether it did; it
	// may be called again.
	Save(ctx context.Context, key string, epoch int64, state []byte) error
	Close() error
}

// ErrFenced is what an owner gets that is none any more: it has to stop at once.
var ErrFenced = errors.New("the checkpoint belongs to another process now")

// Limits of keys and states.
const (
	KeyMax   = 240      // Bytes: with what stores append, the name of a file.
	StateMax = 64 << 20 // Bytes.
)

var keyRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]*$`)

// Check returns what is wrong with a key or a state, or nil. Stores call it.
func Check(key string, state []byte) error {
	if len(key) > KeyMax || !keyRule.MatchString(key) {
		return fmt.Errorf("checkpoint key %.300q: want at most %d letters, digits and _ . : -, and a letter, digit or _ first", key, KeyMax)
	}
	if len(state) > StateMax {
		return fmt.Errorf("checkpoint %s has %d bytes, want at most %d", key, len(state), StateMax)
	}
	return nil
}
