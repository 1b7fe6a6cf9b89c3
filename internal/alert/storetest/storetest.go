// SPDX-License-Identifier: Apache-2.0

// Package storetest is what every [alert.Store] has to fulfil. It is for tests alone.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"tickedge/internal/alert"
)

// Place is where a store is, empty at first. Open opens it; several times at once if Shared holds, and else after it was closed.
type Place struct {
	Open   func(t *testing.T) alert.Store
	Shared bool
}

// Run tests the stores of places, a new one each time.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"a life", (*suite).life},
		{"keys", (*suite).keys},
		{"quota", (*suite).quota},
		{"lists", (*suite).lists},
		{"firings", (*suite).firings},
		{"arming", (*suite).arming},
		{"expiry", (*suite).expiry},
		{"news", (*suite).news},
		{"changes", (*suite).changes},
		{"pages of changes", (*suite).pages},
		{"positions", (*suite).positions},
		{"leases", (*suite).leases},
		{"trim", (*suite).trim},
		{"races", (*suite).races},
		{"an end", (*suite).ends},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := place(t)
			s := &suite{T: t, place: p}
			s.open()
			t.Cleanup(func() { _ = s.Store.Close() })
			c.test(s)
		})
	}
}

type suite struct {
	*testing.T
	alert.Store
	place Place
	ctx   context.Context
}

func (s *suite) open() {
	s.ctx = s.T.Context()
	s.Store = s.place.Open(s.T)
}

func (s *suite) reopen() {
	s.no(s.Store.Close())
	s.open()
}

func (s *suite) no(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("the error is %v, want %v", err, want)
	}
}

const lots = 1 << 30

// all is every bucket.
var all = func() (of []int) {
	for b := range alert.Buckets {
		of = append(of, b)
	}
	return of
}()

func num(text string) alert.Num {
	n, err := alert.ParseNum(text)
	if err != nil {
		panic(err)
	}
	return n
}

func above(symbol, price string) alert.Spec {
	return alert.Spec{Symbol: symbol, Condition: alert.Above, Target: num(price)}
}

// create stores an alert of a user.
func (s *suite) create(user string, spec alert.Spec) alert.Alert {
	s.Helper()
	a, created, err := s.Create(s.ctx, user, "", spec, alert.Unknown, 1000, lots)
	s.no(err)
	if !created {
		s.Error("it was not created")
	}
	return a
}

// fire fires alerts once each, and returns which were taken.
func (s *suite) fire(of ...alert.Alert) []bool {
	s.Helper()
	var f []alert.Firing
	for _, a := range of {
		f = append(f, alert.Firing{Alert: a.ID, Arm: a.Arm, At: 2000, Price: num("150.25"), By: alert.ByPrice})
	}
	taken, err := s.Fire(s.ctx, f, 3000)
	s.no(err)
	return taken
}

func (s *suite) get(a alert.Alert) alert.Alert {
	s.Helper()
	got, err := s.Get(s.ctx, a.User, a.ID)
	s.no(err)
	return got
}

func (s *suite) same(what string, got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Errorf("%s:\n%+v, want\n%+v", what, got, want)
	}
}

