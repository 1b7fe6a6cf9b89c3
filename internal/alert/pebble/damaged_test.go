// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/alert"
)

// What is damaged is an error that names the folder, and neither an alert nor a panic.
func TestDamagedFolder(t *testing.T) {
	dir := t.TempDir()
	s, ctx := opened(t, dir), context.Background()
	a := created(t, s, "u", "k", spec("A"))
	fired(t, s, a)
	if err := s.SetPositions(ctx, map[string]int64{"A": 1}); err != nil {
		t.Fatal(err)
	}
	bucket := alert.Bucket("A")
	all := []int{bucket}
	for what, c := range map[string]struct {
		key []byte
		use func() error
	}{
		"alert":    {numberKey(kindAlert, a.ID), func() error { _, err := s.Get(ctx, "u", a.ID); return err }},
		"list":     {numberKey(kindAlert, a.ID), func() error { _, err := s.List(ctx, alert.Query{Limit: 1}); return err }},
		"delete":   {numberKey(kindAlert, a.ID), func() error { return s.Delete(ctx, "u", a.ID, 1) }},
		"user":     {userKey(kindUser, "u"), func() error { _, _, err := s.Firings(ctx, "u", 0, 1); return err }},
		"fire":     {userKey(kindUser, "u"), func() error { _, err := s.Fire(ctx, []alert.Firing{{Alert: a.ID, Arm: 2}}, 1); return err }},
		"trim":     {userKey(kindUser, "u"), func() error { _, err := s.Trim(ctx, 0, 0, 1); return err }},
		"firing":   {appendNumber(userKey(kindFiring, "u"), 1), func() error { _, _, err := s.Firings(ctx, "u", 0, 1); return err }},
		"news":     {appendNumber(userKey(kindFiring, "u"), 1), func() error { _, err := s.Unpublished(ctx, 1); return err }},
		"key":      {keyKey("u", "k"), func() error { _, _, err := s.Create(ctx, "u", "k", spec("A"), 0, 1, 9); return err }},
		"counters": {[]byte{kindCounters}, func() error { _, _, err := s.Create(ctx, "u", "", spec("A"), 0, 1, 9); return err }},
		"change":   {numberKey(kindChange, 3), func() error { _, _, _, err := s.Changes(ctx, all, "0", 1); return err }},
		"position": {append(bucketKey(kindPosition, bucket), 'A'), func() error { _, err := s.Positions(ctx, all); return err }},
		"set":      {append(bucketKey(kindPosition, bucket), 'A'), func() error { return s.SetPositions(ctx, map[string]int64{"A": 2}) }},
		"stray":    {[]byte{kindUnpublished, 9, 'x'}, func() error { _, err := s.Unpublished(ctx, 9); return err }},
		"dangling": {appendNumber(userKey(kindOfUser, "x"), 99), func() error {
			_, err := s.List(ctx, alert.Query{User: "x", Limit: 1})
			return err
		}},
		"short":    {append(bucketKey(kindAlive, bucket), 1), func() error { _, _, _, err := s.Changes(ctx, all, "", 9); return err }},
		"expiry":   {append(untilKey(kindExpires, 5), 1), func() error { _, err := s.Expire(ctx, 9, 9); return err }},
		"deleted":  {timeKey(kindDeleted, 5, a.ID), func() error { _, err := s.Trim(ctx, 9, 9, 9); return err }},
		"key time": {append(untilKey(kindKeyAt, 5), 200), func() error { _, err := s.Trim(ctx, 9, 9, 9); return err }},
	} {
		was, there := []byte(nil), false
		if v, closer, err := s.db.Get(c.key); err == nil {
			was, there = bytes.Clone(v), true
			_ = closer.Close()
		}
		put := func(v []byte, there bool) {
			err := s.db.Set(c.key, v, lsm.NoSync)
			if !there {
				err = s.db.Delete(c.key, lsm.NoSync)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		put([]byte{form, 0xff}, true)
		if err := c.use(); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
		put(was, there)
	}
	// None of that has changed anything.
	if got, err := s.Get(ctx, "u", a.ID); err != nil || got.Arm != 2 || got.Last.Number != 1 {
		t.Errorf("made whole it is %+v, %v", got, err)
	}
}

func full() row {
	price, err := alert.ParseNum("-123456789012345.000000000001")
	if err != nil {
		panic(err)
	}
	return row{deleted: -5, sequence: 1 << 50, Alert: alert.Alert{
		ID: 7, User: "auth0|x", State: alert.Deleted, Created: 1, Arm: 3, Armed: 1 << 41, Side: alert.UnderTarget,
		Spec: alert.Spec{Symbol: "X:A-B", Condition: alert.BelowAverage, Target: price, Percent: alert.Whole(3), Window: time.Hour,
			Interval: "5m", Bars: 200, Repeat: true, Hysteresis: alert.Whole(1), Expires: 1 << 42, Note: "ä\x00"},
		Last: alert.Firing{Number: 9, Alert: 7, Arm: 2, At: 1 << 41, Price: price, By: alert.ByBar, Stored: 1<<41 + 1},
	}}
}

// Values are read as they were written, and nothing that is shorter, longer or of another version is one.
func TestValues(t *testing.T) {
	r, item := full(), alert.NewsItem{Firing: full().Last, Spec: full().Spec}
	u := use{alert: 7, at: -1, spec: r.Spec}
	odd := full()
	odd.Condition, odd.State, odd.Last.By = "LATER", "paused", "oracle"
	for what, c := range map[string]struct {
		value []byte
		want  any
		parse func([]byte) (any, bool)
	}{
		"row":  {appendRow(nil, &r), r, func(b []byte) (any, bool) { var r row; ok := parseRow(b, &r); return r, ok }},
		"odd":  {appendRow(nil, &odd), odd, func(b []byte) (any, bool) { var r row; ok := parseRow(b, &r); return r, ok }},
		"news": {appendNews(nil, &item), item, func(b []byte) (any, bool) { var n alert.NewsItem; ok := parseNews(b, &n); return n, ok }},
		"use":  {appendUse(nil, &u), u, func(b []byte) (any, bool) { var u use; ok := parseUse(b, &u); return u, ok }},
		"numbers": {appendNumbers(nil, -1, 1<<62), [2]int64{-1, 1 << 62}, func(b []byte) (any, bool) {
			var n [2]int64
			ok := parseNumbers(b, &n[0], &n[1])
			return n, ok
		}},
	} {
		if got, ok := c.parse(c.value); !ok || got != c.want {
			t.Errorf("%s: %+v %v, want %+v", what, got, ok, c.want)
		}
		for n := range c.value {
			if _, ok := c.parse(c.value[:n:n]); ok {
				t.Errorf("%s: %d of %d bytes are one", what, n, len(c.value))
			}
		}
		newer := bytes.Clone(c.value)
		newer[0]++
		_, ok := c.parse(newer)
		if _, longer := c.parse(append(c.value, 0)); ok || longer {
			t.Errorf("%s: another version %v, a byte too many %v", what, ok, longer)
		}
	}
}

func FuzzParse(f *testing.F) {
	r := full()
	f.Add(appendRow(nil, &r))
	r.Last, r.Target, r.Condition = alert.Firing{}, alert.Num{}, "?"
	f.Add(appendRow(nil, &r))
	f.Fuzz(func(t *testing.T, in []byte) {
		var n alert.NewsItem
		parseNews(in, &n)
		parseUse(in, new(use))
		cutUser(in)
		var r, again row
		if !parseRow(in, &r) {
			return
		}
		if r.Last.Number == 0 {
			r.Last = alert.Firing{} // Written as none.
		}
		if !parseRow(appendRow(nil, &r), &again) || again != r {
			t.Fatalf("%+v, want %+v", again, r)
		}
	})
}

// What could not be read again is not written.
func TestNumbersThatDoNotFit(t *testing.T) {
	s, ctx := opened(t, t.TempDir()), t.Context()
	a := created(t, s, "u", "", spec("A"))
	wide := spec("A")
	wide.Target = alert.Whole(alert.NumMax)
	_, _, err := s.Create(ctx, "u", "", wide, 0, 1, 9)
	_, err2 := s.Change(ctx, "u", a.ID, 1, wide, 0, 1, 9)
	_, err3 := s.Fire(ctx, []alert.Firing{{Alert: a.ID, Arm: 1, Price: wide.Target.Neg()}}, 1)
	_, _, err4 := s.Create(ctx, "u", strings.Repeat("k", alert.KeyMax+1), spec("A"), 0, 1, 9)
	if !errors.Is(err, alert.ErrNumRange) || !errors.Is(err2, alert.ErrNumRange) || !errors.Is(err3, alert.ErrNumRange) || err4 != errKey {
		t.Errorf("they are taken: %v, %v, %v, %v", err, err2, err3, err4)
	}
	if got, err := s.List(ctx, alert.Query{Limit: 9}); len(got) != 1 || got[0] != a || err != nil {
		t.Errorf("what is there: %+v %v", got, err)
	}
}
