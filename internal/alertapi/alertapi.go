// SPDX-License-Identifier: Apache-2.0

// Package alertapi is how users have prices watched: a service over a store of alerts, and REST in front of it. gRPC is in
// front of the same service in grpcapi, below this package. docs/ALERTS.md is what its clients know.
//
//	alertapi.go  Config
//	caller.go    who asks, and for whom
//	fault.go     why something is not done
//	service.go   Service: what is asked for, done
//	input.go     what a request says of an alert, read strictly
//	answer.go    alerts and firings as JSON
//	server.go    Server: the port, its times and counts
//	handle.go    one request: its limits and its route
//	routes.go    what each route does
//
// Whoever asks is a peer that is not trusted.
package alertapi

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

// Config says what a [Service] works with, and for whom. Exactly one is needed of Open, and of Verifier or Keys, or both.
type Config struct {
	Store alert.Store
	// Price is the newest price of a symbol, false while none is known. Nil knows none.
	Price func(symbol string) (p alert.Num, at int64, ok bool)
	Now   func() int64 // Unix milliseconds; nil is the clock.
	Quota int          // Alerts of a user that are active or waiting: DefaultQuota, unless something else is set.

	Verifier *auth.Verifier // Whose tokens are taken: the user is their sub. Nil for none.
	// Keys reports, in the same time for every key, whether it is one of a trusted caller, who names users and may see all. Nil for none.
	Keys    func(key []byte) bool
	Open    bool // Neither is asked for: whoever asks is a trusted caller. It is for a demo and for loopback.
	Private *auth.Private
	Origins *auth.Origins
	Trusted guard.Trusted // Proxies whose X-Forwarded-For is believed.

	Rate     guard.Rate    // Requests of an address; zero is DefaultRate.
	Requests int           // That are answered at a time: 64, unless something else is set.
	Conns    int           // Connections that Serve accepts at a time: 1,000, unless something else is set.
	Time     time.Duration // For the store to answer: 5 s, unless something else is set.
	Log      *slog.Logger
	// Changed is told an alert after it was created, changed or deleted, so that the engine of this process has it at once. Nil is nobody.
	Changed func(a alert.Alert)
}

// DefaultQuota is how many alerts a user may have that are active or waiting.
const DefaultQuota = 1000

// DefaultRate is how many requests an address may make.
var DefaultRate = guard.Rate{PerSecond: 50, Burst: 200}

// withDefaults returns a configuration that is whole, or what it lacks.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Store == nil || c.Origins == nil || c.Log == nil:
		return c, errors.New("alertapi: want a store, origins and a log")
	case !c.Open && c.Verifier == nil && c.Keys == nil:
		return c, errors.New("alertapi: nobody could ask: want tokens, keys, or Open for everybody")
	case c.Open && (c.Verifier != nil || c.Keys != nil):
		return c, errors.New("alertapi: Open asks for neither tokens nor keys: want it without them, or them without it")
	case !c.Rate.Valid():
		return c, fmt.Errorf("alertapi: the rate of requests is %+v, want two numbers from 1 to %d", c.Rate, guard.RateMax)
	case c.Quota < 0 || c.Requests < 0 || c.Conns < 0 || c.Time < 0:
		return c, errors.New("alertapi: a limit is below 0, want one above it, or 0 for the default")
	}
	if c.Price == nil {
		c.Price = func(string) (alert.Num, int64, bool) { return alert.Num{}, 0, false }
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMilli() }
	}
	if c.Changed == nil {
		c.Changed = func(alert.Alert) {}
	}
	if c.Rate == (guard.Rate{}) {
		c.Rate = DefaultRate
	}
	c.Quota, c.Requests = cmp.Or(c.Quota, DefaultQuota), cmp.Or(c.Requests, 64)
	c.Conns, c.Time = cmp.Or(c.Conns, 1000), cmp.Or(c.Time, 5*time.Second)
	return c, nil
}
