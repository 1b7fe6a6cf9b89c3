// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"tickedge/internal/bars"
	"tickedge/internal/history"
)

// upsert writes a batch that came in arrays, one for each column. It is one statement and so one transaction, and needs
// neither a temporary table nor a session.
const upsert = `INSERT INTO history_bars AS has (tf, symbol, ` + columns + `)
	SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
		$9::bigint[], $10::smallint[], $11::smallint[], $12::numeric[], $13::numeric[])
	ON CONFLICT (tf, symbol, start) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
		count = excluded.count, rev = excluded.rev, price_scale = excluded.price_scale, size_scale = excluded.size_scale,
		volume = excluded.volume, turnover = excluded.turnover
	WHERE (has.count, has.rev) <= (excluded.count, excluded.rev)`

// arrays is a batch by columns.
type arrays struct {
	tf                                          []string
	symbol                                      []int32
	start, open, high, low, closes, counts, rev []int64
	price, size                                 []int16
	volume, turnover                            []pgtype.Numeric
}

// Put implements [history.Store].
func (s *Store) Put(ctx context.Context, list []bars.Bar) error {
	for i := range list {
		if err := history.Check(&list[i]); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	list = newest(list)
	ids, err := s.symbols(ctx, list)
	if err != nil {
		return err
	}
	var a arrays
	for i := range list {
		a.add(&list[i], ids[list[i].Symbol.Name])
	}
	if err = s.insert(ctx, list, &a); isGone(err) {
		s.forgetParts()
		err = s.insert(ctx, list, &a)
	}
	return err
}

func (s *Store) insert(ctx context.Context, list []bars.Bar, a *arrays) error {
	want := make(map[part]*bars.Interval)
	for i := range list {
		want[partOf(&list[i])] = list[i].Interval
	}
	if err := s.ensure(ctx, want); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, upsert, a.tf, a.symbol, a.start, a.open, a.high, a.low, a.closes, a.counts, a.rev, a.price, a.size, a.volume, a.turnover)
	return err
}

func (a *arrays) add(b *bars.Bar, symbol int32) {
	a.tf, a.symbol = append(a.tf, b.Interval.Name), append(a.symbol, symbol)
	a.start, a.open, a.high = append(a.start, b.Start), append(a.open, b.Open), append(a.high, b.High)
	a.low, a.closes, a.counts = append(a.low, b.Low), append(a.closes, b.Close), append(a.counts, b.Count)
	a.rev, a.price, a.size = append(a.rev, b.Rev), append(a.price, int16(b.Symbol.PriceScale)), append(a.size, int16(b.Symbol.SizeScale))
	a.volume, a.turnover = append(a.volume, numericOf(b.Volume)), append(a.turnover, numericOf(b.Turnover))
}

// newest returns the bars in an order that is the same for all writers, so that none waits for another in a circle, and of
// those of one key the one that counts: a statement can't write a row twice.
func newest(list []bars.Bar) []bars.Bar {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b bars.Bar) int {
		return cmp.Or(cmp.Compare(a.Interval.Name, b.Interval.Name), cmp.Compare(a.Symbol.Name, b.Symbol.Name), cmp.Compare(a.Start, b.Start),
			cmp.Compare(a.Count, b.Count), cmp.Compare(a.Rev, b.Rev))
	})
	kept := sorted[:0]
	for _, b := range sorted {
		if n := len(kept); n > 0 && kept[n-1].Interval.Name == b.Interval.Name && kept[n-1].Symbol.Name == b.Symbol.Name && kept[n-1].Start == b.Start {
			kept = kept[:n-1]
		}
		kept = append(kept, b)
	}
	return kept
}

// symbols returns the ids of the symbols of bars. Those that are new get one.
func (s *Store) symbols(ctx context.Context, list []bars.Bar) (map[string]int32, error) {
	ids := make(map[string]int32)
	var missing []string
	s.mu.Lock()
	for i := range list {
		name := list[i].Symbol.Name
		if _, ok := ids[name]; ok {
			continue
		}
		if ids[name] = s.ids[name]; ids[name] == 0 {
			missing = append(missing, name)
		}
	}
	s.mu.Unlock()
	if len(missing) == 0 {
		return ids, nil
	}
	slices.Sort(missing)
	if _, err := s.pool.Exec(ctx, `INSERT INTO history_symbols (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`, missing); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `SELECT name, id FROM history_symbols WHERE name = ANY($1)`, missing)
	if err != nil {
		return nil, err
	}
	var name string
	var id int32
	_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		ids[name] = id
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	for _, name := range missing {
		s.ids[name] = ids[name]
	}
	s.mu.Unlock()
	return ids, nil
}