func (s *suite) life() {
	spec := alert.Spec{Symbol: "BTC-USD", Condition: alert.Crosses, Target: num("0.000000000001"), Repeat: true, Hysteresis: num("0.5"),
		Expires: 99_000, Note: "ä 'quoted\" \\"}
	user := "auth0|" + strings.Repeat("x", 240)
	a, created, err := s.Create(s.ctx, user, "", spec, alert.OverTarget, 1000, lots)
	s.no(err)
	want := alert.Alert{ID: a.ID, User: user, Spec: spec, State: alert.Active, Created: 1000, Arm: 1, Armed: 1000, Side: alert.OverTarget}
	if !created || a.ID <= 0 {
		s.Errorf("created: %v, ID %d", created, a.ID)
	}
	s.same("what was created", a, want)
	s.reopen()
	s.same("what is read", s.get(a), want)
	_, err = s.Get(s.ctx, "other", a.ID)
	s.is(err, alert.ErrNone)
	_, err = s.Get(s.ctx, user, a.ID+1)
	s.is(err, alert.ErrNone)

	spec = alert.Spec{Symbol: "BTC-USD", Condition: alert.Falls, Percent: num("5"), Window: alert.Windows[1]}
	_, err = s.Change(s.ctx, "other", a.ID, 1, spec, 0, 2000, lots)
	s.is(err, alert.ErrNone)
	_, err = s.Change(s.ctx, user, a.ID, 2, spec, 0, 2000, lots)
	s.is(err, alert.ErrState)
	if _, err = s.Change(s.ctx, user, a.ID, 1, above("ETH-USD", "1"), 0, 2000, lots); err == nil {
		s.Error("the symbol was changed")
	}
	b, err := s.Change(s.ctx, user, a.ID, 1, spec, alert.Unknown, 2000, lots)
	s.no(err)
	want.Spec, want.Arm, want.Armed, want.Side = spec, 2, 2000, alert.Unknown
	s.same("what was changed", b, want)
	s.same("what is read", s.get(a), want)

	s.is(s.Delete(s.ctx, "other", a.ID, 3000), alert.ErrNone)
	s.no(s.Delete(s.ctx, user, a.ID, 3000))
	s.is(s.Delete(s.ctx, user, a.ID, 3000), alert.ErrNone)
	_, err = s.Get(s.ctx, user, a.ID)
	s.is(err, alert.ErrNone)
	_, err = s.Change(s.ctx, user, a.ID, 2, spec, 0, 4000, lots)
	s.is(err, alert.ErrNone)
	if taken := s.fire(b); taken[0] {
		s.Error("a deleted alert fired")
	}
	if next := s.create(user, spec); next.ID <= a.ID {
		s.Errorf("the ID %d comes after %d", next.ID, a.ID)
	}
}

func (s *suite) keys() {
	spec := above("AAPL", "150")
	a, created, err := s.Create(s.ctx, "u", "key", spec, 0, 1000, lots)
	s.no(err)
	if !created {
		s.Error("it was not created")
	}
	s.reopen()
	b, created, err := s.Create(s.ctx, "u", "key", spec, 0, 2000, 1) // The quota is for new ones.
	s.no(err)
	if created || b.ID != a.ID || b.Created != 1000 {
		s.Errorf("the second time: %v %+v", created, b)
	}
	s.fire(a)
	if b, _, err = s.Create(s.ctx, "u", "key", spec, 0, 2000, lots); err != nil || b.State != alert.Fired {
		s.Errorf("behind the firing: %+v %v", b, err)
	}
	_, _, err = s.Create(s.ctx, "u", "key", above("AAPL", "151"), 0, 2000, lots)
	s.is(err, alert.ErrKey)
	c, created, err := s.Create(s.ctx, "other", "key", spec, 0, 2000, lots)
	if err != nil || !created || c.ID == a.ID {
		s.Errorf("another user's: %+v %v %v", c, created, err)
	}
}

