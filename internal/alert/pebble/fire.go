// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"

	"tickedge/internal/alert"
)

// Fire implements [alert.Store].
func (s *Store) Fire(ctx context.Context, f []alert.Firing, now int64) (taken []bool, err error) {
	for i := range f {
		if err := checkNums(f[i].Price); err != nil {
			return nil, err
		}
	}
	taken = make([]bool, len(f))
	err = s.update(ctx, func(t *tx) error {
		for i := range f {
			c, err := t.alert(f[i].Alert)
			if err != nil {
				return err
			}
			if c == nil || !mayFire(c) || c.Arm != f[i].Arm || c.Expires > 0 && c.Expires <= f[i].At {
				continue
			}
			if err := t.fire(c, f[i], now); err != nil {
				return err
			}
			taken[i] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// mayFire reports whether an alert can fire, or could before it expired.
func mayFire(c *changing) bool {
	return c.State == alert.Active || c.State == alert.Expired && c.Last.Arm != c.Arm
}

// fire stores a firing, and what it makes of its alert.
func (t *tx) fire(c *changing, f alert.Firing, now int64) error {
	of, err := t.user(c.User)
	if err != nil {
		return err
	}
	of.number++
	t.touchUser(c.User)
	f.Number, f.Stored = of.number, now
	c.State, c.Side, c.Last = alert.Fired, alert.Unknown, f
	if c.Repeat {
		c.State = alert.Waiting
	}
	t.touch(c)
	item := alert.NewsItem{Firing: f, Spec: c.Spec}
	return t.set(appendNumber(userKey(kindFiring, c.User), f.Number), appendNews(nil, &item))
}

// firing reads a firing of a user.
func (v *view) firing(user string, key, b []byte) (n alert.NewsItem, err error) {
	number, ok := lastNumber(key, len(userKey(kindFiring, user))+numberSize)
	if !ok || !parseNews(b, &n) || n.Number != number {
		return n, v.damaged("the firing %d of the user %q", number, user)
	}
	return n, nil
}

// Firings implements [alert.Store].
func (s *Store) Firings(ctx context.Context, user string, after int64, limit int) (f []alert.NewsItem, number int64, err error) {
	if len(user) > alert.UserMax {
		return nil, 0, nil
	}
	err = s.view(ctx, func(v *view) error {
		of, err := v.account(user)
		if number = of.number; err != nil || after >= number || limit <= 0 {
			return err
		}
		prefix := userKey(kindFiring, user)
		return v.scan(appendNumber(prefix, max(after, 0)+1), behind(prefix), func(key, value []byte) (bool, error) {
			n, err := v.firing(user, key, value)
			if err != nil {
				return false, err
			}
			f = append(f, n)
			return len(f) < limit, nil
		})
	})
	if err != nil {
		return nil, 0, err
	}
	return f, number, nil
}

// Unpublished implements [alert.Store].
func (s *Store) Unpublished(ctx context.Context, limit int) (all []alert.News, err error) {
	if limit <= 0 {
		return nil, nil
	}
	first := []byte{kindUnpublished}
	err = s.view(ctx, func(v *view) error {
		return v.scan(first, behind(first), func(key, _ []byte) (bool, error) {
			user, rest, ok := cutUser(key[1:])
			if !ok || len(rest) != 0 {
				return false, v.damaged("%q", key)
			}
			news, err := v.news(user)
			if err != nil {
				return false, err
			}
			all = append(all, news)
			return len(all) < limit, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// news reads what a user is to be told.
func (v *view) news(user string) (n alert.News, err error) {
	of, err := v.account(user)
	if err != nil {
		return n, err
	}
	n = alert.News{User: user, Number: of.number}
	prefix := userKey(kindFiring, user)
	from := max(of.number-alert.NewsMax, of.trimmed)
	err = v.scan(appendNumber(prefix, from+1), behind(prefix), func(key, value []byte) (bool, error) {
		f, err := v.firing(user, key, value)
		n.Fired = append(n.Fired, f)
		return true, err
	})
	return n, err
}

// Published implements [alert.Store].
func (s *Store) Published(ctx context.Context, n []alert.Publication) error {
	return s.update(ctx, func(t *tx) error {
		for _, p := range n {
			if len(p.User) > alert.UserMax {
				continue
			}
			of, err := t.user(p.User)
			if err != nil {
				return err
			}
			// No further than there are firings: those to come are not published.
			if to := min(p.Number, of.number); to > of.published {
				of.published = to
				t.touchUser(p.User)
			}
		}
		return nil
	})
}

// Positions implements [alert.Store].
func (s *Store) Positions(ctx context.Context, buckets []int) (map[string]int64, error) {
	buckets, err := distinct(buckets)
	if err != nil {
		return nil, err
	}
	at := make(map[string]int64)
	err = s.view(ctx, func(v *view) error {
		for _, b := range buckets {
			prefix := bucketKey(kindPosition, b)
			if err := v.scan(prefix, behind(prefix), func(key, value []byte) (bool, error) {
				var n int64
				if !parseNumbers(value, &n) {
					return false, v.damaged("the position of %q", key[len(prefix):])
				}
				at[string(key[len(prefix):])] = n
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return at, nil
}

// SetPositions implements [alert.Store].
func (s *Store) SetPositions(ctx context.Context, at map[string]int64) error {
	return s.update(ctx, func(t *tx) error {
		for symbol, to := range at {
			key := append(bucketKey(kindPosition, alert.Bucket(symbol)), symbol...)
			higher := true
			if err := t.get(key, func(value []byte) error {
				var has int64
				if !parseNumbers(value, &has) {
					return t.damaged("the position of %q", symbol)
				}
				higher = to > has
				return nil
			}); err != nil {
				return err
			}
			if higher {
				if err := t.set(key, appendNumbers(nil, to)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// errBucket is for callers who count otherwise than alert.Bucket does.
var errBucket = errors.New("alerts: there is no such bucket: want numbers from 0 to below alert.Buckets")

// Republish implements [alert.Store].
func (s *Store) Republish(ctx context.Context, after string, limit int) (last string, err error) {
	from := []byte{kindUser}
	if after != "" {
		from = append(userKey(kindUser, after), 0)
	}
	err = s.update(ctx, func(t *tx) error {
		last = ""
		n := 0
		return t.scan(from, behind([]byte{kindUser}), func(key, _ []byte) (bool, error) {
			user, rest, ok := cutUser(key[1:])
			if !ok || len(rest) != 0 {
				return false, t.damaged("the user %q", key)
			}
			of, err := t.user(user)
			if err != nil || n == limit {
				return false, err
			}
			if of.number > 0 {
				n, last, of.published = n+1, user, 0
				t.touchUser(user)
			}
			return true, nil
		})
	})
	return last, err
}
