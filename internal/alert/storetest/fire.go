// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"slices"
	"strings"

	"tickedge/internal/alert"
)

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
	s.republish()
}

// republish has the news of users published again, one user at a time.
func (s *suite) republish() {
	s.create("nothing", above("A", "1"))
	s.no(s.Published(s.ctx, []alert.Publication{{User: "u", Number: alert.NewsMax + 3}, {User: "v", Number: 1}}))
	seen := make(map[string]bool)
	last := ""
	for range 3 {
		var err error
		last, err = s.Republish(s.ctx, last, 1)
		s.no(err)
		seen[last] = true
	}
	s.same("who is told again, one by one", seen, map[string]bool{"u": true, "v": true, "": true})
	if news, err := s.Unpublished(s.ctx, 10); len(news) != 2 || err != nil {
		s.Errorf("told again: %+v %v", news, err)
	}
	s.no(s.Published(s.ctx, []alert.Publication{{User: "u", Number: alert.NewsMax + 3}, {User: "v", Number: 1}}))
	if news, err := s.Unpublished(s.ctx, 10); len(news) != 0 || err != nil {
		s.Errorf("behind that: %+v %v", news, err)
	}
}