func (s *suite) quota() {
	a := s.create("u", above("A", "1"))
	b, _, err := s.Create(s.ctx, "u", "", above("A", "2"), 0, 1000, 2)
	s.no(err)
	_, _, err = s.Create(s.ctx, "u", "k", above("A", "3"), 0, 1000, 2)
	s.is(err, alert.ErrQuota)
	_, _, err = s.Create(s.ctx, "other", "", above("A", "3"), 0, 1000, 1)
	s.no(err)
	s.fire(a)
	c, _, err := s.Create(s.ctx, "u", "k", above("A", "3"), 0, 1000, 2)
	s.no(err)
	_, err = s.Change(s.ctx, "u", a.ID, 1, above("A", "5"), 0, 1000, 2)
	s.is(err, alert.ErrQuota)
	_, err = s.Change(s.ctx, "u", c.ID, 1, above("A", "5"), 0, 1000, 2) // It counts already.
	s.no(err)
	s.no(s.Delete(s.ctx, "u", b.ID, 1))
	_, err = s.Change(s.ctx, "u", a.ID, 1, above("A", "5"), 0, 1000, 2)
	s.no(err)
	_, _, err = s.Create(s.ctx, "u", "", above("A", "3"), 0, 1000, 2)
	s.is(err, alert.ErrQuota)
	if n, err := s.Expire(s.ctx, 5000, 10); n != 0 || err != nil {
		s.Errorf("%d expired, %v", n, err)
	}
}

func ids(of []alert.Alert) (all []int64) {
	for _, a := range of {
		all = append(all, a.ID)
	}
	return all
}

func (s *suite) lists() {
	var of []int64
	for i := range 6 {
		a := s.create([]string{"u", "v"}[i%2], above([]string{"A", "B"}[i/3], "1"))
		of = append(of, a.ID)
		if i == 2 {
			s.fire(a)
		}
		if i == 5 {
			s.no(s.Delete(s.ctx, a.User, a.ID, 1))
		}
	}
	for _, c := range []struct {
		q    alert.Query
		want []int
	}{
		{alert.Query{Limit: 10}, []int{0, 1, 2, 3, 4}},
		{alert.Query{Limit: 2}, []int{0, 1}},
		{alert.Query{Limit: 2, After: of[1]}, []int{2, 3}},
		{alert.Query{User: "u", Limit: 10}, []int{0, 2, 4}},
		{alert.Query{User: "u", Active: true, Limit: 10}, []int{0, 4}},
		{alert.Query{User: "u", Active: true, After: of[0], Limit: 10}, []int{4}},
		{alert.Query{Symbol: "A", Limit: 10}, []int{0, 1, 2}},
		{alert.Query{User: "v", Symbol: "B", Limit: 10}, []int{3}},
		{alert.Query{User: "w", Limit: 10}, nil},
	} {
		got, err := s.List(s.ctx, c.q)
		s.no(err)
		var want []int64
		for _, i := range c.want {
			want = append(want, of[i])
		}
		if !slices.Equal(ids(got), want) {
			s.Errorf("%+v: %v, want %v", c.q, ids(got), want)
		}
	}
}

