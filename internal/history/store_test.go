// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
)

// The stand-in that tests use does what stores do, alone and behind caches of several sizes.
func TestFakeAndHot(t *testing.T) {
	for name, c := range map[string]*history.HotConfig{
		"alone": nil, "few": {Bars: 8, Bytes: 8_000}, "all": {Bars: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			historytest.Store(t, func(t *testing.T) history.Store {
				if c == nil {
					return new(historytest.Fake)
				}
				return history.NewHot(new(historytest.Fake), *c)
			})
		})
	}
}

func TestHotAnswersFromMemory(t *testing.T) {
	asked := 0
	store := &historytest.Fake{OnBars: func(history.Query) error { asked++; return nil }}
	h := history.NewHot(store, history.HotConfig{Bars: 100, Bytes: 60_000})
	ctx := context.Background()
	list := historytest.Run(btc, minute, 0, 300)
	if err := h.Put(ctx, list[:200]); err != nil {
		t.Fatal(err)
	}
	get := func(from, to, limit int, wantAsked int) {
		t.Helper()
		asked = 0
		q := history.Query{Symbol: btc.Name, Interval: "1m", From: int64(from) * 60_000, To: int64(to) * 60_000, Limit: limit}
		got, err := h.Bars(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		historytest.Same(t, "bars", got, list[max(from, to-limit):to])
		if asked != wantAsked {
			t.Errorf("%+v: the store was asked %d times, want %d", q, asked, wantAsked)
		}
	}
	get(0, 200, 50, 1)
	get(0, 200, 50, 0)
	get(150, 200, 500, 0)
	get(150, 180, 20, 0)
	get(0, 150, 20, 0)
	get(0, 110, 20, 1) // Older than what is kept, and so no reason to read that again.
	get(0, 101, 20, 1)
	get(0, 200, 50, 0)
	if err := h.Put(ctx, list[200:]); err != nil {
		t.Fatal(err)
	}
	get(250, 300, 50, 0)
	if s := h.Stats(); s.Series != 1 || s.Hits == 0 || s.Misses == 0 || s.Bytes > 60_000 {
		t.Errorf("%+v", s)
	}
	// A Put of which it is not known what became is forgotten.
	store.OnPut = func(context.Context, []bars.Bar) error { return errors.New("away") }
	if h.Put(ctx, list[:1]) == nil {
		t.Error("a failure is not told")
	}
	get(250, 300, 50, 1)
	// Series that were not asked for for long give way.
	store.OnPut = nil
	for _, name := range []string{"A", "B", "C"} {
		s := historytest.Symbol(name, 2, 8)
		if err := h.Put(ctx, historytest.Run(s, minute, 0, 100)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Bars(ctx, history.Query{Symbol: name, Interval: "1m", To: math.MaxInt64, Limit: 10}); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.Stats(); s.Series != 2 || s.Bytes > 60_000 {
		t.Errorf("%+v", s)
	}
	get(250, 300, 50, 1)
}

// Where others write too, what was read is used for a time, and no more is read than is wanted.
func TestHotForATime(t *testing.T) {
	var asked []history.Query
	store := &historytest.Fake{OnBars: func(q history.Query) error { asked = append(asked, q); return nil }}
	list := historytest.Run(btc, minute, 0, 300)
	ctx := context.Background()
	for _, c := range []struct {
		age  time.Duration
		from string
	}{{time.Hour, "memory"}, {time.Nanosecond, "the store"}} {
		h := history.NewHot(store, history.HotConfig{MaxAge: c.age})
		get := func(to, limit, wantTo, wantAsked int) {
			t.Helper()
			asked = nil
			got, err := h.Bars(ctx, history.Query{Symbol: btc.Name, Interval: "1m", To: int64(to) * 60_000, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			historytest.Same(t, "bars from "+c.from, got, list[wantTo-limit:wantTo])
			if len(asked) != wantAsked || wantAsked > 0 && asked[0].Limit != limit {
				t.Errorf("from %s: the store was asked for %+v, want %d queries, the first for %d bars", c.from, asked, wantAsked, limit)
			}
		}
		read := 0
		if c.from == "the store" {
			read = 1
		} else if err := store.Put(ctx, list[:200]); err != nil {
			t.Fatal(err)
		}
		has := 200 + read*11 // The last one is put below.
		get(1000, 50, has, 1)
		get(1000, 50, has, read)
		get(120, 50, 120, 1)                                     // Older.
		if err := store.Put(ctx, list[has:has+10]); err != nil { // By somebody else.
			t.Fatal(err)
		}
		get(1000, 50, has+read*10, read)
		get(1000, 40, has+read*10, read)
		if err := h.Put(ctx, list[has+10:has+11]); err != nil {
			t.Fatal(err)
		}
		if s := h.Stats(); s.Series != 1-read || (s.Bytes > 0) != (s.Series > 0) {
			t.Errorf("from %s: %+v", c.from, s)
		}
	}
}

// What was returned stays as it is, whatever is put later: added, revised, or before it.
func TestHotSharesWhatStays(t *testing.T) {
	h := history.NewHot(new(historytest.Fake), history.HotConfig{Bars: 40})
	ctx := context.Background()
	list := historytest.Run(btc, minute, 0, 300)
	put := func(b ...bars.Bar) {
		t.Helper()
		if err := h.Put(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	put(list[:30]...)
	type answer struct{ got, was []bars.Bar }
	var answers []answer
	get := func() {
		t.Helper()
		got, err := h.Bars(ctx, history.Query{Symbol: btc.Name, Interval: "1m", To: math.MaxInt64, Limit: 30})
		if err != nil {
			t.Fatal(err)
		}
		if cap(got) != len(got) {
			t.Error("to append to an answer would overwrite what is kept")
		}
		answers = append(answers, answer{got, slices.Clone(got)})
	}
	get()
	for i := 30; i < 280; i++ {
		if i%7 != 0 { // Those are put late.
			put(list[i])
		}
		get()
		if i%7 == 3 {
			put(list[i-3])
			get()
		}
		if i%5 == 0 {
			late := list[i-2]
			late.Rev, late.Count, late.Close = late.Rev+1, late.Count+1, late.Open
			put(late)
			get()
		}
	}
	for i, a := range answers {
		historytest.Same(t, fmt.Sprintf("answer %d", i), a.got, a.was)
	}
	if s := h.Stats(); s.Misses != 1 {
		t.Errorf("%+v", s)
	}
}

// slow is a store in which something happens after it has looked for bars.
type slow struct {
	*historytest.Fake
	meanwhile func()
}

func (s *slow) Bars(ctx context.Context, q history.Query) ([]bars.Bar, error) {
	found, err := s.Fake.Bars(ctx, q)
	if f := s.meanwhile; f != nil {
		s.meanwhile = nil
		f()
	}
	return found, err
}

// What was read before a Put, and is to be kept after it, is not kept.
func TestHotDoesNotKeepWhatIsOld(t *testing.T) {
	s := &slow{Fake: new(historytest.Fake)}
	h := history.NewHot(s, history.HotConfig{})
	list := historytest.Run(btc, minute, 0, 2)
	if err := h.Put(context.Background(), list[:1]); err != nil {
		t.Fatal(err)
	}
	s.meanwhile = func() {
		if err := h.Put(context.Background(), list[1:]); err != nil {
			t.Error(err)
		}
	}
	for _, want := range [][]bars.Bar{list[:1], list, list} {
		got, err := h.Bars(context.Background(), history.Query{Symbol: btc.Name, Interval: "1m", To: math.MaxInt64, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		historytest.Same(t, "bars", got, want)
	}
	if s := h.Stats(); s.Hits != 1 {
		t.Errorf("%+v", s)
	}
}

// What is read while bars are put is never older than what was put before.
func TestHotWhileBarsArePut(t *testing.T) {
	h := history.NewHot(new(historytest.Fake), history.HotConfig{Bars: 50})
	ctx := context.Background()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int64(500) {
			if err := h.Put(ctx, []bars.Bar{historytest.Bar(btc, second, i*1000)}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			last := int64(-1)
			for last < 499_000 && !t.Failed() {
				got, err := h.Bars(ctx, history.Query{Symbol: btc.Name, Interval: "1s", To: math.MaxInt64, Limit: 20})
				if err != nil {
					t.Error(err)
				}
				for i := range got {
					if i > 0 && got[i].Start != got[i-1].Start+1000 {
						t.Errorf("%d follows %d", got[i].Start, got[i-1].Start)
					}
				}
				if n := len(got); n > 0 {
					if got[n-1].Start < last {
						t.Errorf("%d after %d", got[n-1].Start, last)
					}
					last = got[n-1].Start
				}
			}
		})
	}
	wg.Wait()
}

func TestRetention(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "1s=7d,1m=365d,1d=0": "1d=0,1m=365d,1s=7d", " 1s=7d , ": "1s=7d", history.DefaultRetention: "1m=365d,1s=7d,5m=365d",
		"1s": "error", "1s=7": "error", "1s=-1d": "error", "1w=7d": "error", "1s=7d,1s=8d": "error", "1s=40000d": "error", "1s=7h": "error", "=7d": "error",
	} {
		r, err := history.ParseRetention(list)
		if got := r.String(); err == nil && got != want || (err != nil) != (want == "error") {
			t.Errorf("%q is %q, %v", list, got, err)
		}
	}
	store := new(historytest.Fake)
	ctx := context.Background()
	const day = 86_400_000
	now := time.UnixMilli(20_000*day + 3_600_000)
	var seconds []bars.Bar
	for i := range int64(50) {
		seconds = append(seconds, historytest.Bar(btc, second, (20_000-12)*day+i*day/4))
	}
	minutes := historytest.Run(btc, minute, 0, 3000)
	if err := errors.Join(store.Put(ctx, seconds), store.Put(ctx, minutes)); err != nil {
		t.Fatal(err)
	}
	r, err := history.ParseRetention("1s=7d,1m=0")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.Trim(ctx, store, now); n != 20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	historytest.Same(t, "a week", stored(t, store, "1s"), seconds[20:])
	historytest.Same(t, "for ever", stored(t, store, "1m"), minutes)
	r["1m"] = 365
	log, said := logtest.New(t)
	ended, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ended, store, log) }()
	for !strings.Contains(said.String(), "old bars were deleted") {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if got := stored(t, store, "1m"); len(got) != 0 {
		t.Errorf("%d bars are left", len(got))
	}
}

// What is damaged, of another format or of another program is refused before a bar is put, and the error says where.
func TestRestoreRefuses(t *testing.T) {
	ctx := context.Background()
	from := new(historytest.Fake)
	if err := from.Put(ctx, historytest.Run(btc, minute, 0, 5)); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := history.Backup(ctx, from, &file); err != nil {
		t.Fatal(err)
	}
	packed, err := gzip.NewReader(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	first, last := lines[0], lines[6]
	whole := strings.Join(lines, "")
	for name, c := range map[string]struct{ text, want string }{
		"another format": {strings.Replace(whole, `"format":1`, `"format":2`, 1), "line 1"}, "another program": {strings.Replace(whole, "tickedge", "x", 1), "line 1"},
		"a line is missing": {first + strings.Join(lines[2:], ""), "damaged"}, "a digit": {strings.Replace(whole, `"n":`, `"n":1`, 1), "damaged"},
		"no end": {strings.Join(lines[:6], ""), "not complete"}, "behind the end": {whole + lines[1], "line 8"}, "another number": {strings.Join(lines[:6], "") + strings.Replace(last, `"bars":5`, `"bars":6`, 1), "line 7"},
		"no JSON": {first + "x\n", "line 2"}, "a float": {first + strings.Replace(lines[1], `"o":`, `"o":0.00001,"x":`, 1), "line 2"},
		"a long line": {first + strings.Repeat(" ", 10_000), "too long"}, "an interval": {first + strings.Replace(lines[1], `"tf":"1m"`, `"tf":"7m"`, 1), "line 2"},
		"no scale": {first + strings.Replace(lines[1], `"ps":2`, `"x":2`, 1), "line 2"}, "a scale": {first + strings.Replace(lines[1], `"ps":2`, `"ps":16`, 1), "line 2"},
		"prices": {first + strings.Replace(lines[1], `"l":`, `"l":99`, 1), "line 2"}, "a sum": {first + strings.Replace(lines[1], `"v":`, `"v":-`, 1), "line 2"},
	} {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, c.text); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		to := new(historytest.Fake)
		n, err := history.Restore(ctx, to, bytes.NewReader(b.Bytes()), false)
		if err == nil || !strings.Contains(err.Error(), c.want) || n != 0 || to.Puts() != 0 {
			t.Errorf("%s: %d bars, %v", name, n, err)
		}
	}
	if _, err := history.Verify(ctx, strings.NewReader("no gzip")); err == nil {
		t.Error("what is no gzip is a backup")
	}
}

// Of two who read while bars are put, the one that has read before the other does not keep what it has read over what the other has.
func TestHotKeepsTheNewer(t *testing.T) {
	s := &slow{Fake: new(historytest.Fake)}
	h := history.NewHot(s, history.HotConfig{})
	list := historytest.Run(btc, minute, 0, 2)
	query := history.Query{Symbol: btc.Name, Interval: "1m", To: math.MaxInt64, Limit: 10}
	if err := h.Put(context.Background(), list[:1]); err != nil {
		t.Fatal(err)
	}
	s.meanwhile = func() { // The store has the bar, and the Put has not ended.
		if err := s.Fake.Put(context.Background(), list[1:]); err != nil {
			t.Error(err)
		}
		got, err := h.Bars(context.Background(), query)
		if err != nil {
			t.Error(err)
		}
		historytest.Same(t, "what the second reads", got, list)
	}
	if _, err := h.Bars(context.Background(), query); err != nil {
		t.Fatal(err)
	}
	got, err := h.Bars(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "what is read next", got, list)
}
