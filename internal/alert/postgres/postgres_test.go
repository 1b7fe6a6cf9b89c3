// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"tickedge/internal/alert"
	"tickedge/internal/alert/storetest"
	"tickedge/internal/pgtest"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPostgres(t *testing.T) {
	server := pgtest.New(t)
	t.Run("store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Place {
			url := server.Database(t)
			return storetest.Place{Shared: true, Open: func(t *testing.T) alert.Store { return open(t, url) }}
		})
	})
	for name, test := range map[string]func(*testing.T, string){
		"two at once": twoAtOnce, "newer": newer, "late commit": lateCommit, "restored": restored,
	} {
		t.Run(name, func(t *testing.T) { test(t, server.Database(t)) })
	}
}

func twoAtOnce(t *testing.T, url string) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(t.Context(), Config{URL: url, Log: quiet})
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

func newer(t *testing.T, url string) {
	s := open(t, url)
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO alert_migrations (version_id, is_applied) VALUES (999, true)`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), Config{URL: url, Log: quiet}); !errors.Is(err, alert.ErrNewer) {
		t.Errorf("a newer database: %v", err)
	}
}

var buckets = func() (all []int) {
	for b := range alert.Buckets {
		all = append(all, b)
	}
	return all
}()

// lateCommit has a transaction end that has begun before changes were read: what it did comes with the next ones.
func lateCommit(t *testing.T, url string) {
	s := open(t, url)
	defer s.Close()
	create := func() alert.Alert {
		a, _, err := s.Create(t.Context(), "u", "", alert.Spec{Symbol: "A", Condition: alert.Above, Target: alert.Whole(1)}, 0, 1, 100)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := create()
	late, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Exec(t.Context(), `UPDATE alerts SET state = 'deleted', changed = pg_current_xact_id() WHERE id = $1`, a.ID); err != nil {
		t.Fatal(err)
	}
	mark := ""
	for range 3 {
		create()
		if _, mark, _, err = s.Changes(t.Context(), buckets, mark, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, mark, _, err := s.Changes(t.Context(), buckets, mark, 100)
	if err != nil {
		t.Fatal(err)
	}
	has := false
	for _, f := range found {
		has = has || f.ID == a.ID && f.State == alert.Deleted
	}
	if !has {
		t.Errorf("what was committed late did not come: %+v", found)
	}
	if _, _, _, err = s.Changes(t.Context(), buckets, "x", 1); err == nil || !strings.Contains(err.Error(), "no mark") {
		t.Errorf("a mark that is none: %v", err)
	}
	_ = mark
}

// restored has a database whose transactions are ahead of its server, as a restored one may be.
func restored(t *testing.T, url string) {
	s := open(t, url)
	if _, _, err := s.Create(t.Context(), "u", "", alert.Spec{Symbol: "A", Condition: alert.Above, Target: alert.Whole(1)}, 0, 1, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE alerts SET changed = '999999999999'::xid8`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, url)
	defer s.Close()
	_, mark, _, err := s.Changes(t.Context(), buckets, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `CREATE TABLE other AS SELECT pg_current_xact_id()::text`); err != nil { // Time goes on.
		t.Fatal(err)
	}
	_, mark, _, err = s.Changes(t.Context(), buckets, mark, 100)
	if err != nil {
		t.Fatal(err)
	}
	if found, _, _, err := s.Changes(t.Context(), buckets, mark, 100); len(found) != 0 || err != nil {
		t.Errorf("it is read again and again: %+v %v", found, err)
	}
}

func TestErrorsHaveNoPassword(t *testing.T) {
	for _, url := range []string{"postgres://u:secret@127.0.0.1:1/db", "postgres://u:secret@127.0.0.1:x/db", "postgres://u:secret@%zz"} {
		_, err := Open(context.Background(), Config{URL: url, Log: quiet})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}
