// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
	"tickedge/internal/pgtest"
)

func opened(t testing.TB, url string) *Store {
	t.Helper()
	log, _ := logtest.New(t)
	s, err := Open(t.Context(), Config{URL: url, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestPostgres is one test, so that its parts share one server.
func TestPostgres(t *testing.T) {
	server := pgtest.New(t)
	t.Run("store", func(t *testing.T) {
		historytest.Store(t, func(t *testing.T) history.Store { return opened(t, server.Database(t)) })
	})
	t.Run("behind a pooler", func(t *testing.T) {
		historytest.Store(t, func(t *testing.T) history.Store { return opened(t, server.Database(t)+"&default_query_exec_mode=exec") })
	})
	t.Run("in binary", func(t *testing.T) { inBinaryOrText(t, server.Database(t)) })
	t.Run("versions", func(t *testing.T) { versions(t, server.Database(t)) })
	t.Run("writers", func(t *testing.T) { writers(t, server.Database(t)) })
	t.Run("dropped by another", func(t *testing.T) { droppedByAnother(t, server.Database(t)) })
	t.Run("restart", func(t *testing.T) { restart(t, server) })
}

// A database of an older version becomes the present one, and one of a newer version is refused.
func versions(t *testing.T, url string) {
	ctx := t.Context()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	p, err := schema.Provider(c, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(ctx))
	for _, statement := range []string{
		`INSERT INTO history_symbols (id, name) VALUES (7, 'OLD')`,
		`CREATE TABLE history_bars_1m_19700101_0 PARTITION OF history_bars FOR VALUES FROM ('1m', 0) TO ('1m', 5184000000)`,
		`INSERT INTO history_bars (tf, symbol, start, open, high, low, close, count, rev, price_scale, size_scale, volume, turnover)
			VALUES ('1m', 7, 60000, 5, 9, 2, 3, 4, 1, 2, 8, 1000000000000, 12345)`,
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	s := opened(t, url)
	got, err := s.Bars(ctx, historytest.Whole("OLD", "1m"))
	if err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "of an older version", got, []bars.Bar{{Symbol: historytest.Symbol("OLD", 2, 8), Interval: historytest.Interval("1m"), Start: 60_000,
		Open: 5, High: 9, Low: 2, Close: 3, Count: 4, Rev: 1, Volume: bars.Sum{Lo: 1e12}, Turnover: bars.Sum{Lo: 12345}, Closed: true}})
	var low, volume string
	if err := db.QueryRow(ctx, `SELECT trim_scale(low)::text, trim_scale(volume)::text FROM history`).Scan(&low, &volume); err != nil || low != "0.02" || volume != "10000" {
		t.Errorf("the view has %s and %s: %v", low, volume, err)
	}

	text, err := os.ReadFile("migrations/00001_bars.sql")
	if err != nil {
		t.Fatal(err)
	}
	newer := fstest.MapFS{"00001_bars.sql": {Data: text}, "00002_a.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")}, "00099_b.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")}}
	if p, err = schema.Provider(c, newer); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, Config{URL: url, Log: s.log}); !errors.Is(err, history.ErrNewer) || !strings.Contains(err.Error(), "version is 99") {
		t.Errorf("a newer version: %v", err)
	}
	if _, err := Open(ctx, Config{URL: "postgres://ann:verysecret@%zz", Log: s.log}); err == nil || strings.Contains(err.Error(), "verysecret") {
		t.Errorf("a URL that is wrong: %v", err)
	}
}

// Several processes open an empty database at once, and write the same bars in any order.
func writers(t *testing.T, url string) {
	const n = 4
	stores := make([]*Store, n)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			log, _ := logtest.New(t)
			s, err := Open(t.Context(), Config{URL: url, Log: log})
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	tf := historytest.Interval("1s")
	of := func(rev int64) (list []bars.Bar) {
		for _, name := range []string{"A", "B", "C"} {
			list = append(list, historytest.Run(historytest.Symbol(name, 2, 8), tf, 0, 300)...)
		}
		for i := range list {
			list[i].Rev = rev
			list[i].Count = rev
		}
		return list
	}
	for i, s := range stores {
		wg.Go(func() {
			for rev := range int64(5) {
				list := of(rev)
				if i%2 == 0 {
					for a, b := 0, len(list)-1; a < b; a, b = a+1, b-1 {
						list[a], list[b] = list[b], list[a]
					}
				}
				if err := s.Put(t.Context(), list); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		got, err := s.Bars(t.Context(), historytest.Whole("B", "1s"))
		if err != nil {
			t.Fatal(err)
		}
		historytest.Same(t, "the highest revision", got, of(4)[300:600])
		s.Close()
	}
}

// A process that has written to a partition writes to it again after another one has dropped it.
func droppedByAnother(t *testing.T, url string) {
	a, b := opened(t, url), opened(t, url)
	list := historytest.Run(historytest.Symbol("A", 2, 8), historytest.Interval("1s"), 0, 10)
	if err := a.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Trim(t.Context(), "1s", 86_400_000); n != 10 || err != nil {
		t.Fatalf("%d bars were trimmed: %v", n, err)
	}
	if parts, err := b.partsOf(t.Context(), historytest.Interval("1s"), 1e12); len(parts) != 0 || err != nil {
		t.Fatalf("there are %v: %v", parts, err)
	}
	if err := a.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	got, err := b.Bars(t.Context(), historytest.Whole("A", "1s"))
	if err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "after it was dropped", got, list)
}

// While the database is away a Put is an error, and works again when it is back.
func restart(t *testing.T, server *pgtest.Server) {
	s := opened(t, server.Database(t))
	list := historytest.Run(historytest.Symbol("A", 2, 8), historytest.Interval("1m"), 0, 100)
	if err := s.Put(t.Context(), list[:50]); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Put(ctx, list[50:]); err == nil {
		t.Error("bars are put to a database that is away")
	}
	server.Start(t)
	var err error
	for range 20 { // Connections that were cut are found one by one.
		if err = s.Put(ctx, list[50:]); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Bars(ctx, historytest.Whole("A", "1m"))
	if err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "after the restart", got, list)
}
