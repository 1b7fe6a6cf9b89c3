// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	lsm "github.com/cockroachdb/pebble/v2"

	"tickedge/internal/alert"
	"tickedge/internal/folder"
)

// tx is one write: what it has read and changed of alerts and users. The indexes are written when it ends.
type tx struct {
	view
	batch    *lsm.Batch
	alerts   map[int64]*changing // nil for those that are not there.
	accounts map[string]*account
	changed  []*changing // In the order in which they changed.
	users    map[string]bool
	lastID   int64
	sequence int64
}

// changing is an alert as it was stored and as it is to be.
type changing struct {
	was row // Its ID is 0 if it is new.
	row
	marked bool // It is among those that changed.
}

// update calls f, and what it has changed is on the disk behind that, or nothing is.
func (s *Store) update(ctx context.Context, f func(*tx) error) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	s.write.Lock()
	defer s.write.Unlock()
	if err := ctx.Err(); err != nil { // It may have waited for long.
		return err
	}
	t := &tx{
		view:     view{s: s, from: s.db, ctx: ctx},
		batch:    s.db.NewBatch(),
		alerts:   make(map[int64]*changing),
		accounts: make(map[string]*account),
		users:    make(map[string]bool),
	}
	defer t.batch.Close()
	if t.lastID, t.sequence, err = t.counters(); err != nil {
		return err
	}
	if err := f(t); err != nil {
		return err
	}
	if err := t.index(); err != nil {
		return err
	}
	if t.batch.Empty() {
		return nil
	}
	if err := s.db.Room(folder.PutRoom); err != nil {
		return err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	if err := t.batch.Commit(lsm.Sync); err != nil {
		return fmt.Errorf("alerts: the folder %s: %w", s.dir, err)
	}
	return nil
}

func (t *tx) set(key, value []byte) error { return t.batch.Set(key, value, nil) }

func (t *tx) delete(key []byte) error { return t.batch.Delete(key, nil) }

// counters returns the newest ID and sequence that were given.
func (v *view) counters() (id, sequence int64, err error) {
	err = v.get([]byte{kindCounters}, func(b []byte) error {
		if !parseNumbers(b, &id, &sequence) || id < 0 || sequence < 0 {
			return v.damaged("the counters")
		}
		return nil
	})
	return id, sequence, err
}

// row reads an alert; ok is false if it is not there.
func (v *view) row(id int64, r *row) (ok bool, err error) {
	err = v.get(numberKey(kindAlert, id), func(b []byte) error {
		if ok = parseRow(b, r) && r.ID == id; !ok {
			return v.damaged("alert %d", id)
		}
		return nil
	})
	return ok, err
}

// account reads what is stored of a user.
func (v *view) account(user string) (a account, err error) {
	err = v.get(userKey(kindUser, user), func(b []byte) error {
		if !parseAccount(b, &a) {
			return v.damaged("the user %q", user)
		}
		return nil
	})
	return a, err
}

func parseAccount(b []byte, a *account) bool {
	return parseNumbers(b, &a.number, &a.published, &a.trimmed, &a.alive) && min(a.number, a.published, a.trimmed, a.alive) >= 0
}

// alert returns an alert as this write has it, nil if there is none.
func (t *tx) alert(id int64) (*changing, error) {
	if c, known := t.alerts[id]; known {
		return c, nil
	}
	var r row
	ok, err := t.row(id, &r)
	if err != nil {
		return nil, err
	}
	if !ok {
		t.alerts[id] = nil
		return nil, nil
	}
	c := &changing{was: r, row: r}
	t.alerts[id] = c
	return c, nil
}

// own returns an alert of a user that is not deleted.
func (t *tx) own(user string, id int64) (*changing, error) {
	c, err := t.alert(id)
	if err == nil && (c == nil || c.User != user || c.State == alert.Deleted) {
		err = alert.ErrNone
	}
	return c, err
}

// user returns what is stored of a user, as this write has it.
func (t *tx) user(name string) (*account, error) {
	if a := t.accounts[name]; a != nil {
		return a, nil
	}
	a, err := t.view.account(name)
	if err != nil {
		return nil, err
	}
	t.accounts[name] = &a
	return &a, nil
}

// touch has an alert written when the write ends.
func (t *tx) touch(c *changing) {
	if !c.marked {
		c.marked = true
		t.changed = append(t.changed, c)
	}
}

// touchUser has a user written when the write ends.
func (t *tx) touchUser(name string) { t.users[name] = true }

// alive reports whether an alert counts for its user's quota, and may fire some time.
func alive(r *row) bool { return r.ID != 0 && (r.State == alert.Active || r.State == alert.Waiting) }

// ends reports whether an alert is to expire.
func ends(r *row) bool { return alive(r) && r.Expires > 0 }

func deleted(r *row) bool { return r.ID != 0 && r.State == alert.Deleted }

// index writes alerts and users that have changed, and what finds them.
func (t *tx) index() error {
	for _, c := range t.changed {
		if err := t.indexAlert(c); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.users)) {
		a := t.accounts[name]
		if err := t.set(userKey(kindUser, name), appendNumbers(nil, a.number, a.published, a.trimmed, a.alive)); err != nil {
			return err
		}
		if err := t.place(a.number > a.published, userKey(kindUnpublished, name)); err != nil {
			return err
		}
	}
	if len(t.changed) == 0 {
		return nil
	}
	return t.set([]byte{kindCounters}, appendNumbers(nil, t.lastID, t.sequence))
}

// place has a key without a value there, or not.
func (t *tx) place(there bool, key []byte) error {
	if there {
		return t.set(key, nil)
	}
	return t.delete(key)
}

// move has a key there under one condition, if it was under another.
func (t *tx) move(was bool, old []byte, is bool, key []byte) error {
	if was == is && bytes.Equal(old, key) {
		return nil
	}
	if was {
		if err := t.delete(old); err != nil {
			return err
		}
	}
	if is {
		return t.set(key, nil)
	}
	return nil
}

func (t *tx) indexAlert(c *changing) error {
	was, is := &c.was, &c.row
	if alive(was) != alive(is) {
		a, err := t.user(is.User)
		if err != nil {
			return err
		}
		if alive(is) {
			a.alive++
		} else {
			a.alive--
		}
		t.touchUser(is.User)
	}
	if was.ID != 0 {
		if err := t.delete(numberKey(kindChange, was.sequence)); err != nil {
			return err
		}
	}
	t.sequence++
	is.sequence = t.sequence
	bucket := alert.Bucket(is.Symbol)
	if err := t.set(numberKey(kindChange, is.sequence), appendNumbers(nil, is.ID, int64(bucket))); err != nil {
		return err
	}
	if err := t.set(numberKey(kindAlert, is.ID), appendRow(nil, is)); err != nil {
		return err
	}
	of := appendNumber(userKey(kindOfUser, is.User), is.ID)
	if err := t.move(was.ID != 0 && !deleted(was), of, !deleted(is), of); err != nil {
		return err
	}
	in := appendNumber(bucketKey(kindAlive, bucket), is.ID)
	if err := t.move(alive(was), in, alive(is), in); err != nil {
		return err
	}
	if err := t.move(ends(was), timeKey(kindExpires, was.Expires, is.ID), ends(is), timeKey(kindExpires, is.Expires, is.ID)); err != nil {
		return err
	}
	return t.move(deleted(was), timeKey(kindDeleted, was.deleted, is.ID), deleted(is), timeKey(kindDeleted, is.deleted, is.ID))
}
