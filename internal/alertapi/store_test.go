// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"context"
	"slices"
	"sync"

	"tickedge/internal/alert"
)

// memory is as much of a store as the API asks for.
type memory struct {
	alert.Store // Nothing else is called.

	mu      sync.Mutex
	last    int64
	alerts  map[int64]alert.Alert
	keys    map[[2]string]int64
	firings map[string][]alert.NewsItem
	// fail, if it is not nil, is asked first by every method.
	fail func(ctx context.Context, method string) error
}

func newMemory() *memory {
	return &memory{alerts: map[int64]alert.Alert{}, keys: map[[2]string]int64{}, firings: map[string][]alert.NewsItem{}}
}

func (m *memory) begin(ctx context.Context, method string) error {
	if m.fail != nil {
		if err := m.fail(ctx, method); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func live(a alert.Alert) bool { return a.State == alert.Active || a.State == alert.Waiting }

// room reports whether a user may have one more; mu is held.
func (m *memory) room(user string, quota int) bool {
	n := 0
	for _, a := range m.alerts {
		if a.User == user && live(a) {
			n++
		}
	}
	return n < quota
}

func (m *memory) Create(
	ctx context.Context, user, key string, s alert.Spec, side alert.Side, now int64, quota int,
) (a alert.Alert, created bool, err error) {
	if err := m.begin(ctx, "create"); err != nil {
		return a, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, known := m.keys[[2]string{user, key}]; known && key != "" {
		if m.alerts[id].Spec != s {
			return a, false, alert.ErrKey
		}
		return m.alerts[id], false, nil
	}
	if !m.room(user, quota) {
		return a, false, alert.ErrQuota
	}
	m.last++
	a = alert.Alert{ID: m.last, User: user, Spec: s, State: alert.Active, Created: now, Arm: 1, Armed: now, Side: side}
	m.alerts[a.ID], m.keys[[2]string{user, key}] = a, a.ID
	return a, true, nil
}

func (m *memory) get(user string, id int64) (alert.Alert, error) {
	a, ok := m.alerts[id]
	if !ok || a.User != user || a.State == alert.Deleted {
		return alert.Alert{}, alert.ErrNone
	}
	return a, nil
}

func (m *memory) Get(ctx context.Context, user string, id int64) (alert.Alert, error) {
	if err := m.begin(ctx, "get"); err != nil {
		return alert.Alert{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(user, id)
}

func (m *memory) List(ctx context.Context, q alert.Query) (list []alert.Alert, err error) {
	if err := m.begin(ctx, "list"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := q.After + 1; id <= m.last && len(list) < q.Limit; id++ {
		a := m.alerts[id]
		if a.State != alert.Deleted && (q.User == "" || a.User == q.User) && (q.Symbol == "" || a.Symbol == q.Symbol) && (!q.Active || live(a)) {
			list = append(list, a)
		}
	}
	return list, nil
}

func (m *memory) Change(
	ctx context.Context, user string, id, arm int64, s alert.Spec, side alert.Side, now int64, quota int,
) (alert.Alert, error) {
	if err := m.begin(ctx, "change"); err != nil {
		return alert.Alert{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.get(user, id)
	switch {
	case err != nil:
		return a, err
	case a.Arm != arm:
		return a, alert.ErrState
	case !live(a) && !m.room(user, quota):
		return a, alert.ErrQuota
	}
	a.Spec, a.State, a.Arm, a.Armed, a.Side = s, alert.Active, arm+1, now, side
	m.alerts[id] = a
	return a, nil
}

func (m *memory) Delete(ctx context.Context, user string, id, _ int64) error {
	if err := m.begin(ctx, "delete"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.get(user, id)
	if err == nil {
		a.State = alert.Deleted
		m.alerts[id] = a
	}
	return err
}

func (m *memory) Firings(ctx context.Context, user string, after int64, limit int) ([]alert.NewsItem, int64, error) {
	if err := m.begin(ctx, "fired"); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.firings[user]
	begin := min(after, int64(len(all)))
	return slices.Clone(all[begin:min(int64(len(all)), begin+int64(limit))]), int64(len(all)), nil
}

// fire has an alert fire, as an engine would.
func (m *memory) fire(id int64, price alert.Num, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.alerts[id]
	a.State = alert.Fired
	n := int64(len(m.firings[a.User])) + 1
	a.Last = alert.Firing{Number: n, Alert: id, Arm: a.Arm, At: at, Price: price, By: alert.ByPrice, Stored: at + 1}
	m.alerts[id] = a
	m.firings[a.User] = append(m.firings[a.User], alert.NewsItem{Firing: a.Last, Spec: a.Spec})
}
