// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/bars"
	"tickedge/internal/folder"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
)

func opened(t testing.TB, dir string) *Store {
	t.Helper()
	log, _ := logtest.New(t)
	s, err := Open(Config{Dir: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	historytest.Store(t, func(t *testing.T) history.Store { return opened(t, t.TempDir()) })
}

func TestStaysAfterClose(t *testing.T) {
	dir := t.TempDir()
	list := historytest.Run(historytest.Symbol("A", 2, 8), historytest.Interval("1m"), 0, 100)
	s := opened(t, dir)
	if err := s.Put(context.Background(), list); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir, Log: s.log}); err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("a folder is opened twice: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bars(context.Background(), historytest.Whole("A", "1m")); !errors.Is(err, errClosed) {
		t.Errorf("a closed store answers %v", err)
	}
	s = opened(t, dir)
	got, err := s.Bars(context.Background(), historytest.Whole("A", "1m"))
	if err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "after a restart", got, list)
	older := slices.Clone(list)
	for i := range older {
		older[i].Count--
	}
	if err := s.Put(context.Background(), older); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Bars(context.Background(), historytest.Whole("A", "1m")); err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "after older states", got, list)
}

// A disk that is nearly full is an error before the library meets it, which would end the program. What is deleted needs less.
func TestFullDisk(t *testing.T) {
	log, _ := logtest.New(t)
	free := uint64(folder.PutRoom)
	c := Config{Dir: t.TempDir(), Log: log, free: func(string) (uint64, bool) { return free, true }}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	list := historytest.Run(historytest.Symbol("A", 2, 8), historytest.Interval("1m"), 0, 10)
	if err := s.Put(t.Context(), list[:5]); err != nil {
		t.Fatal(err)
	}
	free--
	if err := s.Put(t.Context(), list); err == nil || !strings.Contains(err.Error(), "has 63 MiB left, want 64: make room there") {
		t.Errorf("a disk that is nearly full: %v", err)
	}
	got, err := s.Bars(t.Context(), historytest.Whole("A", "1m"))
	if err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "while the disk is full", got, list[:5])
	free = folder.OpenRoom - 1
	if n, err := s.Trim(t.Context(), "1m", list[2].Start); n != 0 || err == nil {
		t.Errorf("no room to delete: %d, %v", n, err)
	}
	free++
	if n, err := s.Trim(t.Context(), "1m", list[2].Start); n != 2 || err != nil {
		t.Errorf("room to delete: %d, %v", n, err)
	}
	free = folder.PutRoom
	if err := s.Put(t.Context(), list[5:]); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free = folder.OpenRoom - 1
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "has 39 MiB left, want 40") {
		t.Errorf("a folder on a disk that is full is opened: %v", err)
	}
	if free, known := folder.DiskFree(c.Dir); !known || free == 0 {
		t.Errorf("the disk of the test: %d, %v", free, known)
	}
}

// A folder of an older version becomes the present one, and one of a newer version is refused and left as it is.
func TestVersions(t *testing.T) {
	log, _ := logtest.New(t)
	c := Config{Dir: t.TempDir(), Log: log}
	list := historytest.Run(historytest.Symbol("A", 2, 8), historytest.Interval("1m"), 0, 10)
	s, err := open(c, migrations)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Put(context.Background(), list), s.Close()); err != nil {
		t.Fatal(err)
	}
	ran := 0
	next := append(append([]folder.Migration(nil), migrations...), func(db *lsm.DB) error {
		ran++
		return db.Delete(appendKey(nil, "A", "1m", 0), lsm.Sync)
	})
	for range 2 {
		if s, err = open(c, next); err != nil {
			t.Fatal(err)
		}
		got, err := s.Bars(context.Background(), historytest.Whole("A", "1m"))
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		historytest.Same(t, "after the migration", got, list[1:])
	}
	if ran != 1 {
		t.Errorf("the migration ran %d times", ran)
	}
	if _, err = open(c, migrations); !errors.Is(err, history.ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
	broken := append(append([]folder.Migration(nil), next...), func(*lsm.DB) error { return errors.New("no room") })
	if _, err = open(c, broken); err == nil || !strings.Contains(err.Error(), "version 3: no room") {
		t.Errorf("a migration that fails: %v", err)
	}
	if s, err = open(c, next); err != nil {
		t.Fatalf("after one that failed: %v", err)
	}
	s.Close()
}

