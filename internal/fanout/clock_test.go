// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"testing"
	"time"
	"unsafe"
)

// setClock returns a time at which the host's clock was set by so many seconds: the same by
// the monotonic clock.
func setClock(t *testing.T, now time.Time, seconds int64) time.Time {
	t.Helper()
	set := now
	// The first word has the seconds of the wall clock above its nanoseconds, see package time.
	*(*uint64)(unsafe.Pointer(&set)) += uint64(seconds) << 30
	if set.Unix()-now.Unix() != seconds || set.Sub(now) != 0 {
		t.Fatalf("package time has changed: %v became %v", now, set)
	}
	return set
}

// Nothing is early or late when the host's clock is set, and who comes then is flushed at
// the point of its run all the same.
func TestClockIsSet(t *testing.T) {
	cfg := testConfig()
	w := newWorld(t, cfg, 8, 0)
	s := w.shard
	s.start = time.Now()
	for _, at := range []time.Duration{0, 7 * time.Millisecond, 3 * time.Hour} {
		now := s.start.Add(at)
		s.At(now)
		is, lag := s.now, s.Lag()
		// A window that no number of seconds is a multiple of.
		first := s.firstFlush(0, 133)
		for _, seconds := range []int64{1, -1, 7200, -7200} {
			s.At(setClock(t, now, seconds))
			if got := s.firstFlush(0, 133); got != first {
				t.Errorf("clock set by %d s: the flush is at tick %d, want %d", seconds, got, first)
			}
			if s.now != is || s.Lag() != lag {
				t.Errorf("clock set by %d s: tick %d, lag %v, want %d and %v", seconds, s.now, s.Lag(), is, lag)
			}
		}
	}
}
