package redis

import "time"

// clock is a clock that does not go back, whatever is done to the host's: it starts with
// the time of the host and then counts on by itself.
type clock struct{ start time.Time }

// now is the time in Unix milliseconds.
func (c clock) now() int64 { return c.start.UnixMilli() + time.Since(c.start).Milliseconds() }