func (s *suite) firings() {
	once, again := s.create("u", above("A", "1")), s.create("u", alert.Spec{Symbol: "A", Condition: alert.Crosses, Target: num("1"), Repeat: true})
	other := s.create("v", alert.Spec{Symbol: "A", Condition: alert.Above, Target: num("2"), Expires: 2000})
	stale := alert.Alert{ID: once.ID, Arm: 2}
	if taken := s.fire(stale, again, other, once, once, alert.Alert{ID: lots, Arm: 1}); !slices.Equal(taken, []bool{false, true, false, true, false, false}) {
		s.Errorf("taken: %v", taken)
	}
	if taken := s.fire(once, again); taken[0] || taken[1] {
		s.Errorf("they fired twice: %v", taken)
	}
	s.reopen()
	want := once
	want.State, want.Last = alert.Fired, alert.Firing{Number: 2, Alert: once.ID, Arm: 1, At: 2000, Price: num("150.25"), By: alert.ByPrice, Stored: 3000}
	s.same("what fired once", s.get(once), want)
	want = again
	want.State, want.Last = alert.Waiting, alert.Firing{Number: 1, Alert: again.ID, Arm: 1, At: 2000, Price: num("150.25"), By: alert.ByPrice, Stored: 3000}
	s.same("what repeats", s.get(again), want)
	f, number, err := s.Firings(s.ctx, "u", 0, 10)
	s.no(err)
	s.same("the firings", f, []alert.NewsItem{{Firing: s.get(again).Last, Spec: again.Spec}, {Firing: s.get(once).Last, Spec: once.Spec}})
	if number != 2 {
		s.Errorf("the newest number is %d", number)
	}
	f, number, err = s.Firings(s.ctx, "u", 1, 10)
	if len(f) != 1 || f[0].Number != 2 || number != 2 || err != nil {
		s.Errorf("after 1: %+v %d %v", f, number, err)
	}
	f, number, err = s.Firings(s.ctx, "u", 2, 10)
	if len(f) != 0 || number != 2 || err != nil {
		s.Errorf("after 2: %+v %d %v", f, number, err)
	}
	f, number, err = s.Firings(s.ctx, "u", 0, 1)
	if len(f) != 1 || f[0].Number != 1 || number != 2 || err != nil {
		s.Errorf("one: %+v %d %v", f, number, err)
	}
	f, number, err = s.Firings(s.ctx, "nobody", 0, 10)
	if len(f) != 0 || number != 0 || err != nil {
		s.Errorf("nobody's: %+v %d %v", f, number, err)
	}
	// A change behind the firing arms it anew, and the firing keeps what it was of.
	changed, err := s.Change(s.ctx, "u", once.ID, 1, above("A", "7"), 0, 4000, lots)
	s.no(err)
	if taken := s.fire(changed); !taken[0] {
		s.Error("what was changed does not fire")
	}
	f, _, err = s.Firings(s.ctx, "u", 1, 10)
	if len(f) != 2 || f[0].Spec.Target != num("1") || f[1].Spec.Target != num("7") || err != nil {
		s.Errorf("behind the change: %+v %v", f, err)
	}
}

func (s *suite) arming() {
	repeats := alert.Spec{Symbol: "A", Condition: alert.Crosses, Target: num("1"), Repeat: true}
	a, b, c := s.create("u", repeats), s.create("u", repeats), s.create("u", repeats)
	s.fire(a, b)
	s.no(s.Arm(s.ctx, []alert.Arming{
		{Alert: a.ID, Arm: 1, At: 5000, Side: alert.UnderTarget},
		{Alert: b.ID, Arm: 2, At: 5000, Side: alert.UnderTarget},
		{Alert: c.ID, Arm: 1, At: 5000, Side: alert.OverTarget},
	}))
	got := s.get(a)
	if got.State != alert.Active || got.Arm != 2 || got.Armed != 5000 || got.Side != alert.UnderTarget || got.Last.Number != 1 {
		s.Errorf("what waited is %+v", got)
	}
	if got := s.get(b); got.State != alert.Waiting || got.Arm != 1 {
		s.Errorf("what another generation was named of is %+v", got)
	}
	if got := s.get(c); got.Arm != 1 || got.Armed != 1000 || got.Side != alert.OverTarget {
		s.Errorf("what was active is %+v", got)
	}
	s.no(s.Arm(s.ctx, []alert.Arming{{Alert: a.ID, Arm: 1, At: 6000, Side: alert.OverTarget}, {Alert: c.ID, Arm: 1, At: 6000, Side: alert.UnderTarget}}))
	if got := s.get(a); got.Arm != 2 || got.Armed != 5000 || got.Side != alert.UnderTarget {
		s.Errorf("armed twice it is %+v", got)
	}
	if got := s.get(c); got.Side != alert.OverTarget {
		s.Errorf("a side that is known became %+v", got)
	}
	if taken := s.fire(got); !taken[0] {
		s.Error("it does not fire again")
	}
	if got := s.get(a); got.Last.Number != 3 || got.Last.Arm != 2 || got.State != alert.Waiting {
		s.Errorf("fired again it is %+v", got)
	}
}

