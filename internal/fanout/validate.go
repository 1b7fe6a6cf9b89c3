// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"tickedge/internal/protocol"
)

// Validate returns what no operator would want of a shard, or nil. Each error begins with the
// name of a field.
func (cfg *Config) Validate() error {
	errs := []error{
		cfg.check(),
		outside("Heartbeat", cfg.Heartbeat, time.Second, time.Hour),
		outside("SlowTimeout", cfg.SlowTimeout, time.Second, time.Hour),
		outside("IdleTimeout", cfg.IdleTimeout, time.Second, 7*24*time.Hour),
		outside("HandshakeTimeout", cfg.HandshakeTimeout, time.Second, 10*time.Minute),
		outside("PingInterval", cfg.PingInterval, time.Second, time.Hour),
		outside("PongTimeout", cfg.PongTimeout, time.Second, time.Hour),
		outside("MaxValueless", cfg.MaxValueless, 0, topicsLimit),
	}
	if cfg.CommandRate <= 0 {
		errs = append(errs, outside("CommandBurst", cfg.CommandBurst, 1, BurstMax))
	}
	return errors.Join(errs...)
}

// check returns what a shard can't work with.
func (cfg *Config) check() error {
	errs := []error{
		outside("Interval", cfg.Interval, protocol.IntervalMin*time.Millisecond, protocol.IntervalMax*time.Millisecond),
		outside("MaxTopics", cfg.MaxTopics, 1, topicsLimit),
		outside("MaxScreens", cfg.MaxScreens, 0, ScreensMax),
		outside("SlowRate", cfg.SlowRate, 1, SlowRateMax),
		outside("MaxAge", cfg.MaxAge, 0, MaxAgeLimit),
		outside("CommandRate", cfg.CommandRate, 0, RateMax),
		outside("SubscribeRate", cfg.SubscribeRate, 0, RateMax),
	}
	if cfg.CommandRate > 0 {
		errs = append(errs, outside("CommandBurst", cfg.CommandBurst, 1, BurstMax))
	}
	if cfg.SubscribeRate > 0 && cfg.SubscribeBurst != 0 { // A page's first subscribe always passes.
		errs = append(errs, outside("SubscribeBurst", cfg.SubscribeBurst, cfg.MaxTopics, BurstMax))
	}
	return errors.Join(errs...)
}

// outside returns an error if v is not from low to high.
func outside[T cmp.Ordered](field string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("%s is %v, want %v to %v", field, v, low, high)
	}
	return nil
}
