// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"tickedge/internal/trade"
)

const epoch = 1_772_452_800_000_000 // 2026-03-02 12:00:00 UTC.

func testSymbol(name string) *trade.Symbol {
	return &trade.Symbol{Name: name, Source: "A", PriceScale: 2, SizeScale: 8, Zone: time.UTC}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                          func(*Config) {},
		"there are 0 Intervals":     func(c *Config) { c.Intervals = nil },
		"1m and 60s are the same":   func(c *Config) { c.Intervals = parseIntervals(t, "1m,60s") },
		"Window is -1s":             func(c *Config) { c.Window = -time.Second },
		"Silence is 1s, want 2s":    func(c *Config) { c.Silence = time.Second },
		"Limit is 25h0m0s":          func(c *Config) { c.Limit = 25 * time.Hour },
		"Symbols is 0":              func(c *Config) { c.Symbols = 0 },
		"Sources is 65":             func(c *Config) { c.Sources = 65 },
		"IDRuns is 0":               func(c *Config) { c.IDRuns = 0 },
		"Fills is 0, want 1 to 100": func(c *Config) { c.Fills = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestBounds has bars of a symbol that nobody takes, sources and symbols without end, and what is kept in
// the long run.
func TestBounds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Intervals = parseIntervals(t, "1s")
	cfg.Limit, cfg.Symbols = 10*time.Second, 2
	e, s := New(cfg), testSymbol("X")
	var err error
	n := int64(0)
	for ; err == nil && n < 1_000_000; n++ {
		at := epoch + n*1_000_000
		err = e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: at, ID: n + 1}, at)
	}
	if most := int64(e.books[s].series[0].most(e)); !errors.Is(err, ErrFull) || n != most+1 {
		t.Errorf("after %d bars that nobody took: %v; want %d", n, err, most)
	}
	e.DrainClosed(func(*Bar) bool { return true })
	for range int64(10_000) {
		at := epoch + n*1_000_000
		if err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: at, ID: n + 1}, at); err != nil {
			t.Fatal(err)
		}
		n++
		e.DrainClosed(func(*Bar) bool { return true })
		if kept := len(e.books[s].series[0].live()); kept > 10+2+3 && n > 40_000 {
			t.Fatalf("%d bars are kept", kept)
		}
	}
	for i := range 3 {
		at := epoch + n*1_000_000
		err = e.Add(&trade.Trade{Symbol: testSymbol(fmt.Sprint(i)), Source: "A", Price: 1, Time: at}, at)
	}
	if !errors.Is(err, ErrSymbols) {
		t.Error(err)
	}
	for i := range 2 * clocksMax {
		err = e.Heard(fmt.Sprint("A", i), nil, epoch, epoch)
	}
	if !errors.Is(err, ErrSources) || len(e.clocks) != clocksMax {
		t.Error(err, len(e.clocks))
	}
	if err := e.Heard("no name", nil, epoch, epoch); !errors.Is(err, trade.ErrSource) {
		t.Error(err)
	}
	if got := e.Stats(); got.Refused != 3 || got.Symbols != 2 {
		t.Errorf("%+v", got)
	}
}

// TestHeardAhead has a source whose clock is wrong: bars must not close long before their time.
func TestHeardAhead(t *testing.T) {
	e, s := New(DefaultConfig()), testSymbol("X")
	if err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: epoch}, epoch); err != nil {
		t.Fatal(err)
	}
	e.Heard("A", s, epoch+3_600_000_000, epoch)
	e.Heard("A", nil, epoch+3_600_000_000, epoch)
	e.Advance(0)
	if got := e.books[s].mark; got != epoch+trade.AheadMax-2_000_000 {
		t.Error(got - epoch)
	}
}

