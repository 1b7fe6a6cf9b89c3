// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

func specOf(t *testing.T, patterns, where string, top int, by string) Spec {
	t.Helper()
	var list [][]byte
	for _, p := range strings.Split(patterns, ",") {
		list = append(list, []byte(p))
	}
	spec, e := ParseSpec(list, where, top, by, nil)
	if e != nil {
		t.Fatal(e.Reason)
	}
	return spec
}

func attach(t *testing.T, r *Registry, patterns, where string, top int, by string) *View {
	t.Helper()
	v, e := r.Attach(specOf(t, patterns, where, top, by), "me", epoch)
	if e != nil {
		t.Fatal(e.Reason)
	}
	return v
}

func waitReady(t *testing.T, v *View) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !v.Ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a view is not ready")
		}
	}
}

// TestOneConditionOfFive: five clients write the same, each his own way.
func TestOneConditionOfFive(t *testing.T) {
	_, r := testRegistry(100, nil)
	var views []*View
	for _, where := range []string{"p > 5 && v == 1e6", "v == 1000000 && p > 5", "5 < p && 1000000.0 == v", "(p>5)&&(v==1e6)", "p > 5 && v == 1e6 && p > 5.0"} {
		views = append(views, attach(t, r, "b*,a:*,b:1", where, 0, ""))
	}
	if s := r.Stats(); s.Conditions != 1 || s.Screens != 1 || s.Holders != 5 {
		t.Fatalf("%+v", s)
	}
	for i, v := range views {
		r.Turn(epoch.Add(time.Hour))
		if v != views[0] || r.Stats().Screens != 1 {
			t.Fatalf("client %d has another, or it has ended", i)
		}
		r.Detach(v, "me", epoch)
	}
	r.Turn(epoch.Add(Linger - 1))
	if n := r.Stats().Screens; n != 1 {
		t.Errorf("%d screens within the linger", n)
	}
	r.Turn(epoch.Add(Linger))
	if s := r.Stats(); s.Screens != 0 || s.Conditions != 0 || r.wants("a:1") || len(r.plans) > 0 || len(r.users) > 0 {
		t.Errorf("left over: %+v", s)
	}
}

// TestLimits: each is refused with its code, counted, and nothing is left of it.
func TestLimits(t *testing.T) {
	var noCover error
	_, r := testRegistry(100, func(c *Config) {
		c.MaxScreens, c.MaxPerUser = 2, 2
		c.Cover = func([]string) error { return noCover }
	})
	try := func(who, where string, why Refusal, code int, words string) {
		t.Helper()
		before := r.Stats().Refused[why]
		v, e := r.Attach(specOf(t, "c:*", where, 0, ""), who, epoch)
		if v != nil || e == nil || e.Code != code || !strings.Contains(e.Reason, words) || r.Stats().Refused[why] != before+1 {
			t.Errorf("%v, %+v; want %d %q", v, e, code, words)
		}
	}
	noCover = errors.New("it is deaf")
	try("me", "p > 1", NoPatterns, 501, "it is deaf")
	noCover = nil
	first := attach(t, r, "a:*", "p > 1", 0, "")
	attach(t, r, "a:*", "p > 2", 0, "")
	try("me", "p > 3", TooManyOfUser, 429, "2 screens")
	try("you", "p > 3", TooManyScreens, 429, "maximum of screens")
	// Whoever has one may change it, but keeps it where the edge has no room.
	if _, e := r.Replace(first, specOf(t, "a:*", "p > 4", 0, ""), "me", epoch); e == nil || first.refs != 1 {
		t.Errorf("%+v, %d clients have it", e, first.refs)
	}
	v, e := r.Replace(first, specOf(t, "a:*", "p > 2", 0, ""), "me", epoch)
	if e != nil || v.refs != 2 || first.refs != 0 || r.users["me"] != 2 {
		t.Errorf("%+v, %d screens", e, r.users["me"])
	}
	// One that nobody has gives way.
	if v, e := r.Attach(specOf(t, "a:*", "p > 5", 0, ""), "you", epoch); e != nil || r.Stats().Screens != 2 || r.views[first.key] != nil || v.refs != 1 {
		t.Errorf("%+v, %+v", e, r.Stats())
	}
	r.cfg.MaxScreens, r.budget.share = 10, 2
	try("you", "p > 9", TooCostly, 429, "conditions of all screens")
	if _, e := r.Attach(specOf(t, "c:*", "", 3, "p"), "you", epoch); e == nil || e.Code != 429 {
		t.Errorf("a ranked one, which costs too: %+v", e)
	}
	if _, e := r.Attach(specOf(t, "c:*", "", 0, ""), "you", epoch); e != nil {
		t.Errorf("a wildcard: %s", e.Reason)
	}
}