func (s *suite) expiry() {
	spec := above("A", "1")
	spec.Expires = 5000
	a, b := s.create("u", spec), s.create("u", above("A", "1"))
	spec.Expires = 6000
	c := s.create("u", spec)
	for range 3 {
		s.create("v", alert.Spec{Symbol: "A", Condition: alert.Above, Target: num("2"), Expires: 4000})
	}
	if n, err := s.Expire(s.ctx, 3999, 10); n != 0 || err != nil {
		s.Errorf("%d expired, %v", n, err)
	}
	if n, err := s.Expire(s.ctx, 5000, 2); n != 2 || err != nil {
		s.Errorf("%d expired, %v", n, err)
	}
	if n, err := s.Expire(s.ctx, 5000, 10); n != 2 || err != nil {
		s.Errorf("%d expired, %v", n, err)
	}
	if n, err := s.Expire(s.ctx, 5000, 10); n != 0 || err != nil {
		s.Errorf("%d expired, %v", n, err)
	}
	if x, y, z := s.get(a).State, s.get(b).State, s.get(c).State; x != alert.Expired || y != alert.Active || z != alert.Active {
		s.Errorf("they are %s, %s, %s", x, y, z)
	}
	after := alert.Firing{Alert: a.ID, Arm: a.Arm, At: 5000, Price: num("1"), By: alert.ByPrice}
	if taken, err := s.Fire(s.ctx, []alert.Firing{after}, 6000); err != nil || taken[0] {
		s.Errorf("taken at its end: %v, %v", taken, err)
	}
	if taken := s.fire(a, c); !taken[0] || !taken[1] {
		s.Errorf("taken of before they expired: %v", taken)
	}
	if taken := s.fire(a); taken[0] || s.get(a).State != alert.Fired {
		s.Errorf("taken again: %v, and it is %s", taken, s.get(a).State)
	}
	repeats := alert.Spec{Symbol: "A", Condition: alert.Above, Target: num("1"), Repeat: true, Expires: 5000}
	d := s.create("u", repeats)
	s.fire(d)
	if n, err := s.Expire(s.ctx, 5000, 10); n != 1 || err != nil {
		s.Errorf("%d expired, %v", n, err)
	}
	if taken := s.fire(d); taken[0] {
		s.Error("what waited when it expired fires the same generation again")
	}
	if _, _, err := s.Create(s.ctx, "v", "", spec, 0, 1, 1); err != nil {
		s.Errorf("what has expired counts: %v", err)
	}
}

func (s *suite) news() {
	repeats := alert.Spec{Symbol: "A", Condition: alert.Above, Target: num("1"), Repeat: true}
	a, b := s.create("u", repeats), s.create("v", repeats)
	for range alert.NewsMax + 2 {
		s.fire(a)
		s.no(s.Arm(s.ctx, []alert.Arming{{Alert: a.ID, Arm: a.Arm, At: 1}}))
		a = s.get(a)
	}
	s.fire(b)
	news, err := s.Unpublished(s.ctx, 10)
	s.no(err)
	slices.SortFunc(news, func(x, y alert.News) int { return strings.Compare(x.User, y.User) })
	if len(news) != 2 || news[0].User != "u" || news[1].User != "v" || news[0].Number != alert.NewsMax+2 || len(news[0].Fired) != alert.NewsMax ||
		news[0].Fired[0].Number != 3 || news[0].Fired[alert.NewsMax-1].Number != alert.NewsMax+2 || len(news[1].Fired) != 1 ||
		news[1].Fired[0].Spec != repeats || news[1].Fired[0].Alert != b.ID {
		s.Fatalf("the news are %+v", news)
	}
	if some, err := s.Unpublished(s.ctx, 1); len(some) != 1 || err != nil {
		s.Errorf("one: %+v %v", some, err)
	}
	s.no(s.Published(s.ctx, []alert.Publication{{User: "v", Number: 1}, {User: "u", Number: 5}}))
	s.no(s.Published(s.ctx, []alert.Publication{{User: "u", Number: 4}}))
	s.reopen()
	if news, err = s.Unpublished(s.ctx, 10); len(news) != 1 || news[0].User != "u" || err != nil {
		s.Errorf("behind what was published: %+v %v", news, err)
	}
	s.no(s.Published(s.ctx, []alert.Publication{{User: "u", Number: alert.NewsMax + 2}}))
	s.no(s.Published(s.ctx, []alert.Publication{{User: "u", Number: 7}}))
	if news, err = s.Unpublished(s.ctx, 10); len(news) != 0 || err != nil {
		s.Errorf("behind all: %+v %v", news, err)
	}
	s.fire(a)
	if news, err = s.Unpublished(s.ctx, 10); len(news) != 1 || news[0].Number != alert.NewsMax+3 || err != nil {
		s.Errorf("behind another: %+v %v", news, err)
	}
}

