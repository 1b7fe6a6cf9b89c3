// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"

	"tickedge/internal/alert"
)

// Trim implements [alert.Store]. Keys go before alerts, so that none names an alert that is gone.
func (s *Store) Trim(ctx context.Context, keep int, before int64, limit int) (n int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	s.trim.Lock()
	defer s.trim.Unlock()
	next := s.next
	err = s.update(ctx, func(t *tx) error {
		if err := t.trimKeys(before, limit, &n); err != nil || n == limit {
			return err
		}
		if err := t.trimAlerts(before, limit, &n); err != nil || n == limit {
			return err
		}
		var err error
		next, err = t.trimFirings(s.next, int64(max(keep, 0)), limit, &n)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.next = next
	return n, nil
}

func (t *tx) trimKeys(before int64, limit int, n *int) error {
	return t.scan([]byte{kindKeyAt}, untilKey(kindKeyAt, before), func(key, _ []byte) (bool, error) {
		if *n == limit {
			return false, nil
		}
		rest := key[min(len(key), 1+numberSize):]
		user, name, ok := cutUser(rest)
		if !ok {
			return false, t.damaged("%q", key)
		}
		if err := t.delete(keyKey(user, string(name))); err != nil {
			return false, err
		}
		*n++
		return true, t.delete(key)
	})
}

func (t *tx) trimAlerts(before int64, limit int, n *int) error {
	return t.scan([]byte{kindDeleted}, untilKey(kindDeleted, before), func(key, _ []byte) (bool, error) {
		if *n == limit {
			return false, nil
		}
		id, ok := lastNumber(key, 1+2*numberSize)
		if !ok {
			return false, t.damaged("%q", key)
		}
		var r row
		if ok, err := t.row(id, &r); err != nil {
			return false, err
		} else if !ok || r.State != alert.Deleted {
			return false, t.damaged("alert %d, which should be a deleted one", id)
		}
		for _, k := range [][]byte{key, numberKey(kindAlert, id), numberKey(kindChange, r.sequence)} {
			if err := t.delete(k); err != nil {
				return false, err
			}
		}
		*n++
		return true, nil
	})
}

// trimUsers bounds the users that one Trim looks at, as writes wait for it.
const trimUsers = 10_000

// trimFirings deletes firings of users behind one on, and around, and returns the user with whom to go on.
func (t *tx) trimFirings(from []byte, keep int64, limit int, n *int) (next []byte, err error) {
	first := []byte{kindUser}
	looked := 0
	look := func(key, value []byte) (bool, error) {
		var a account
		user, rest, ok := cutUser(key[1:])
		if !ok || len(rest) != 0 || !parseAccount(value, &a) {
			return false, t.damaged("the user %q", key)
		}
		if *n == limit || looked == trimUsers {
			next = bytes.Clone(key)
			return false, nil
		}
		looked++
		some := min(a.number-keep-a.trimmed, int64(limit-*n))
		if some <= 0 {
			return true, nil
		}
		prefix := userKey(kindFiring, user)
		for i := a.trimmed + 1; i <= a.trimmed+some; i++ {
			if err := t.delete(appendNumber(bytes.Clone(prefix), i)); err != nil {
				return false, err
			}
		}
		*n += int(some)
		of, err := t.user(user)
		if err != nil {
			return false, err
		}
		of.trimmed += some
		t.touchUser(user)
		if of.number-keep > of.trimmed { // It has more, for the next time.
			next = bytes.Clone(key)
			return false, nil
		}
		return true, nil
	}
	if from == nil {
		return next, t.scan(first, behind(first), look)
	}
	if err := t.scan(from, behind(first), look); err != nil || next != nil {
		return next, err
	}
	return next, t.scan(first, from, look)
}
