// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/alert"
	"tickedge/internal/alert/storetest"
	"tickedge/internal/folder"
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
	storetest.Run(t, func(t *testing.T) storetest.Place {
		dir := t.TempDir()
		return storetest.Place{Open: func(t *testing.T) alert.Store { return opened(t, dir) }}
	})
}

func spec(symbol string) alert.Spec {
	return alert.Spec{Symbol: symbol, Condition: alert.Above, Target: alert.Whole(100), Repeat: true}
}

func created(t testing.TB, s *Store, user, key string, of alert.Spec) alert.Alert {
	t.Helper()
	a, _, err := s.Create(t.Context(), user, key, of, alert.Unknown, 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fired fires alerts, and arms them anew.
func fired(t testing.TB, s *Store, of ...alert.Alert) {
	t.Helper()
	var f []alert.Firing
	var a []alert.Arming
	for _, one := range of {
		f = append(f, alert.Firing{Alert: one.ID, Arm: one.Arm, At: 2000, Price: alert.Whole(101), By: alert.ByPrice})
		a = append(a, alert.Arming{Alert: one.ID, Arm: one.Arm, At: 3000})
	}
	taken, err := s.Fire(t.Context(), f, 2500)
	if err = errors.Join(err, s.Arm(t.Context(), a)); err != nil {
		t.Fatal(err)
	}
	for i := range taken {
		if !taken[i] {
			t.Fatalf("%+v does not fire", of[i])
		}
	}
}

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir)
	log, _ := logtest.New(t)
	if _, err := Open(Config{Dir: dir, Log: log}); err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("a folder is opened twice: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := s.List(t.Context(), alert.Query{Limit: 1})
	_, lease := s.Lease(t.Context(), "a", 1, 1)
	for _, err := range []error{err, lease, s.Delete(t.Context(), "u", 1, 1), s.Checkpoint(t.TempDir()), s.Release(t.Context(), "a")} {
		if !errors.Is(err, errClosed) {
			t.Errorf("a closed store answers %v", err)
		}
	}
}

func TestMigrations(t *testing.T) {
	log, _ := logtest.New(t)
	c := Config{Dir: t.TempDir(), Log: log}
	s := opened(t, c.Dir)
	a := created(t, s, "u", "", spec("A"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ran := 0
	next := append(append([]folder.Migration(nil), migrations...), func(db *lsm.DB) error {
		ran++
		return db.Delete(numberKey(kindAlert, a.ID), lsm.Sync)
	})
	for range 2 {
		s, err := open(c, next)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.Get(t.Context(), "u", a.ID); !errors.Is(err, alert.ErrNone) {
			t.Errorf("behind the migration: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if ran != 1 {
		t.Errorf("the migration ran %d times", ran)
	}
	if _, err := Open(c); !errors.Is(err, alert.ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
	broken := append(append([]folder.Migration(nil), next...), func(*lsm.DB) error { return errors.New("no room") })
	if _, err := open(c, broken); err == nil || !strings.Contains(err.Error(), "version 3: no room") {
		t.Errorf("a migration that fails: %v", err)
	}
}

// A copy has what was stored when it was made, and goes on from there.
func TestCheckpoint(t *testing.T) {
	s, dir := opened(t, t.TempDir()), filepath.Join(t.TempDir(), "copy")
	a := created(t, s, "u", "", spec("A"))
	fired(t, s, a)
	if err := s.Checkpoint(dir); err != nil {
		t.Fatal(err)
	}
	created(t, s, "u", "", spec("B"))
	if err := s.Checkpoint(dir); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a copy over a copy: %v", err)
	}
	_, mark, _, err := s.Changes(t.Context(), []int{1}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir)
	got, err := s.List(t.Context(), alert.Query{Limit: 10})
	if err != nil || len(got) != 1 || got[0].Last.Number != 1 || got[0].Arm != 2 {
		t.Fatalf("the copy has %+v, %v", got, err)
	}
	if _, _, _, err := s.Changes(t.Context(), []int{1}, mark, 10); err == nil || !strings.Contains(err.Error(), "empty one") {
		t.Errorf("a mark of what the copy does not have: %v", err)
	}
	if b := created(t, s, "u", "", spec("B")); b.ID != a.ID+1 {
		t.Errorf("the next alert is %d", b.ID)
	}
}

// count returns how many keys there are of a kind.
func count(t *testing.T, s *Store, kind byte) (n int) {
	t.Helper()
	err := s.view(t.Context(), func(v *view) error {
		return v.scan([]byte{kind}, behind([]byte{kind}), func(_, _ []byte) (bool, error) {
			n++
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// However often alerts change, what finds them does not grow, and all of it goes with them.
func TestIndexesDoNotGrow(t *testing.T) {
	s, ctx := opened(t, t.TempDir()), t.Context()
	ends := spec("A")
	ends.Expires = 9000
	a, b := created(t, s, "u", "k", ends), created(t, s, "u", "", ends)
	for i := range int64(20) {
		var err error
		ends.Expires = 9000 + i
		if a, err = s.Change(ctx, "u", a.ID, a.Arm, ends, 0, 1, 9); err != nil {
			t.Fatal(err)
		}
	}
	fired(t, s, b)
	want := func(what string, of map[byte]int) {
		t.Helper()
		for kind, n := range of {
			if got := count(t, s, kind); got != n {
				t.Errorf("%s: %d keys of the kind %d, want %d", what, got, kind, n)
			}
		}
	}
	want("two alerts", map[byte]int{kindAlert: 2, kindOfUser: 2, kindAlive: 2, kindChange: 2, kindExpires: 2, kindDeleted: 0, kindFiring: 1,
		kindUser: 1, kindUnpublished: 1, kindKey: 1, kindKeyAt: 1})
	if _, err := s.Expire(ctx, 9000, 9); err != nil {
		t.Fatal(err)
	}
	want("one has expired", map[byte]int{kindAlive: 1, kindExpires: 1, kindOfUser: 2, kindChange: 2})
	err := errors.Join(s.Delete(ctx, "u", a.ID, 5000), s.Delete(ctx, "u", b.ID, 6000),
		s.Published(ctx, []alert.Publication{{User: "u", Number: 1 << 40}}))
	if err != nil {
		t.Fatal(err)
	}
	want("both are deleted", map[byte]int{kindAlert: 2, kindOfUser: 0, kindAlive: 0, kindChange: 2, kindExpires: 0, kindDeleted: 2,
		kindUnpublished: 0})
	if n, err := s.Trim(ctx, 0, 6000, 100); n != 3 || err != nil {
		t.Errorf("%d went, %v", n, err)
	}
	want("the first is gone", map[byte]int{kindAlert: 1, kindChange: 1, kindDeleted: 1, kindFiring: 0, kindKey: 0, kindKeyAt: 0})
	if n, err := s.Trim(ctx, 0, 6001, 100); n != 1 || err != nil {
		t.Errorf("%d went, %v", n, err)
	}
	want("both are gone", map[byte]int{kindAlert: 0, kindChange: 0, kindDeleted: 0, kindUser: 1})
	// Neither IDs nor numbers nor marks begin anew.
	c := created(t, s, "u", "", spec("A"))
	fired(t, s, c)
	news, err := s.Unpublished(ctx, 10)
	if err != nil || c.ID != 3 || len(news) != 1 || news[0].Number != 2 || len(news[0].Fired) != 1 {
		t.Errorf("the next is %d, with the news %+v, %v", c.ID, news, err)
	}
}

// Users and numbers are kept apart whatever the bytes of their names.
func TestUsersAreApart(t *testing.T) {
	s := opened(t, t.TempDir())
	users := []string{"a", "aa", "a ", "b", strings.Repeat("b", 255), "ÿ"}
	for _, u := range users {
		fired(t, s, created(t, s, u, "key", spec("A")))
	}
	for _, u := range users {
		got, err := s.List(t.Context(), alert.Query{User: u, Limit: 10})
		f, number, err2 := s.Firings(t.Context(), u, 0, 10)
		err = errors.Join(err, err2)
		if err != nil || len(got) != 1 || got[0].User != u || number != 1 || len(f) != 1 || f[0].Alert != got[0].ID {
			t.Errorf("%q: %+v, %d firings of %d, %v", u, got, len(f), number, err)
		}
	}
	if news, err := s.Unpublished(t.Context(), 100); len(news) != len(users) || err != nil {
		t.Errorf("the news: %+v %v", news, err)
	}
	for _, u := range []string{"", strings.Repeat("b", 256)} {
		if _, _, err := s.Create(t.Context(), u, "", spec("A"), 0, 1, 9); err == nil {
			t.Errorf("a user of %d bytes has an alert", len(u))
		}
	}
	if got, err := s.List(t.Context(), alert.Query{User: strings.Repeat("b", 256+1), Limit: 10}); len(got) != 0 || err != nil {
		t.Errorf("a name that is too long has %+v, %v", got, err)
	}
}

// A Trim goes on behind the user at whom the one before it stopped, and comes to all.
func TestTrimGoesAround(t *testing.T) {
	s := opened(t, t.TempDir())
	for _, u := range []string{"a", "b", "c"} {
		a := created(t, s, u, "", spec("A"))
		for range 4 {
			fired(t, s, a)
			a.Arm++
		}
	}
	for i, want := range []int{4, 4, 1, 0, 0} {
		if n, err := s.Trim(t.Context(), 1, 0, 4); n != want || err != nil {
			t.Errorf("at %d: %d went, %v", i, n, err)
		}
	}
	b, err := s.List(t.Context(), alert.Query{User: "a", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	fired(t, s, b...)
	s.next = userKey(kindUser, "b") // As if it had stopped there.
	if n, err := s.Trim(t.Context(), 1, 0, 4); n != 1 || err != nil {
		t.Errorf("of those before: %d went, %v", n, err)
	}
}

// What an idempotency key made may be gone, by a clock that was set back: then it is as new.
func TestKeyOfWhatIsGone(t *testing.T) {
	s, ctx := opened(t, t.TempDir()), t.Context()
	a := created(t, s, "u", "k", spec("A"))
	if err := s.Delete(ctx, "u", a.ID, 10); err != nil {
		t.Fatal(err)
	}
	if b, is, err := s.Create(ctx, "u", "k", spec("A"), 0, 1500, 9); is || b.State != alert.Deleted || err != nil {
		t.Errorf("of a deleted one: %+v %v %v", b, is, err)
	}
	if n, err := s.Trim(ctx, 9, 20, 9); n != 1 || err != nil {
		t.Fatalf("%d went, %v", n, err)
	}
	if b, is, err := s.Create(ctx, "u", "k", spec("A"), 0, 1500, 9); !is || b.ID <= a.ID || err != nil {
		t.Errorf("of one that is gone: %+v %v %v", b, is, err)
	}
	if n := count(t, s, kindKeyAt); n != 1 {
		t.Errorf("%d times of keys", n)
	}
}

func TestMarks(t *testing.T) {
	s := opened(t, t.TempDir())
	for _, m := range []string{
		"x", "1,2", "1,2,3,4", "1,x,3", "1,2,x", "-1", "1,2,-1", " 1", "9223372036854775808", "0,0,9223372036854775807",
	} {
		if _, _, _, err := s.Changes(t.Context(), nil, m, 1); err == nil || !strings.Contains(err.Error(), "empty one") {
			t.Errorf("%q is a mark: %v", m, err)
		}
	}
	for _, b := range []int{-1, alert.Buckets} {
		_, _, _, err := s.Changes(t.Context(), []int{b}, "", 1)
		_, err2 := s.Positions(t.Context(), []int{b})
		if !errors.Is(err, errBucket) || !errors.Is(err2, errBucket) {
			t.Errorf("%d is a bucket: %v %v", b, err, err2)
		}
	}
	// What changes in other buckets is passed over, once.
	var other int
	for range 5 {
		other = alert.Bucket(created(t, s, "u", "", spec("A")).Symbol)
	}
	all, mark, more, err := s.Changes(t.Context(), []int{(other + 1) % alert.Buckets}, "0", 1)
	if len(all) != 0 || mark != "5" || more || err != nil {
		t.Errorf("of another bucket: %+v %q %v %v", all, mark, more, err)
	}
	// More holds only if there are others.
	if all, mark, more, err = s.Changes(t.Context(), []int{other}, "0", 5); len(all) != 5 || mark != "5" || more || err != nil {
		t.Errorf("all five: %d %q %v %v", len(all), mark, more, err)
	}
	if all, mark, more, err = s.Changes(t.Context(), []int{other, other}, "", 4); len(all) != 4 || !more || err != nil {
		t.Fatalf("four of five: %d %q %v %v", len(all), mark, more, err)
	}
	if all, mark, more, err = s.Changes(t.Context(), []int{other}, mark, 1); len(all) != 1 || mark != "5" || more || err != nil {
		t.Errorf("the fifth: %d %q %v %v", len(all), mark, more, err)
	}
}

// On a disk that is nearly full nothing is written, what there is can be read, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	free := uint64(folder.PutRoom)
	s, err := open(Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), free: func(string) (uint64, bool) { return free, true }}, migrations)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	create := func() (alert.Alert, error) {
		a, _, err := s.Create(t.Context(), "u", "", alert.Spec{Symbol: "A", Condition: alert.Above, Target: alert.Whole(1)}, 0, 1, 10)
		return a, err
	}
	a, err := create()
	if err != nil {
		t.Fatal(err)
	}
	free--
	if _, err := create(); err == nil || !strings.Contains(err.Error(), "has 63 MiB left, want 64: make room there") {
		t.Errorf("on a full disk: %v", err)
	}
	if got, err := s.Get(t.Context(), "u", a.ID); err != nil || got != a {
		t.Errorf("on a full disk there is %+v, %v", got, err)
	}
	free++
	if _, err := create(); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}