// What is damaged is an error, and never a bar or a panic.
func FuzzParse(f *testing.F) {
	for i := range int64(20) {
		b := historytest.Bar(historytest.Symbol("A", 2, 8), historytest.Interval("1m"), i)
		b.Rev = i % 2
		f.Add(appendValue(nil, &b))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var b bars.Bar
		if parseValue(in, &symbols{name: "A"}, &b) != nil {
			return
		}
		if b.Interval = historytest.Interval("1m"); history.Check(&b) != nil {
			return
		}
		var again bars.Bar
		if err := parseValue(appendValue(nil, &b), &symbols{name: "A"}, &again); err != nil {
			t.Fatal(err)
		}
		if again.Interval = b.Interval; !reflect.DeepEqual(again, b) {
			t.Fatalf("%+v, want %+v", again, b)
		}
	})
}

func TestDamaged(t *testing.T) {
	b := historytest.Bar(historytest.Symbol("A", 2, 8), historytest.Interval("1m"), 0)
	b.Rev = 1
	good := appendValue(nil, &b)
	for n := range len(good) {
		if parseValue(good[:n], new(symbols), new(bars.Bar)) == nil {
			t.Errorf("%d of %d bytes are a bar", n, len(good))
		}
	}
	bad := bytes.Clone(good)
	bad[2] = 0xff
	if parseValue(bad, new(symbols), new(bars.Bar)) == nil || parseValue(append(good, 0), new(symbols), new(bars.Bar)) == nil {
		t.Error("flags that are not known, or a byte too many, are a bar")
	}
	for _, key := range []string{"", "A", "\x00\x0012345678", "A\x00\x0012345678", "A\x001m12345678", "A\x001m\x001234567"} {
		if _, _, _, ok := parseKey([]byte(key)); ok {
			t.Errorf("%q is a key", key)
		}
	}
	// A start may have any bytes, 0 too.
	key := binary.BigEndian.AppendUint64([]byte("A\x001m\x00"), 0x0100_0000)
	if symbol, tf, start, ok := parseKey(key); !ok || string(symbol) != "A" || string(tf) != "1m" || start != 0x0100_0000 {
		t.Errorf("%q %q %d %v", symbol, tf, start, ok)
	}
}

// A Trim that goes on behind all old bars looks at those before too.
func TestTrimGoesAround(t *testing.T) {
	s, ctx := opened(t, t.TempDir()), context.Background()
	put := func(name string, n int) {
		t.Helper()
		if err := s.Put(ctx, historytest.Run(historytest.Symbol(name, 2, 8), historytest.Interval("1m"), 0, n)); err != nil {
			t.Fatal(err)
		}
	}
	put("B", trimBars)
	put("C", 1)
	if n, err := s.Trim(ctx, "1m", trimBars*60_000); n != trimBars || err != nil {
		t.Fatalf("%d bars were trimmed: %v", n, err)
	}
	if n, err := s.Trim(ctx, "1m", trimBars*60_000); n != 1 || err != nil {
		t.Fatalf("%d bars were trimmed: %v", n, err)
	}
	put("B", trimBars)
	if n, err := s.Trim(ctx, "1m", trimBars*60_000); n != trimBars || err != nil {
		t.Fatalf("%d bars were trimmed: %v", n, err)
	}
	put("A", 5)
	if n, err := s.Trim(ctx, "1m", trimBars*60_000); n != 5 || err != nil {
		t.Errorf("%d bars were trimmed: %v", n, err)
	}
}
