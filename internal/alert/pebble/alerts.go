// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"

	"tickedge/internal/alert"
)

var (
	errSymbol = errors.New("alerts: the symbol of an alert does not change: delete it, and create another")
	errKey    = fmt.Errorf("alerts: the idempotency key is too long: want at most %d bytes", alert.KeyMax)
)

// checkNums keeps out what could not be read again.
func checkNums(of ...alert.Num) error {
	limit := alert.Whole(alert.NumMax)
	for _, n := range of {
		if !n.Less(limit) || !limit.Neg().Less(n) {
			return alert.ErrNumRange
		}
	}
	return nil
}

// Create implements [alert.Store].
func (s *Store) Create(
	ctx context.Context, user, key string, spec alert.Spec, side alert.Side, now int64, quota int,
) (a alert.Alert, created bool, err error) {
	if err := errors.Join(alert.CheckUser(user), checkNums(spec.Target, spec.Percent, spec.Hysteresis)); err != nil {
		return a, false, err
	}
	if len(key) > alert.KeyMax {
		return a, false, errKey
	}
	err = s.update(ctx, func(t *tx) error {
		if key != "" {
			earlier, err := t.used(user, key, &spec)
			if err != nil {
				return err
			}
			if earlier != nil {
				a = earlier.Alert
				return nil
			}
		}
		of, err := t.user(user)
		if err != nil {
			return err
		}
		if of.alive >= int64(quota) {
			return alert.ErrQuota
		}
		t.lastID++
		c := &changing{row: row{Alert: alert.Alert{
			ID: t.lastID, User: user, Spec: spec, State: alert.Active, Created: now, Arm: 1, Armed: now, Side: side,
		}}}
		t.touch(c)
		a, created = c.Alert, true
		if key == "" {
			return nil
		}
		if err := t.set(keyKey(user, key), appendUse(nil, &use{alert: a.ID, at: now, spec: spec})); err != nil {
			return err
		}
		return t.set(keyAtKey(now, user, key), nil)
	})
	if err != nil {
		return alert.Alert{}, false, err
	}
	return a, created, nil
}

// used returns the alert that was made with an idempotency key, nil if there is none (any more).
func (t *tx) used(user, key string, spec *alert.Spec) (*changing, error) {
	var u use
	there := false
	if err := t.get(keyKey(user, key), func(b []byte) error {
		if there = parseUse(b, &u); !there {
			return t.damaged("an idempotency key of the user %q", user)
		}
		return nil
	}); err != nil || !there {
		return nil, err
	}
	if u.spec != *spec {
		return nil, alert.ErrKey
	}
	c, err := t.alert(u.alert)
	if c == nil && err == nil { // It was deleted long ago, by a clock that has been set back since.
		return nil, t.delete(keyAtKey(u.at, user, key))
	}
	return c, err
}

// Change implements [alert.Store].
func (s *Store) Change(
	ctx context.Context, user string, id, arm int64, spec alert.Spec, side alert.Side, now int64, quota int,
) (a alert.Alert, err error) {
	if err := checkNums(spec.Target, spec.Percent, spec.Hysteresis); err != nil {
		return a, err
	}
	err = s.update(ctx, func(t *tx) error {
		c, err := t.own(user, id)
		if err != nil {
			return err
		}
		switch {
		case c.Arm != arm:
			return alert.ErrState
		case c.Symbol != spec.Symbol:
			return errSymbol
		}
		of, err := t.user(user)
		if err != nil {
			return err
		}
		if !alive(&c.row) && of.alive >= int64(quota) {
			return alert.ErrQuota
		}
		c.Spec, c.State, c.Armed, c.Side = spec, alert.Active, now, side
		c.Arm++
		t.touch(c)
		a = c.Alert
		return nil
	})
	if err != nil {
		return alert.Alert{}, err
	}
	return a, nil
}

// Delete implements [alert.Store].
func (s *Store) Delete(ctx context.Context, user string, id, now int64) error {
	return s.update(ctx, func(t *tx) error {
		c, err := t.own(user, id)
		if err != nil {
			return err
		}
		c.State, c.deleted = alert.Deleted, now
		t.touch(c)
		return nil
	})
}

// Arm implements [alert.Store].
func (s *Store) Arm(ctx context.Context, a []alert.Arming) error {
	return s.update(ctx, func(t *tx) error {
		for i := range a {
			c, err := t.alert(a[i].Alert)
			if err != nil {
				return err
			}
			switch {
			case c == nil || c.Arm != a[i].Arm:
				continue
			case c.State == alert.Waiting:
				c.State, c.Armed, c.Side = alert.Active, a[i].At, a[i].Side
				c.Arm++
			case c.State == alert.Active && c.Side == alert.Unknown && a[i].Side != alert.Unknown:
				c.Side = a[i].Side
			default:
				continue
			}
			t.touch(c)
		}
		return nil
	})
}

// Expire implements [alert.Store].
func (s *Store) Expire(ctx context.Context, now int64, limit int) (n int, err error) {
	if now < 1 || limit <= 0 {
		return 0, nil
	}
	err = s.update(ctx, func(t *tx) error {
		from, to := timeKey(kindExpires, 1, 0), timeKey(kindExpires, now, -1) // No ID is as high as -1 is here.
		return t.scan(from, to, func(key, _ []byte) (bool, error) {
			if n == limit {
				return false, nil
			}
			id, ok := lastNumber(key, 1+2*numberSize)
			if !ok {
				return false, t.damaged("%q", key)
			}
			c, err := t.alert(id)
			if err != nil {
				return false, err
			}
			if c == nil || !ends(&c.row) {
				return false, t.damaged("the end of alert %d", id)
			}
			c.State = alert.Expired
			t.touch(c)
			n++
			return true, nil
		})
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