// changed reads changes from a mark on until there are no more.
func (s *suite) changed(buckets []int, mark string, limit int) (of map[int64]alert.Alert, next string) {
	s.Helper()
	of = make(map[int64]alert.Alert)
	for more := true; more; {
		var found []alert.Alert
		var err error
		found, mark, more, err = s.Changes(s.ctx, buckets, mark, limit)
		s.no(err)
		if len(found) > limit {
			s.Fatalf("%d came, and the limit is %d", len(found), limit)
		}
		for _, a := range found {
			of[a.ID] = a
		}
	}
	return of, mark
}

func (s *suite) changes() {
	repeats := alert.Spec{Symbol: "A", Condition: alert.Crosses, Target: num("1"), Repeat: true, Expires: 9000}
	a, b, c, d, e := s.create("u", repeats), s.create("u", above("A", "1")), s.create("u", above("A", "1")), s.create("u", repeats), s.create("u", above("A", "2"))
	s.fire(d, e)
	of, mark := s.changed(all, "", 10)
	if len(of) != 4 || of[d.ID].State != alert.Waiting {
		s.Fatalf("at first: %+v", of)
	}
	s.same("what came", of[a.ID], a)
	if of, _ := s.changed([]int{alert.Bucket("A")}, "", 10); len(of) != 4 {
		s.Errorf("its bucket: %+v", of)
	}
	if of, _ := s.changed(slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n == alert.Bucket("A") }), "", 10); len(of) != 0 {
		s.Errorf("other buckets: %+v", of)
	}
	s.no(s.Delete(s.ctx, "u", b.ID, 5))
	s.no(s.Arm(s.ctx, []alert.Arming{{Alert: d.ID, Arm: 1, At: 7, Side: alert.UnderTarget}}))
	_, err := s.Change(s.ctx, "u", c.ID, 1, above("A", "5"), 0, 8, lots)
	s.no(err)
	n := s.create("u", above("A", "6"))
	of, mark = s.changed(all, mark, 10)
	if of[b.ID].State != alert.Deleted || of[d.ID].Arm != 2 || of[d.ID].State != alert.Active || of[c.ID].Target != num("5") || of[n.ID].ID != n.ID {
		s.Errorf("what changed: %+v", of)
	}
	s.fire(a)
	_, err = s.Expire(s.ctx, 9000, 10)
	s.no(err)
	if of, _ = s.changed(all, mark, 10); of[d.ID].State != alert.Expired || of[a.ID].State != alert.Expired || of[a.ID].Last.Number == 0 {
		s.Errorf("what expired: %+v", of)
	}
}