func TestPosition(t *testing.T) {
	e, s := New(DefaultConfig()), testSymbol("X")
	for i, id := range []int64{1, 2, 5, 4} {
		if err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: epoch + int64(i), ID: id}, epoch); err != nil {
			t.Fatal(err)
		}
	}
	e.Add(&trade.Trade{Symbol: s, Source: "B", Price: 1, Time: epoch + 9}, epoch)
	for source, want := range map[string][2]int64{"A": {5, epoch + 3}, "B": {0, epoch + 9}, "C": {}} {
		if id, at := e.Position(s, source); id != want[0] || at != want[1] {
			t.Errorf("%s: %d, %d; want %d", source, id, at, want)
		}
	}
	if id, at := e.Position(testSymbol("Y"), "A"); id != 0 || at != 0 {
		t.Error(id, at)
	}
}

// TestPacked has an hour of bars: most of them are packed, all are there, and one is revised.
func TestPacked(t *testing.T) {
	r := newRig(1)
	s := r.symbols[0]
	for range 4000 {
		r.add(t)
		r.now = r.now - r.now%1_000_000 + 1_000_000
		r.drain(true, true)
	}
	series := &r.e.books[s].series[0]
	if packed := len(series.old) * chunkBars; packed < 3000 || len(series.live()) > 6*60+2*chunkBars {
		t.Errorf("%d bars are packed, %d are not", packed, len(series.live()))
	}
	at := r.now - 3_000_000_000
	if err := r.e.Add(&trade.Trade{Symbol: s, Source: "B", Price: 1, Size: 1, Time: at}, r.now); err != nil {
		t.Fatal(err)
	}
	told := 0
	r.e.DrainClosed(func(b *Bar) bool {
		if told++; b.Low != 1 || b.Rev != 1 || b.Count < 2 {
			t.Errorf("%+v", b)
		}
		return true
	})
	if told != 3 { // 1s, 1m, 5m; the hour may have closed too.
		if told != 4 {
			t.Errorf("%d bars were told", told)
		}
	}
	handle, _ := r.e.Series(s, "1s")
	all := handle.AppendBars(nil, 0)
	for i := range all[1:] {
		if all[i+1].Start != all[i].Start+1000 {
			t.Fatalf("bars at %d and %d", all[i].Start, all[i+1].Start)
		}
	}
	if len(all) < 3600 || len(all) > 3600+chunkBars+20 {
		t.Errorf("%d bars", len(all))
	}
	for range 2 * chunkBars { // What was unpacked is packed again, and its memory let go of.
		r.add(t)
		r.now = r.now - r.now%1_000_000 + 1_000_000
		r.drain(true, true)
	}
	if kept := cap(series.slots); kept > 2000 {
		t.Errorf("there is room for %d bars", kept)
	}
	if price, ok := r.e.Newest(s); !ok || price.Symbol() != s || price.Key().ID != 4000+2*chunkBars {
		t.Error(price.Key())
	}
}

// TestFairFills has symbols that fell silent together: each gets its turn.
func TestFairFills(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Fills = 100
	e := New(cfg)
	for i := range 4 {
		s := testSymbol(fmt.Sprint("S", i))
		s.Fill = true
		if err := e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: epoch}, epoch); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		e.Advance(epoch + (2 * 24 * time.Hour).Microseconds())
	}
	got := make(map[string]int)
	e.DrainClosed(func(b *Bar) bool { got[b.Symbol.Name]++; return true })
	for i := range 4 {
		if n := got[fmt.Sprint("S", i)]; n < 100 || n > 110 {
			t.Errorf("S%d has %d bars", i, n)
		}
	}
	if s := e.Stats(); s.Filled != 400 {
		t.Errorf("%+v", s)
	}
}

