// SPDX-License-Identifier: Apache-2.0

// Package postgres keeps bars in PostgreSQL, 13 or newer. Several processes may write to one database, through a pooler of
// transactions too (the URL then has default_query_exec_mode=exec).
//
//	postgres.go    Store, and how it is read
//	row.go         how a row is read that comes in binary
//	put.go         how bars are written
//	partitions.go  the parts of the table, by interval and time
//	schema.go      migrations
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/trade"
)

// Config says where a store is.
type Config struct {
	// URL is that of a database: postgres://user@host/name?sslmode=verify-full. What else it may say is in the
	// documentation of pgx (pool_max_conns and others).
	URL string
	Log *slog.Logger
}

// Store is a [history.Store].
type Store struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	mu      sync.Mutex
	ids     map[string]int32  // Of symbols; what is here is in the database.
	parts   map[part]struct{} // That were there when they were looked for.
	trimmed map[string]int32  // By interval, the symbol behind which the next Trim goes on.
}

// statementTime bounds each statement, whatever the caller's context says.
const statementTime = 2 * time.Minute

// Open connects, and brings the tables to the present version. A database of a newer one is refused
// ([history.ErrNewer]). The error shows no password.
func Open(ctx context.Context, c Config) (*Store, error) {
	pool, err := schema.Open(ctx, c.URL, c.Log)
	if err != nil {
		return nil, err
	}
	return &Store{pool: pool, log: c.Log, ids: make(map[string]int32), parts: make(map[part]struct{}), trimmed: make(map[string]int32)}, nil
}

// Close implements [history.Store].
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// symbol returns the id of a symbol, 0 if it never had a bar.
func (s *Store) symbol(ctx context.Context, name string) (int32, error) {
	s.mu.Lock()
	id := s.ids[name]
	s.mu.Unlock()
	if id != 0 {
		return id, nil
	}
	err := s.pool.QueryRow(ctx, `SELECT id FROM history_symbols WHERE name = $1`, name).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.ids[name] = id
	s.mu.Unlock()
	return id, nil
}

const columns = `start, open, high, low, close, count, rev, price_scale, size_scale, volume, turnover`

// Bars implements [history.Store].
func (s *Store) Bars(ctx context.Context, q history.Query) ([]bars.Bar, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.Limit <= 0 || q.To <= max(q.From, 0) {
		return nil, nil
	}
	interval, err := bars.ParseInterval(q.Interval)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	id, err := s.symbol(ctx, q.Symbol)
	if err != nil || id == 0 {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, `SELECT `+columns+` FROM history_bars WHERE tf = $1 AND symbol = $2 AND start >= $3 AND start < $4
		ORDER BY start DESC LIMIT $5`, q.Interval, id, max(q.From, 0), q.To, q.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found, err := collect(rows, q.Symbol, interval, q.Limit)
	if err != nil {
		return nil, err
	}
	slices.Reverse(found)
	return found, nil
}

// roomMost is for how many bars there is room before they come, whatever the limit is.
const roomMost = 1024

// collect reads the bars of one series.
func collect(rows pgx.Rows, symbol string, interval *bars.Interval, limit int) (found []bars.Bar, err error) {
	row, quick := reader{name: symbol}, false
	for rows.Next() {
		if found == nil {
			found, quick = make([]bars.Bar, 0, min(limit, roomMost)), inBinary(rows)
		}
		found = append(found, bars.Bar{Interval: interval})
		b := &found[len(found)-1]
		if quick {
			err = row.readBinary(rows.RawValues(), b)
		} else {
			err = row.read(rows, b)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, rows.Err()
}

// reader reads rows of one symbol.
type reader struct {
	name  string
	last  *trade.Symbol
	price int16
	size  int16

	volume, turnover pgtype.Numeric
}

// read reads the columns of a row into a bar, behind those that are read into before.
func (r *reader) read(rows pgx.Rows, b *bars.Bar, before ...any) error {
	err := rows.Scan(append(before, &b.Start, &b.Open, &b.High, &b.Low, &b.Close, &b.Count, &b.Rev, &r.price, &r.size, &r.volume, &r.turnover)...)
	if err != nil {
		return err
	}
	ok1, ok2 := false, false
	b.Volume, ok1 = sumOf(&r.volume)
	b.Turnover, ok2 = sumOf(&r.turnover)
	if !ok1 || !ok2 {
		return r.misfit(b)
	}
	return r.finish(b)
}

// finish sets the symbol of a bar whose numbers were read.
func (r *reader) finish(b *bars.Bar) error {
	if r.price < 0 || r.price > trade.ScaleMax || r.size < 0 || r.size > trade.ScaleMax {
		return r.misfit(b)
	}
	if r.last == nil || r.last.Name != r.name || r.last.PriceScale != uint8(r.price) || r.last.SizeScale != uint8(r.size) {
		r.last = &trade.Symbol{Name: r.name, PriceScale: uint8(r.price), SizeScale: uint8(r.size)}
	}
	b.Symbol, b.Closed = r.last, true
	return nil
}

func (r *reader) misfit(b *bars.Bar) error {
	return fmt.Errorf("%s %s %d: a bar in the database has a number that does not fit", r.name, b.Interval.Name, b.Start)
}

var ten = big.NewInt(10)

func sumOf(n *pgtype.Numeric) (bars.Sum, bool) {
	if !n.Valid || n.NaN || n.InfinityModifier != pgtype.Finite || n.Int == nil || n.Exp < 0 || n.Exp > 40 || n.Int.Sign() < 0 {
		return bars.Sum{}, false
	}
	v := n.Int
	if n.Exp > 0 {
		v = new(big.Int).Exp(ten, big.NewInt(int64(n.Exp)), nil)
		v.Mul(v, n.Int)
	}
	if v.BitLen() > 128 {
		return bars.Sum{}, false
	}
	lo := v.Uint64()
	return bars.Sum{Hi: new(big.Int).Rsh(v, 64).Uint64(), Lo: lo}, true
}

func numericOf(s bars.Sum) pgtype.Numeric {
	n := new(big.Int).SetUint64(s.Lo)
	if s.Hi != 0 {
		n.Or(n, new(big.Int).Lsh(new(big.Int).SetUint64(s.Hi), 64))
	}
	return pgtype.Numeric{Int: n, Valid: true}
}

// allBatch is how many bars All gives at a time.
const allBatch = 1000

// All implements [history.Store]. It is one statement, so other processes' bars are there as of one moment too.
func (s *Store) All(ctx context.Context, f func([]bars.Bar) error) error {
	rows, err := s.pool.Query(ctx, `SELECT s.name, b.tf, `+columns+` FROM history_bars b JOIN history_symbols s ON s.id = b.symbol
		ORDER BY b.tf, b.symbol, b.start`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var batch []bars.Bar
	var row reader
	var interval *bars.Interval
	var tf string
	name := &row.name
	for rows.Next() {
		b := bars.Bar{Interval: interval}
		if interval == nil {
			b.Interval = new(bars.Interval)
		}
		if err := row.read(rows, &b, name, &tf); err != nil {
			return err
		}
		if interval == nil || interval.Name != tf {
			if interval, err = bars.ParseInterval(tf); err != nil {
				return err
			}
		}
		b.Interval = interval
		if batch = append(batch, b); len(batch) == allBatch {
			if err := f(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(batch) > 0 {
		return f(batch)
	}
	return nil
}

// Bytes returns how many bytes the bars have on the disk, indexes included.
func (s *Store) Bytes(ctx context.Context) (n int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint FROM pg_inherits
		WHERE inhparent = 'history_bars'::regclass`).Scan(&n)
	return n, err
}
