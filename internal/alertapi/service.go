// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/auth"
	"tickedge/internal/guard"
	"tickedge/internal/topics"
)

// Limits of a page.
const (
	LimitDefault = 100
	LimitMax     = 1000
)

// Service does what is asked for, whatever protocol it came by. Its methods may be called from any goroutine.
type Service struct {
	cfg   Config
	rate  *guard.PrefixLimit
	wrong *guard.PrefixLimit
	slots chan struct{}
}

// NewService returns a service. The error says what the configuration lacks.
func NewService(c Config) (*Service, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &Service{
		cfg: c, slots: make(chan struct{}, c.Requests),
		rate: guard.NewPrefixLimit(c.Rate, now), wrong: guard.NewPrefixLimit(auth.WrongTokens, now),
	}, nil
}

// Conns is how many connections a port of the service accepts at a time.
func (s *Service) Conns() int { return s.cfg.Conns }

// during asks the store, within its time, if not as many do already as may.
func (s *Service) during(ctx context.Context, what string, ask func(context.Context) error) *Fault {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return retry(http.StatusServiceUnavailable, 1, "as many requests are answered as may be at a time, try again later")
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.Time)
	defer cancel()
	return s.stored(ctx, what, ask(limited))
}

// Match is the arms of which an alert must have one, so that nobody overwrites what he has not read; nil is any.
type Match []int64

func (m Match) has(arm int64) bool { return m == nil || slices.Contains(m, arm) }

// Create has a price watched. created is false if an earlier request with the same key did it.
func (s *Service) Create(ctx context.Context, who *Caller, in *Input, key string) (a alert.Alert, created bool, f *Fault) {
	user, f := who.oneUser(in.User)
	if f != nil {
		return a, false, f
	}
	now := s.cfg.Now()
	if f = s.mayHave(who, &in.Spec, now); f == nil {
		f = checkKey(key)
	}
	if f != nil {
		return a, false, f
	}
	f = s.during(ctx, "create", func(ctx context.Context) (err error) {
		a, created, err = s.cfg.Store.Create(ctx, user, key, in.Spec, s.sideOf(&in.Spec), now, s.cfg.Quota)
		return err
	})
	if f == nil && created {
		s.cfg.Changed(a)
	}
	return a, created, f
}

// mayHave refuses what can't be asked for, or not by this caller.
func (s *Service) mayHave(who *Caller, spec *alert.Spec, now int64) *Fault {
	if err := spec.Check(now); err != nil {
		return refuse(http.StatusUnprocessableEntity, err.Error())
	}
	return who.mayWatch(spec.Symbol)
}

func checkKey(key string) *Fault {
	if len(key) > alert.KeyMax || slices.ContainsFunc([]byte(key), func(c byte) bool { return c < ' ' || c > '~' }) {
		return refuse(http.StatusBadRequest, "Idempotency-Key: want 1 to "+strconv.Itoa(alert.KeyMax)+" printable characters of ASCII")
	}
	return nil
}

// sideOf is where the newest price is, of what waits for a crossing.
func (s *Service) sideOf(spec *alert.Spec) alert.Side {
	if spec.Condition != alert.Crosses {
		return alert.Unknown
	}
	price, _, ok := s.cfg.Price(spec.Symbol)
	switch {
	case ok && price.Less(spec.Target):
		return alert.UnderTarget
	case ok && spec.Target.Less(price):
		return alert.OverTarget
	}
	return alert.Unknown
}

// Get returns an alert. A trusted caller need not say whose it is.
func (s *Service) Get(ctx context.Context, who *Caller, user string, id int64) (a alert.Alert, f *Fault) {
	if user, f = who.userOf(user); f != nil {
		return a, f
	}
	if id < 1 {
		return a, errNone
	}
	return a, s.during(ctx, "get", func(ctx context.Context) (err error) {
		a, err = s.find(ctx, user, id)
		return err
	})
}

// find finds an alert of a user, or of any if user is empty.
func (s *Service) find(ctx context.Context, user string, id int64) (alert.Alert, error) {
	if user != "" {
		return s.cfg.Store.Get(ctx, user, id)
	}
	list, err := s.cfg.Store.List(ctx, alert.Query{After: id - 1, Limit: 1})
	if err == nil && (len(list) == 0 || list[0].ID != id) {
		err = alert.ErrNone
	}
	if err != nil {
		return alert.Alert{}, err
	}
	return list[0], nil
}

