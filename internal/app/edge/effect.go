// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"runtime"

	"tickedge/internal/broker/redis"
)

// effects say beside which others flags have no effect. Who sets one of these expects something
// that will not happen, so it is a mistake. What is said of a burst without its rate, of TLS
// files and of tokens is beside the other rules of these.
var effects = []struct {
	flags string // As flags.Set.NoEffect takes them.
	none  func(c *Config) bool
	as    string
}{
	{"demo-*", func(c *Config) bool { return !c.demo }, "-demo is not set, and it is what has a simulated market"},
	{"page-*", func(c *Config) bool { return !c.hasBoard() }, "-page is not set, and it is what has candles"},
	{"page-alerts", func(c *Config) bool { return c.pageHistory == "" }, "-page-history is not set, and alerts are set in its chart"},
	{"redis-*", func(c *Config) bool { return !c.hasRedis() }, "no source is a Redis"},
	{"admin-host", func(c *Config) bool { return c.admin == "" && c.api.Addr == "" }, "-admin is empty, so there is no admin port"},
	{"api-*", func(c *Config) bool { return c.api.Addr == "" }, "-api is not set, and it is what has a back office"},
	{"grpc-api", func(c *Config) bool { return c.api.Addr == "" && c.rpc.Listen != "" }, "-api is not set, and it is what has a back office"},
	{"grpc-*", func(c *Config) bool { return c.rpc.Listen == "" }, "-grpc is not set, and it is what has a port for gRPC"},
	{"ready-needs-feed", func(c *Config) bool { return c.admin == "" && c.healthPath == "" }, "-admin is empty, and so is -health-path: set the one at which it is asked whether the edge is ready"},
	{"redis-channel", func(c *Config) bool { return c.redis.Mode == redis.ModeStream }, "-redis-mode is stream, and a stream brings all ticks"},
	{"stale-floor", func(c *Config) bool { return c.table.StaleAfter > 0 }, "-stale-after is set, and holds whatever the gaps of a topic are"},
	{"command-burst", func(c *Config) bool { return c.loop.Shard.CommandRate == 0 }, "-command-rate is 0, so commands have no limit"},
	{"jwt-jwks-refresh", func(c *Config) bool { return len(c.tokenSources()) == 1 && c.tokens.JWKSURL == "" }, "-jwt-jwks-url is not set, and other keys are not fetched"},
	{"loops", func(*Config) bool { return runtime.GOOS != "linux" }, "this is " + runtime.GOOS + ", where there is one event loop"},
}

// validateEffect returns which flags are set and have no effect, or nil.
func (c *Config) validateEffect() error {
	var errs problems
	for _, e := range effects {
		if e.none(c) {
			errs.add(c.flags.NoEffect(e.flags, e.as))
		}
	}
	return errors.Join(errs...)
}
