// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"tickedge/internal/alert"
)

// Get implements [alert.Store].
func (s *Store) Get(ctx context.Context, user string, id int64) (alert.Alert, error) {
	var r row
	err := s.view(ctx, func(v *view) error {
		ok, err := v.row(id, &r)
		if err == nil && (!ok || r.User != user || r.State == alert.Deleted) {
			err = alert.ErrNone
		}
		return err
	})
	if err != nil {
		return alert.Alert{}, err
	}
	return r.Alert, nil
}

// List implements [alert.Store].
func (s *Store) List(ctx context.Context, q alert.Query) (all []alert.Alert, err error) {
	after := max(q.After, 0)
	if q.Limit <= 0 || after == math.MaxInt64 || len(q.User) > alert.UserMax {
		return nil, nil
	}
	prefix := []byte{kindAlert}
	switch {
	case q.User != "":
		prefix = userKey(kindOfUser, q.User)
	case q.Symbol != "" && q.Active:
		prefix = bucketKey(kindAlive, alert.Bucket(q.Symbol))
	}
	err = s.view(ctx, func(v *view) error {
		return v.scan(appendNumber(slices.Clip(prefix), after+1), behind(prefix), func(key, value []byte) (bool, error) {
			var r row
			if err := v.rowAt(prefix, key, value, &r); err != nil {
				return false, err
			}
			if r.State == alert.Deleted || q.Active && !alive(&r) || q.Symbol != "" && r.Symbol != q.Symbol {
				return true, nil
			}
			all = append(all, r.Alert)
			return len(all) < q.Limit, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// rowAt reads the alert whose ID is at the end of a key, behind a prefix.
func (v *view) rowAt(prefix, key, value []byte, r *row) error {
	id, ok := lastNumber(key, len(prefix)+numberSize)
	if !ok {
		return v.damaged("%q", key)
	}
	if key[0] == kindAlert {
		if !parseRow(value, r) || r.ID != id {
			return v.damaged("alert %d", id)
		}
		return nil
	}
	ok, err := v.row(id, r)
	if err == nil && !ok {
		err = v.damaged("alert %d, which is not there", id)
	}
	return err
}

// mark is how far changes were read: up to a sequence, as text. While the alerts that are alive are read for the first time,
// the bucket and the ID up to which that has come follow: what changes meanwhile comes behind them, by its sequence.
type mark struct {
	sequence int64
	first    bool
	bucket   int
	id       int64
}

func (m mark) String() string {
	if !m.first {
		return strconv.FormatInt(m.sequence, 10)
	}
	return fmt.Sprintf("%d,%d,%d", m.sequence, m.bucket, m.id)
}

func parseMark(s string) (m mark, err error) {
	parts := strings.Split(s, ",")
	m.sequence, err = strconv.ParseInt(parts[0], 10, 64)
	if len(parts) == 3 && err == nil {
		m.first = true
		if m.bucket, err = strconv.Atoi(parts[1]); err == nil {
			m.id, err = strconv.ParseInt(parts[2], 10, 64)
		}
	}
	if err != nil || len(parts) != 1 && len(parts) != 3 || m.sequence < 0 || m.id < 0 || m.id == math.MaxInt64 {
		return m, fmt.Errorf("alerts: %q is no mark: begin with the empty one", s)
	}
	return m, nil
}

// Changes implements [alert.Store].
func (s *Store) Changes(
	ctx context.Context, buckets []int, from string, limit int,
) (all []alert.Alert, next string, more bool, err error) {
	if buckets, err = distinct(buckets); err != nil {
		return nil, "", false, err
	}
	m := mark{first: true}
	if from != "" {
		if m, err = parseMark(from); err != nil {
			return nil, "", false, err
		}
	}
	err = s.view(ctx, func(v *view) error {
		_, newest, err := v.counters()
		if err != nil {
			return err
		}
		if from == "" {
			m.sequence = newest
		}
		if m.sequence > newest {
			return fmt.Errorf("alerts: the mark %q is of another store, or of what a backup does not have: begin with the empty one", from)
		}
		if m.first { // What has changed meanwhile is for the next reading.
			all, more, err = v.alive(buckets, &m, limit)
			m.first = more
			return err
		}
		all, more, err = v.changes(buckets, &m, newest, limit)
		return err
	})
	if err != nil {
		return nil, "", false, err
	}
	return all, m.String(), more, nil
}

// alive returns alerts that are active or waiting, behind those up to the mark, and brings it forward.
func (v *view) alive(buckets []int, m *mark, limit int) (all []alert.Alert, more bool, err error) {
	for _, b := range buckets {
		if b < m.bucket || more {
			continue
		}
		after := int64(0)
		if b == m.bucket {
			after = m.id
		}
		prefix := bucketKey(kindAlive, b)
		if err := v.scan(appendNumber(slices.Clip(prefix), after+1), behind(prefix), func(key, value []byte) (bool, error) {
			if more = len(all) >= limit; more {
				return false, nil
			}
			var r row
			if err := v.rowAt(prefix, key, value, &r); err != nil {
				return false, err
			}
			all = append(all, r.Alert)
			m.bucket, m.id = b, r.ID
			return true, nil
		}); err != nil {
			return nil, false, err
		}
	}
	return all, more, nil
}

// changes returns alerts that changed behind the mark, and brings it forward.
func (v *view) changes(buckets []int, m *mark, newest int64, limit int) (all []alert.Alert, more bool, err error) {
	if m.sequence == newest {
		return nil, false, nil
	}
	kind := []byte{kindChange}
	err = v.scan(numberKey(kindChange, m.sequence+1), behind(kind), func(key, value []byte) (bool, error) {
		sequence, ok := lastNumber(key, 1+numberSize)
		var id, bucket int64
		if !ok || !parseNumbers(value, &id, &bucket) {
			return false, v.damaged("the change %d", sequence)
		}
		if _, wanted := slices.BinarySearch(buckets, int(bucket)); !wanted {
			m.sequence = sequence
			return true, nil
		}
		if more = len(all) >= limit; more {
			return false, nil
		}
		var r row
		switch ok, err := v.row(id, &r); {
		case err != nil:
			return false, err
		case !ok:
			return false, v.damaged("alert %d, which is not there", id)
		}
		all = append(all, r.Alert)
		m.sequence = sequence
		return true, nil
	})
	if !more {
		m.sequence = newest
	}
	return all, more, err
}

// distinct returns buckets in their order, each once.
func distinct(buckets []int) ([]int, error) {
	b := slices.Compact(slices.Sorted(slices.Values(buckets)))
	if len(b) > 0 && (b[0] < 0 || b[len(b)-1] >= alert.Buckets) {
		return nil, errBucket
	}
	return b, nil
}
