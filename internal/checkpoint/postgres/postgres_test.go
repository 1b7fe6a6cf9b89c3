// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tickedge/internal/checkpoint"
	"tickedge/internal/checkpoint/checkpointtest"
	"tickedge/internal/pgtest"
)

// Waits of the tests are long, as the machine may be busy.
const long = time.Minute

func mustOpen(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, long)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestPostgres(t *testing.T) {
	server := pgtest.New(t)
	t.Run("store", func(t *testing.T) {
		checkpointtest.Run(t, func(t *testing.T) func() checkpoint.Store {
			url := server.Database(t)
			return func() checkpoint.Store { return mustOpen(t, url) }
		})
	})
	t.Run("processes", func(t *testing.T) { processes(t, server.Database(t)) })
	t.Run("lock", func(t *testing.T) { waiting(t, server.Database(t)) })
	t.Run("away", func(t *testing.T) { away(t, server, server.Database(t)) })
}

// processes open the store of a database at once, and the second one that loads a key has it.
func processes(t *testing.T, url string) {
	stores := make([]*Store, 6)
	var all sync.WaitGroup
	for i := range stores {
		all.Go(func() {
			s, err := Open(t.Context(), url, long)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = s.Close() })
			stores[i] = s
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	a, b := stores[0], stores[1]
	_, epochA, _ := a.Load(t.Context(), "k")
	if err := a.Save(t.Context(), "k", epochA, []byte("a")); err != nil {
		t.Fatal(err)
	}
	state, epochB, err := b.Load(t.Context(), "k")
	if err != nil || string(state) != "a" {
		t.Fatalf("the second process has loaded %q, %v", state, err)
	}
	if err := a.Save(t.Context(), "k", epochA, []byte("late")); !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("the first process: %v, want ErrFenced", err)
	}
	if err := b.Save(t.Context(), "k", epochB, []byte("b")); err != nil {
		t.Error(err)
	}
}

// waiting is a save that waits for the row while another owner takes it over: it is refused.
func waiting(t *testing.T, url string) {
	s := mustOpen(t, url)
	_, epoch, _ := s.Load(t.Context(), "k")
	if err := s.Save(t.Context(), "k", epoch, []byte("a")); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE tickedge_checkpoints SET epoch = epoch + 1`); err != nil {
		t.Fatal(err)
	}
	saved := make(chan error, 1)
	go func() { saved <- s.Save(t.Context(), "k", epoch, []byte("late")) }()
	for blocked := 0; blocked == 0; {
		if err := tx.QueryRow(t.Context(),
			`SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&blocked); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-saved; !errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("a save that was overtaken: %v, want ErrFenced", err)
	}
}

// away is a server that ends and comes back: the store says so, and goes on by itself.
func away(t *testing.T, server *pgtest.Server, url string) {
	s := mustOpen(t, url)
	_, epoch, _ := s.Load(t.Context(), "k")
	if err := s.Save(t.Context(), "k", epoch, []byte("a")); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if err := s.Save(t.Context(), "k", epoch, []byte("b")); err == nil || errors.Is(err, checkpoint.ErrFenced) {
		t.Errorf("a save while the server is away: %v", err)
	}
	secret := strings.Replace(url, "postgres@", "postgres:sesame@", 1)
	if _, err := Open(t.Context(), secret, long); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("a store while the server is away: %v", err)
	}
	if _, err := Open(t.Context(), "postgres://u:sesame@127.0.0.1:x/", long); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("a store of a wrong URL: %v", err)
	}
	server.Start(t)
	for err := s.Save(t.Context(), "k", epoch, []byte("c")); err != nil; err = s.Save(t.Context(), "k", epoch, []byte("c")) {
		if errors.Is(err, checkpoint.ErrFenced) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	if state, _, err := s.Load(t.Context(), "k"); err != nil || string(state) != "c" {
		t.Errorf("Load returns %q, %v", state, err)
	}
}
