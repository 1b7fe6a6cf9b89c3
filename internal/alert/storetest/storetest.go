// SPDX-License-Identifier: Apache-2.0

// Package storetest is what every [alert.Store] has to fulfil. It is for tests alone.
//
//	storetest.go  Run, and what users do
//	fire.go       what fires, and what users are told
//	watch.go      what those who watch prices ask, and several at once
package storetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
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