func TestRestoreErrors(t *testing.T) {
	e, s := New(DefaultConfig()), testSymbol("X")
	for i := range int64(100) {
		e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1 + i, Size: i, Time: epoch + i*700_000, ID: i + 1}, epoch+i*700_000)
	}
	good := e.Snapshot([]byte("before"))[len("before"):]
	named := func(string) *trade.Symbol { return s }
	if _, _, err := Restore(DefaultConfig(), good, named); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if _, _, err := Restore(DefaultConfig(), bad, named); err == nil {
			t.Errorf("byte %d may be another", i)
		}
		if _, _, err := Restore(DefaultConfig(), good[:i], named); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
	newer := append([]byte(nil), good...)
	newer[len(snapshotMagic)] = snapshotVersion + 1
	if _, _, err := Restore(DefaultConfig(), resum(newer), named); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
	other := *s
	other.PriceScale++
	for _, now := range []*trade.Symbol{nil, &other} {
		got, dropped, err := Restore(DefaultConfig(), good, func(string) *trade.Symbol { return now })
		if err != nil || len(dropped) != 1 || dropped[0] != "X" || got.Stats().Symbols != 0 {
			t.Error(dropped, err)
		}
	}
	cfg := DefaultConfig()
	cfg.Intervals = parseIntervals(t, "1m,4h")
	got, _, err := Restore(cfg, good, named)
	if err != nil {
		t.Fatal(err)
	}
	series, ok := got.Series(s, "1m")
	if n := len(series.AppendBars(nil, 0)); !ok || n != 2 {
		t.Errorf("%d bars", n)
	}
	if n := len(series.AppendBars(nil, epoch/1000+1)); n != 1 {
		t.Errorf("%d bars of the second minute", n)
	}
	if _, ok := got.Series(s, "1s"); ok {
		t.Error("an interval is there that is not wanted any more")
	}
	if err := got.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: epoch + 70_000_000, ID: 101}, epoch+70_000_000); err != nil {
		t.Error(err)
	}
	if err := got.Add(&trade.Trade{Symbol: s, Source: "A", Price: 1, Time: epoch + 70_000_000, ID: 100}, epoch+70_000_000); err != ErrDuplicate {
		t.Error(err)
	}
}

func resum(snapshot []byte) []byte {
	body := snapshot[:len(snapshot)-4]
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

// FuzzRestore changes what is inside of the checksum: an engine that comes of it has to work.
func FuzzRestore(f *testing.F) {
	cfg := DefaultConfig()
	cfg.Fills = 50
	zone, err := time.LoadLocation("America/Havana")
	if err != nil {
		f.Fatal(err)
	}
	s := testSymbol("X")
	s.Zone, s.Fill = zone, true
	e := New(cfg)
	e.Heard("B", nil, epoch, epoch)
	f.Add(e.Snapshot(nil))
	for i := range int64(20) {
		e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 100 + i, Size: i << 40, Time: epoch + i*7_000_000, ID: i * 2}, epoch+i*7_000_000)
	}
	e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 100, Size: 1, Time: epoch + 1}, epoch)
	f.Add(e.Snapshot(nil))
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		if len(snapshot) > 4 {
			snapshot = resum(append([]byte(nil), snapshot...))
		}
		e, _, err := Restore(cfg, snapshot, func(name string) *trade.Symbol {
			if name == "X" {
				return s
			}
			return nil
		})
		if err != nil {
			return
		}
		again, _, err := Restore(cfg, e.Snapshot(nil), func(string) *trade.Symbol { return s })
		if err != nil || string(again.Snapshot(nil)) != string(e.Snapshot(nil)) {
			t.Fatal("what was restored is stored as something else", err)
		}
		for i := range int64(10) {
			e.Add(&trade.Trade{Symbol: s, Source: "A", Price: 100, Size: 1, Time: epoch + i*90_000_000, ID: i}, epoch+i*90_000_000)
			e.Advance(epoch + i*90_000_000)
			e.DrainClosed(func(b *Bar) bool { b.AppendJSON(nil); return true })
			e.DrainKlines(func(s Series) bool { s.AppendKline(nil, 1); return true })
			e.DrainPrices(func(p Price) bool { p.AppendJSON(nil); return true })
		}
	})
}
