// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"tickedge/internal/alert"
)

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
	lease("a", 1700)
	c, a = lease("c", 1700), lease("a", 1800)
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
