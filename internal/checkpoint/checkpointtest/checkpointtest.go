// SPDX-License-Identifier: Apache-2.0

// Package checkpointtest is what every store of checkpoints has to fulfil. It is for tests alone.
package checkpointtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"

	"tickedge/internal/checkpoint"
)

// Run tests stores. open opens one, the second time of the same subtest with the data of the first, which
// was closed by then.
func Run(t *testing.T, open func(t *testing.T) (reopen func() checkpoint.Store)) {
	for name, test := range map[string]func(t *testing.T, open func() checkpoint.Store){
		"states": states, "owners": owners, "race": race, "limits": limits, "ends": ends,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func load(t *testing.T, s checkpoint.Store, key string) ([]byte, int64) {
	t.Helper()
	state, epoch, err := s.Load(t.Context(), key)
	if err != nil {
		t.Fatalf("Load(%s): %v", key, err)
	}
	return state, epoch
}

func save(t *testing.T, s checkpoint.Store, key string, epoch int64, state []byte) {
	t.Helper()
	if err := s.Save(t.Context(), key, epoch, state); err != nil {
		t.Fatalf("Save(%s, %d): %v", key, epoch, err)
	}
}

// states are kept as they were saved, each of its key, when the store is opened again too.
func states(t *testing.T, open func() checkpoint.Store) {
	s := open()
	big := bytes.Repeat([]byte{0, 1, 0xff, '\n'}, 1<<18)
	want := map[string][]byte{"a": big, "A": []byte("x"), "kafka:md.trades:0": {}, "b": {0}}
	for key, state := range want {
		had, epoch := load(t, s, key)
		if had != nil || epoch < 1 {
			t.Fatalf("new key %s has %d bytes and epoch %d", key, len(had), epoch)
		}
		save(t, s, key, epoch, []byte("before"))
		save(t, s, key, epoch, state)
	}
	if had, _ := load(t, s, "none"); had != nil { // A load leaves no state.
		t.Fatal("a state that was never saved")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	for key, state := range want {
		if had, _ := load(t, s, key); had == nil || !bytes.Equal(had, state) {
			t.Errorf("%s has %d bytes (nil: %t), want the %d that were saved", key, len(had), had == nil, len(state))
		}
	}
	if had, _ := load(t, s, "none"); had != nil {
		t.Error("a state that was never saved")
	}
}

// owners that were followed by another can't save.
func owners(t *testing.T, open func() checkpoint.Store) {
	s := open()
	_, first := load(t, s, "k")
	save(t, s, "k", first, []byte("1"))
	had, second := load(t, s, "k")
	if string(had) != "1" || second <= first {
		t.Fatalf("the second owner has %q and epoch %d after %d", had, second, first)
	}
	for name, epoch := range map[string]int64{"earlier": first, "none": 0, "later": second + 1} {
		if err := s.Save(t.Context(), "k", epoch, []byte("bad")); !errors.Is(err, checkpoint.ErrFenced) {
			t.Errorf("an owner of epoch %s: %v, want ErrFenced", name, err)
		}
	}
	if err := s.Save(t.Context(), "other", second, []byte("bad")); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("who did not load the key: %v, want ErrFenced", err)
	}
	save(t, s, "k", second, []byte("2"))
	s.Close()
	s = open()
	defer s.Close()
	had, third := load(t, s, "k")
	if string(had) != "2" || third <= second {
		t.Errorf("the third owner has %q and epoch %d after %d", had, third, second)
	}
	if err := s.Save(t.Context(), "k", second, []byte("bad")); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("an owner of before: %v, want ErrFenced", err)
	}
}

// race has owners take a key from each other: no state is lost that was saved, and none comes back.
func race(t *testing.T, open func() checkpoint.Store) {
	s := open()
	defer s.Close()
	const goroutines, rounds = 4, 25
	var mu sync.Mutex
	saved := int64(0) // The highest epoch whose Save has returned.
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range rounds {
				mu.Lock()
				before := saved
				mu.Unlock()
				state, epoch, err := s.Load(t.Context(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				of := int64(0)
				if state != nil {
					of = int64(binary.LittleEndian.Uint64(state))
				}
				if of < before || of >= epoch {
					t.Errorf("epoch %d has loaded the state of %d, want at least %d", epoch, of, before)
				}
				err = s.Save(t.Context(), "k", epoch, binary.LittleEndian.AppendUint64(nil, uint64(epoch)))
				if err != nil && !errors.Is(err, checkpoint.ErrFenced) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					saved = max(saved, epoch)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	state, epoch := load(t, s, "k")
	if of := int64(binary.LittleEndian.Uint64(state)); of != saved || epoch != goroutines*rounds+1 {
		t.Errorf("in the end the state is of %d and the epoch %d, want %d and %d", of, epoch, saved, goroutines*rounds+1)
	}
}

// limits of keys and states.
func limits(t *testing.T, open func() checkpoint.Store) {
	s := open()
	defer s.Close()
	for _, key := range []string{"", "../x", ".x", "a/b", "a b", "ä", strings.Repeat("k", checkpoint.KeyMax+1), "a\x00"} {
		if _, _, err := s.Load(t.Context(), key); err == nil {
			t.Errorf("Load(%q) has no error", key)
		}
		if err := s.Save(t.Context(), key, 1, nil); err == nil || errors.Is(err, checkpoint.ErrFenced) {
			t.Errorf("Save(%q): %v", key, err)
		}
	}
	key := strings.Repeat("k", checkpoint.KeyMax)
	_, epoch := load(t, s, key)
	save(t, s, key, epoch, []byte("1"))
	if err := s.Save(t.Context(), key, epoch, make([]byte, checkpoint.StateMax+1)); err == nil {
		t.Error("a state above the limit was saved")
	}
	if had, _ := load(t, s, key); string(had) != "1" {
		t.Errorf("the state is %q after one that was refused", had)
	}
}

// ends is what calls do whose context has ended, or whose store was closed.
func ends(t *testing.T, open func() checkpoint.Store) {
	s := open()
	_, epoch := load(t, s, "k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Load(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v", err)
	}
	if err := s.Save(ctx, "k", epoch, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Save: %v", err)
	}
	save(t, s, "k", epoch, nil) // The Load that ended has taken nothing over.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), "k", epoch, nil); err == nil || errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("Save after Close: %v", err)
	}
	if _, _, err := s.Load(t.Context(), "k"); err == nil {
		t.Error("Load after Close has no error")
	}
}
