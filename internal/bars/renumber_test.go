// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"encoding/base64"
	"errors"
	"testing"

	"tickedge/internal/trade"
)

// TestRenumbered has a source that begins its ids anew, through a snapshot at each step.
func TestRenumbered(t *testing.T) {
	cfg := DefaultConfig()
	cfg.IDRuns = 8
	e, s := New(cfg), testSymbol("X")
	const minute = trade.RenumberedAfter
	const start = epoch + 3*minute // Of the new ids.
	for n, step := range []struct {
		id, at     int64
		want       error
		renumbered uint64
	}{
		{id: 1000, at: epoch}, {id: 1001, at: epoch + 1}, {id: 1003, at: epoch + 2},
		{id: 3, at: epoch - 5}, {id: 1002, at: epoch + minute},
		{id: 1001, at: epoch + 1, want: ErrDuplicate},
		{id: 1001, at: epoch + 2 + minute, want: ErrDuplicate}, // Not clearly later.
		{id: 1003, at: start, renumbered: 1},                   // The very id that is known.
		{id: 1002, at: start - 1, renumbered: 1},
		{id: 1003, at: start, want: ErrDuplicate, renumbered: 1},
		{id: 1001, at: epoch + 1, want: ErrForgotten, renumbered: 1}, // It came before, by its time.
		{id: 1000, at: epoch, want: ErrForgotten, renumbered: 1},
		{id: 2000, at: start + 9, renumbered: 1},
		{id: 1, at: start + 9 + minute, renumbered: 1},
		{id: 2, at: start + 10 + minute, renumbered: 2}, // What began within the minute stays known.
		{id: 1, at: start + 9 + minute, want: ErrDuplicate, renumbered: 2},
		{id: 2000, at: start + 9, want: ErrForgotten, renumbered: 2},
	} {
		err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Size: 1, Time: step.at, ID: step.id}, start+2*minute)
		if !errors.Is(err, step.want) || e.Stats().Renumbered != step.renumbered {
			t.Fatalf("step %d: %v, want %v; renumbered %d, want %d", n, err, step.want, e.Stats().Renumbered, step.renumbered)
		}
		var dropped []string
		if e, dropped, err = Restore(cfg, e.Snapshot(nil), func(string) *trade.Symbol { return s }); err != nil || len(dropped) > 0 {
			t.Fatal(dropped, err)
		}
	}
	if id, at := e.Position(s, "A"); id != 2 || at != start+10+minute {
		t.Errorf("position %d at %d", id, at)
	}
}

// formerSnapshot is one of format 1: trades 7 and 8 of source A, of symbol X, at epoch.
const formerSnapshot = "VEVCQVJTAQUCMXMCMW0CNW0CMWgCMWQA0A8AAgAAAAAAAAAAAAEBQQABAVgDVVRDAggBgK6/tqqCpgaAwLO4qoKmBhACAgAAAAABQQEBAIDAs7iqgqYGAAEOAoDAs7iqgqYG4Pja5pVnAgAAAAGA76uaDQACAAAAAgACAAQADgACwO7T5pVnAgAAAAGgiJYcAAIAAAACAAIABAAOAALAyLbmlWcCAAAAAaCb0QUAAgAAAAIAAgAEAA4AAoDeo+OVZwIAAAAB+Iw8AAIAAAACAAIABAAOAAKA4MG9lWcCAAAAAYDMppoNAAIAAAACAAIABIDA3e7BAg4AAshabSo="

func TestRestoreFormer(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(formerSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	s := testSymbol("X")
	e, dropped, err := Restore(DefaultConfig(), b, func(string) *trade.Symbol { return s })
	if err != nil || len(dropped) > 0 {
		t.Fatal(dropped, err)
	}
	if id, at := e.Position(s, "A"); id != 8 || at != epoch || e.Stats().Trades != 2 || e.Stats().Revisions != 0 {
		t.Errorf("position %d at %d, %+v", id, at, e.Stats())
	}
	if err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Size: 1, Time: epoch, ID: 7}, epoch); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
}

// A source that numbers anew may begin below all ids that were let go of for want of room.
func TestRenumberedBelowTheFloor(t *testing.T) {
	cfg := DefaultConfig()
	cfg.IDRuns = 8
	e, s := New(cfg), testSymbol("X")
	add := func(id, at int64) error {
		return e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Size: 1, Time: at, ID: id}, at)
	}
	for i := range int64(20) { // Runs of one id each, more than are kept.
		if err := add(1000+2*i, epoch+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(1001, epoch+20); !errors.Is(err, ErrForgotten) {
		t.Errorf("an id below the floor: %v", err)
	}
	for i := range int64(3) {
		if err := add(1+i, epoch+100+trade.RenumberedAfter+i); err != nil {
			t.Errorf("id %d of the new ones: %v", 1+i, err)
		}
	}
}