func (s *suite) pages() {
	have := make(map[int64]bool)
	for i := range 25 {
		have[s.create("u", above(fmt.Sprint("S", i%5), "1")).ID] = true
	}
	// Others come in between.
	found, mark, more, err := s.Changes(s.ctx, all, "", 10)
	s.no(err)
	if len(found) != 10 || !more {
		s.Fatalf("%d came, more: %v", len(found), more)
	}
	s.no(s.Delete(s.ctx, "u", found[0].ID, 1))
	late := s.create("u", above("S1", "2"))
	of, mark := s.changed(all, mark, 10)
	for _, a := range found {
		of[a.ID] = a
	}
	second, mark := s.changed(all, mark, 10)
	for id, a := range second {
		of[id] = a
	}
	for id := range have {
		if of[id].ID == 0 {
			s.Errorf("alert %d did not come", id)
		}
	}
	if of[late.ID].ID == 0 || of[found[0].ID].State != alert.Deleted {
		s.Errorf("what changed meanwhile: %+v %+v", of[late.ID], of[found[0].ID])
	}
	s.create("u", above("S1", "2"))
	if of, _ = s.changed(all, mark, 10); len(of) == 0 {
		s.Error("nothing came at last")
	}
}

func (s *suite) positions() {
	s.no(s.SetPositions(s.ctx, map[string]int64{"A": 5000, "B": 7000}))
	s.no(s.SetPositions(s.ctx, map[string]int64{"A": 4000, "B": 8000}))
	s.reopen()
	at, err := s.Positions(s.ctx, all)
	s.no(err)
	s.same("the positions", at, map[string]int64{"A": 5000, "B": 8000})
	if at, err = s.Positions(s.ctx, []int{alert.Bucket("B")}); err != nil || at["B"] != 8000 || len(at) != 1 {
		s.Errorf("of one bucket: %v %v", at, err)
	}
}

func (s *suite) leases() {
	const term = 1000
	lease := func(owner string, now int64) []int {
		s.Helper()
		b, err := s.Lease(s.ctx, owner, now, term)
		s.no(err)
		return b
	}
	if got := lease("a", 0); !slices.Equal(got, all) {
		s.Fatalf("one has %v", got)
	}
	if got := lease("b", 100); len(got) != 0 {
		s.Errorf("the second has %v at first", got)
	}
	a := lease("a", 200)
	b := lease("b", 300)
	if len(a) != 32 || len(b) != 32 || len(union(a, b)) != 64 {
		s.Errorf("two have %v and %v", a, b)
	}
	lease("c", 400)
	a, b = lease("a", 500), lease("b", 500)
	c := lease("c", 600)
	if len(a) > 22 || len(b) > 22 || len(union(a, b, c)) != 64 || len(a)+len(b)+len(c) != 64 {
		s.Errorf("three have %v, %v and %v", a, b, c)
	}
	// The one whose term is over is dead, and gets nothing of it back at once.
	lease("a", 1400)
	lease("c", 1400)
	a, c = lease("a", 1700), lease("c", 1700)
	a = lease("a", 1800)
	if len(union(a, c)) != 64 || len(a)+len(c) != 64 {
		s.Errorf("behind a death they have %v and %v", a, c)
	}
	if b = lease("b", 1900); len(b) != 0 {
		s.Errorf("the one that came back has %v", b)
	}
	s.no(s.Release(s.ctx, "b"))
	s.no(s.Release(s.ctx, "c"))
	if a = lease("a", 2000); len(a) != 64 {
		s.Errorf("when others have gone one has %v", a)
	}
}

func union(of ...[]int) map[int]bool {
	all := make(map[int]bool)
	for _, one := range of {
		for _, b := range one {
			all[b] = true
		}
	}
	return all
}