// TestOldestGivesWay: of the screens that nobody has, the one that was given back first.
func TestOldestGivesWay(t *testing.T) {
	_, r := testRegistry(100, func(c *Config) { c.MaxScreens = 8 })
	var views []*View
	for i := range 8 {
		views = append(views, attach(t, r, "a:*", fmt.Sprintf("p > %d", i), 0, ""))
	}
	for i := range views { // Not in the order in which they came.
		r.Detach(views[(i+3)%8], "me", epoch.Add(time.Duration(i)*time.Second))
	}
	attach(t, r, "a:*", "p > 100", 0, "")
	for i, v := range views {
		if gone := r.views[v.key] == nil; gone != (i == 3) {
			t.Errorf("screen %d: gone is %t", i, gone)
		}
	}
}

// TestTooManyTopics: a cover is full at its limit, and takes topics again once some have gone. Private names count for nothing.
func TestTooManyTopics(t *testing.T) {
	table, r := testRegistry(1000, func(c *Config) { c.MaxTopics = 16 })
	v, now := attach(t, r, "*", "", 0, ""), epoch
	turn := func(d time.Duration) {
		now = now.Add(d)
		r.Turn(now)
	}
	for i := range 16 {
		publish(table, r, fmt.Sprint("a:", i), "1")
	}
	publish(table, r, "secret:1", "1")
	publish(table, r, "tickedge:1", "1")
	if r.list[0].full {
		t.Error("a name that no screen has makes it full")
	}
	publish(table, r, "a:16", "1")
	turn(settleWait)
	if _, e := r.Attach(specOf(t, "*", "p > 1", 0, ""), "me", now); v.Inside() != 16 || e == nil || e.Code != 429 || r.Stats().Refused[TooManyTopics] != 1 {
		t.Errorf("%d are inside, %+v", v.Inside(), e)
	}
	for i := range 8 {
		publish(table, r, fmt.Sprint("a:", i), topics.Delisted)
	}
	turn(sweepEvery)
	turn(listEvery)
	publish(table, r, "a:16", "1")
	if s := r.Stats(); s.Covered != 9 || v.Inside() != 9 {
		t.Errorf("%d topics, %d inside", s.Covered, v.Inside())
	}
}

// TestCoverWithASourcesLock: a source has a lock of its own while it offers topics, and takes it to cover others.
func TestCoverWithASourcesLock(t *testing.T) {
	var source sync.Mutex
	inside, locked := make(chan bool), make(chan bool)
	table, r := testRegistry(100, nil)
	attach(t, r, "a:*", "", 0, "")
	r.cfg.Cover = func([]string) error {
		inside <- true
		source.Lock()
		defer source.Unlock()
		return nil
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		source.Lock()
		close(locked)
		<-inside
		publish(table, r, "a:1", "1") // Which waits for the registry.
		source.Unlock()
	}()
	<-locked
	attach(t, r, "b:*", "", 0, "")
	<-done
}

// TestPanicInACondition costs one look at a row.
func TestPanicInACondition(t *testing.T) {
	table, r := testRegistry(100, nil)
	v := attach(t, r, "a:*", "p > 1", 0, "")
	r.Turn(epoch)
	publish(table, r, "a:1", `{"p":2}`)
	w, before := r.watches["a:1"], panics.Count(panics.Screens)
	w.plan.paths = nil
	publish(table, r, "a:1", `{"p":3}`)
	if n := panics.Count(panics.Screens) - before; n != 1 {
		t.Errorf("%d panics are counted", n)
	}
	if n := r.watches["a:1"]; v.Inside() != 1 || n != w || string(table.Row(w.id).Value()) != `{"p":3}` {
		t.Error("the tick is lost, or what was inside")
	}
}
