// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"fmt"
	"time"
)

const (
	loopsMax = 1024
	// sessionsMax bounds Config.MaxSessions: a user's connections are searched one by one when
	// one of them ends.
	sessionsMax = 10_000
	// MaxHeadMin is room for what browsers send, and 256 topics with short names. Cookies of a
	// whole domain may need more, and proxies have 8 to 64 KiB too. Memory for heads follows what
	// has arrived of them.
	MaxHeadMin = 8
	maxHeadMax = 64
	// retrySpreadMax bounds Config.RetrySpread. Browsers and people do not wait for longer.
	retrySpreadMax = 10 * time.Minute
)

// DefaultPath is where clients find the WebSocket.
const DefaultPath = "/ws"

// EventsPath is where clients find streams of events.
const EventsPath = "/sse"

// Validate returns all numbers that no operator would want, those of the guard and the shards
// included, or nil. Each error begins with the name of a field.
func (c *Config) Validate() error {
	errs := []error{c.Shard.Validate(), c.Guard.Validate()}
	for _, n := range []struct {
		field         string
		is, low, high int
	}{{"Loops", c.Loops, 1, loopsMax}, {"MaxSessions", c.MaxSessions, 0, sessionsMax}} {
		if n.is < n.low || n.is > n.high {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", n.field, n.is, n.low, n.high))
		}
	}
	if c.MaxHead < MaxHeadMin || c.MaxHead > maxHeadMax {
		errs = append(errs, fmt.Errorf("MaxHead is %d, want %d to %d KiB", c.MaxHead, MaxHeadMin, maxHeadMax))
	}
	if c.RetrySpread < time.Second || c.RetrySpread > retrySpreadMax {
		errs = append(errs, fmt.Errorf("RetrySpread is %v, want %v to %v", c.RetrySpread, time.Second, retrySpreadMax))
	}
	return errors.Join(errs...)
}