func (s *suite) trim() {
	repeats := alert.Spec{Symbol: "A", Condition: alert.Above, Target: num("1"), Repeat: true}
	a, _, err := s.Create(s.ctx, "u", "key", repeats, 0, 1000, lots)
	s.no(err)
	for range 7 {
		s.fire(a)
		s.no(s.Arm(s.ctx, []alert.Arming{{Alert: a.ID, Arm: a.Arm, At: 1}}))
		a = s.get(a)
	}
	gone := s.create("u", repeats)
	s.no(s.Delete(s.ctx, "u", gone.ID, 1500))
	total := 0
	for range 10 {
		n, err := s.Trim(s.ctx, 5, 1400, 1)
		s.no(err)
		if n > 1 {
			s.Errorf("%d went at once", n)
		}
		total += n
	}
	if total != 3 { // Two firings, and the key.
		s.Errorf("%d went", total)
	}
	f, number, err := s.Firings(s.ctx, "u", 0, 100)
	if len(f) != 5 || f[0].Number != 3 || number != 7 || err != nil {
		s.Errorf("what is left: %+v %d %v", f, number, err)
	}
	if _, created, err := s.Create(s.ctx, "u", "key", repeats, 0, 2000, lots); !created || err != nil {
		s.Errorf("an old key: %v %v", created, err)
	}
	if n, err := s.Trim(s.ctx, 5, 1600, 10); n != 1 || err != nil {
		s.Errorf("%d went, %v", n, err)
	}
	if taken := s.fire(a); !taken[0] || s.get(a).Last.Number != 8 {
		s.Errorf("the next is %+v", s.get(a).Last)
	}
}

// races has the same alerts fired, changed and deleted by several at once.
func (s *suite) races() {
	const users, each = 3, 20
	var of []alert.Alert
	for u := range users {
		for range each {
			of = append(of, s.create(fmt.Sprint("u", u), above("A", "1")))
		}
	}
	stores := []alert.Store{s.Store, s.Store}
	if s.place.Shared {
		stores[1] = s.place.Open(s.T)
		defer stores[1].Close()
	}
	var mu sync.Mutex
	taken := make(map[int64]int)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			order := slices.Clone(of)
			if w%2 == 1 {
				slices.Reverse(order)
			}
			for some := range slices.Chunk(order, 7) {
				var f []alert.Firing
				for _, a := range some {
					f = append(f, alert.Firing{Alert: a.ID, Arm: 1, At: 5, Price: num("1"), By: alert.ByBar})
				}
				got, err := stores[w/2].Fire(s.ctx, f, 6)
				if err != nil {
					s.Error(err)
					return
				}
				mu.Lock()
				for i := range got {
					if got[i] {
						taken[some[i].ID]++
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for range each {
			if _, _, err := stores[1].Create(s.ctx, "u1", "", above("A", "9"), 0, 1, lots); err != nil {
				s.Error(err)
			}
		}
	})
	wg.Wait()
	for _, a := range of {
		if taken[a.ID] != 1 {
			s.Errorf("alert %d was taken %d times", a.ID, taken[a.ID])
		}
	}
	for u := range users {
		f, number, err := s.Firings(s.ctx, fmt.Sprint("u", u), 0, 1000)
		s.no(err)
		if len(f) != each || number != each {
			s.Fatalf("user %d has %d firings, and the number %d", u, len(f), number)
		}
		for i := range f {
			if f[i].Number != int64(i+1) {
				s.Errorf("user %d: firing %d has the number %d", u, i, f[i].Number)
			}
		}
	}
	var created sync.Map
	for range 8 {
		wg.Go(func() {
			a, is, err := s.Create(s.ctx, "k", "key", above("A", "1"), 0, 1, 1)
			if err != nil {
				s.Error(err)
			}
			created.Store(a.ID, true)
			if is {
				created.Store("created", a.ID)
			}
		})
	}
	wg.Wait()
	n := 0
	created.Range(func(any, any) bool { n++; return true })
	if n != 2 {
		s.Errorf("a key that eight use at once made %d alerts", n-1)
	}
}

func (s *suite) ends() {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, _, err := s.Create(ctx, "u", "", above("A", "1"), 0, 1, lots); !errors.Is(err, context.Canceled) {
		s.Errorf("behind the end of its context: %v", err)
	}
	if got, err := s.List(s.ctx, alert.Query{Limit: 10}); len(got) != 0 || err != nil {
		s.Errorf("what is there: %+v %v", got, err)
	}
}