// List returns a page of alerts, and where the next one begins; 0 if there is none.
func (s *Service) List(ctx context.Context, who *Caller, q alert.Query) (list []alert.Alert, next int64, f *Fault) {
	if q.User, f = who.userOf(q.User); f != nil {
		return nil, 0, f
	}
	if q.Symbol != "" && !topics.ValidName(q.Symbol) {
		return nil, 0, refuse(http.StatusUnprocessableEntity, "symbol: want "+topics.NameRule)
	}
	limit, f := pageOf(q.After, q.Limit)
	if f != nil {
		return nil, 0, f
	}
	q.Limit = limit + 1 // One more than is wanted says whether there is another page.
	f = s.during(ctx, "list", func(ctx context.Context) (err error) {
		list, err = s.cfg.Store.List(ctx, q)
		return err
	})
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	return list, next, f
}

// pageOf checks where a page begins, and how long it may be.
func pageOf(after int64, limit int) (int, *Fault) {
	if limit == 0 {
		limit = LimitDefault
	}
	if limit < 1 || limit > LimitMax {
		return 0, refuse(http.StatusBadRequest, "limit: want 1 to "+strconv.Itoa(LimitMax))
	}
	if after < 0 {
		return 0, refuse(http.StatusBadRequest, "after: want the number that the page before this one says")
	}
	return limit, nil
}

// Change changes what an input has of an alert, and arms it anew.
func (s *Service) Change(ctx context.Context, who *Caller, in *Input, id int64, match Match) (a alert.Alert, f *Fault) {
	old, f := s.Get(ctx, who, in.User, id)
	if f != nil {
		return a, f
	}
	if !match.has(old.Arm) {
		return a, errStale
	}
	spec, now := in.Over(old.Spec), s.cfg.Now()
	if spec.Symbol != old.Symbol {
		return a, refuse(http.StatusUnprocessableEntity, "symbol: an alert keeps it, and this one has "+old.Symbol+": create another alert")
	}
	if f = s.mayHave(who, &spec, now); f != nil {
		return a, f
	}
	f = s.during(ctx, "change", func(ctx context.Context) (err error) {
		a, err = s.cfg.Store.Change(ctx, old.User, id, old.Arm, spec, s.sideOf(&spec), now, s.cfg.Quota)
		return err
	})
	if f == nil {
		s.cfg.Changed(a)
	} else if match != nil && f.Cause == alert.ErrState {
		f = errStale
	}
	return a, f
}

// Delete deletes an alert. What is between its looking at the arm and that is not seen: alerts are deleted whatever they are then.
func (s *Service) Delete(ctx context.Context, who *Caller, user string, id int64, match Match) *Fault {
	a, f := s.Get(ctx, who, user, id)
	if f != nil {
		return f
	}
	if !match.has(a.Arm) {
		return errStale
	}
	f = s.during(ctx, "delete", func(ctx context.Context) error { return s.cfg.Store.Delete(ctx, a.User, id, s.cfg.Now()) })
	if f == nil {
		a.State = alert.Deleted
		s.cfg.Changed(a)
	}
	return f
}

// Fired returns a page of firings of a user, and the number of the newest one.
func (s *Service) Fired(ctx context.Context, who *Caller, user string, after int64, limit int) (list []alert.NewsItem, n int64, f *Fault) {
	if user, f = who.oneUser(user); f != nil {
		return nil, 0, f
	}
	if limit, f = pageOf(after, limit); f != nil {
		return nil, 0, f
	}
	f = s.during(ctx, "fired", func(ctx context.Context) (err error) {
		list, n, err = s.cfg.Store.Firings(ctx, user, after, limit)
		return err
	})
	return list, n, f
}

// Price returns the newest price of a symbol, and of when it is.
func (s *Service) Price(who *Caller, symbol string) (price alert.Num, at int64, f *Fault) {
	if !topics.ValidName(symbol) {
		return price, 0, refuse(http.StatusUnprocessableEntity, "the symbol is no name of a topic: want "+topics.NameRule)
	}
	if f = who.mayWatch(symbol); f != nil {
		return price, 0, f
	}
	price, at, ok := s.cfg.Price(symbol)
	if !ok {
		return price, 0, refuse(http.StatusNotFound, "no price of "+symbol+" is known: want a symbol that is traded here, or try again later")
	}
	return price, at, nil
}
