// SPDX-License-Identifier: Apache-2.0

package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestServer stores a row, and finds it again after the server has stopped and started.
func TestServer(t *testing.T) {
	s := New(t)
	url := s.Database(t)
	if other := s.Database(t); other == url {
		t.Fatalf("two databases are %s", url)
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "CREATE TABLE a AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if err := c.Ping(t.Context()); err == nil {
		t.Error("a connection has outlived its server")
	}
	s.Start(t)
	if c, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var n int
	if err := c.QueryRow(t.Context(), "SELECT n FROM a").Scan(&n); err != nil || n != 7 {
		t.Errorf("the row is %d, %v, want 7", n, err)
	}
}
