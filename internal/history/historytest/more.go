// SPDX-License-Identifier: Apache-2.0

package historytest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"tickedge/internal/bars"
	"tickedge/internal/history"
)

func all(r *rig) {
	var want []bars.Bar
	for _, name := range []string{"A", "A:B", "AA", "B"} {
		for _, tf := range []string{"1d", "1m", "1s"} {
			want = append(want, Run(Symbol(name, 2, 8), Interval(tf), begin, 30)...)
		}
	}
	r.put(want...)
	type series struct{ symbol, tf string }
	seen := make(map[series][]bars.Bar)
	var last series
	err := r.All(r.ctx, func(list []bars.Bar) error {
		for _, b := range list {
			now := series{b.Symbol.Name, b.Interval.Name}
			if now != last && seen[now] != nil {
				r.Errorf("%v is not in one piece", now)
			}
			last = now
			seen[now] = append(seen[now], b)
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	if len(seen) != 12 {
		r.Errorf("%d series", len(seen))
	}
	for i := 0; i < len(want); i += 30 {
		Same(r.T, "all of a series", seen[series{want[i].Symbol.Name, want[i].Interval.Name}], want[i:i+30])
	}
	enough := errors.New("enough")
	if err := r.All(r.ctx, func([]bars.Bar) error { return enough }); !errors.Is(err, enough) {
		r.Errorf("the error is %v", err)
	}
}

// backup restores a backup of one store into another one, and into one that has a part of it.
func backup(r *rig) {
	var want []bars.Bar
	for i, name := range []string{"A", "COINBASE:BTC-USD", "Ж"} {
		s := Symbol(name, uint8(2*i), uint8(8-i))
		want = append(want, Run(s, Interval("1m"), begin, 2000)...)
		want = append(want, Bar(s, Interval("1d"), begin/86400_000*86400_000))
	}
	most := bars.Sum{Hi: math.MaxUint64, Lo: math.MaxUint64}
	want[3].Volume, want[3].Turnover, want[3].Rev = most, most, 4
	r.put(want...)
	var file bytes.Buffer
	if n, err := history.Backup(r.ctx, r.Store, &file); err != nil || n != int64(len(want)) {
		r.Fatalf("%d bars, %v", n, err)
	}
	to := r.another()
	defer to.Close()
	n, err := history.Restore(r.ctx, to, bytes.NewReader(file.Bytes()), false)
	if has, _ := Count(r.ctx, to); err != nil || n != int64(len(want)) || has != len(want) {
		r.Fatalf("%d bars were restored, there are %d: %v", n, has, err)
	}
	var again bytes.Buffer
	if _, err := history.Backup(r.ctx, to, &again); err != nil || !bytes.Equal(again.Bytes(), file.Bytes()) {
		r.Errorf("a backup of what was restored is another one: %v", err)
	}
	if _, err := history.Restore(r.ctx, to, bytes.NewReader(file.Bytes()), false); !errors.Is(err, history.ErrNotEmpty) {
		r.Errorf("a store with bars: %v", err)
	}
	for {
		if n, err := to.Trim(r.ctx, "1m", begin+5*60_000); err != nil || n == 0 {
			break
		}
	}
	if n, err := history.Restore(r.ctx, to, bytes.NewReader(file.Bytes()), true); n != int64(len(want)) || err != nil {
		r.Errorf("over what is there: %d, %v", n, err)
	}
	if _, err := history.Restore(r.ctx, to, bytes.NewReader(file.Bytes()[:file.Len()-20]), true); err == nil {
		r.Error("a backup without its end is restored")
	}
}

// trimAll calls Trim until there is nothing more.
func trimAll(r *rig, tf string, before int64) (n int64) {
	r.Helper()
	for {
		some, err := r.Trim(r.ctx, tf, before)
		if err != nil {
			r.Fatal(err)
		}
		if n += some; some == 0 {
			return n
		}
	}
}

func trim(r *rig) {
	names := []string{"A", "A:B", "AA", "B"}
	second, minute := Interval("1s"), Interval("1m")
	const n = 5_000
	for _, name := range names {
		s := Symbol(name, 2, 8)
		r.put(Run(s, second, begin, n)...)
		r.put(Run(s, minute, begin, 10)...)
	}
	if got := trimAll(r, "5m", math.MaxInt64); got != 0 {
		r.Errorf("%d bars of an interval that was never put", got)
	}
	if got := trimAll(r, "1s", begin); got != 0 {
		r.Errorf("%d bars that are not older", got)
	}
	cut := begin + 3_750*second.Millis
	if got := trimAll(r, "1s", cut); got != int64(len(names))*3_750 {
		r.Errorf("%d bars were trimmed", got)
	}
	if got := trimAll(r, "1s", cut); got != 0 {
		r.Errorf("%d bars were trimmed again", got)
	}
	for _, name := range names {
		s := Symbol(name, 2, 8)
		Same(r.T, "what is younger", r.get(Whole(name, "1s")), Run(s, second, cut, n-3_750))
		Same(r.T, "another interval", r.get(Whole(name, "1m")), Run(s, minute, begin, 10))
	}
	r.put(Run(Symbol("A", 2, 8), second, begin, 5)...) // As a backfill does.
	if got := r.get(history.Query{Symbol: "A", Interval: "1s", To: cut, Limit: 100}); len(got) != 5 {
		r.Errorf("%d bars after the trim", len(got))
	}
	if got := trimAll(r, "1s", math.MaxInt64); got != int64(len(names))*1_250+5 {
		r.Errorf("%d bars were trimmed in the end", got)
	}
}

// model is a store that is simple enough to be right.
type model map[modelKey]bars.Bar

type modelKey struct {
	symbol, tf string
	start      int64
}

func (m model) put(list []bars.Bar) {
	for _, b := range list {
		k := modelKey{b.Symbol.Name, b.Interval.Name, b.Start}
		if has, ok := m[k]; !ok || has.Count < b.Count || has.Count == b.Count && has.Rev <= b.Rev {
			m[k] = b
		}
	}
}

func (m model) bars(q history.Query) (found []bars.Bar) {
	for _, b := range m {
		if b.Symbol.Name == q.Symbol && b.Interval.Name == q.Interval && b.Start >= q.From && b.Start < q.To {
			found = append(found, b)
		}
	}
	slices.SortFunc(found, func(a, b bars.Bar) int { return cmp.Compare(a.Start, b.Start) })
	return found[max(0, len(found)-q.Limit):]
}

// random compares a store with a model, by steps that the seed decides.
func random(r *rig) {
	seed := rand.Uint64()
	defer func() {
		if r.Failed() {
			r.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	m := make(model)
	names, tfs := []string{"A", "A:B", "B"}, []string{"1s", "1m", "1d"}
	span := int64(40)
	for range 60 {
		tf := Interval(tfs[rng.IntN(len(tfs))])
		at := func() int64 { return begin/86400_000*86400_000 + rng.Int64N(span)*tf.Millis }
		switch rng.IntN(4) {
		case 0, 1:
			var list []bars.Bar
			for range 1 + rng.IntN(30) {
				b := Bar(Symbol(names[rng.IntN(len(names))], 2, 8), tf, at())
				b.Rev, b.Count = rng.Int64N(4), rng.Int64N(4)
				list = append(list, b)
			}
			r.put(list...)
			m.put(list)
		case 2:
			q := history.Query{Symbol: names[rng.IntN(len(names))], Interval: tf.Name, From: at(), To: at(), Limit: rng.IntN(20)}
			Same(r.T, fmt.Sprintf("%+v", q), r.get(q), m.bars(q))
		case 3:
			before, n := at()-rng.Int64N(span)*tf.Millis/2, int64(0)
			for k, b := range m {
				if b.Interval.Name == tf.Name && b.Start < before {
					delete(m, k)
					n++
				}
			}
			if got := trimAll(r, tf.Name, before); got != n {
				r.Fatalf("%d bars were trimmed before %d, want %d", got, before, n)
			}
		}
	}
	for _, name := range names {
		for _, tf := range tfs {
			Same(r.T, "in the end", r.get(Whole(name, tf)), m.bars(Whole(name, tf)))
		}
	}
}

// Count returns how many bars a store has.
func Count(ctx context.Context, s history.Store) (n int, err error) {
	err = s.All(ctx, func(b []bars.Bar) error { n += len(b); return nil })
	return n, err
}
