// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"
	"time"
	"unsafe"
)

// A second of control frames does not begin anew when the host's clock is set.
func TestControlsWhenTheClockIsSet(t *testing.T) {
	const most = 3
	l := &loop{begun: time.Now(), limits: limits{controls: most}}
	c := &conn{}
	l.now = l.begun
	for range most {
		if l.controlFlood(c, 1) {
			t.Error("too few control frames are too many")
		}
	}
	for _, seconds := range []int64{1, -2, 7200} {
		now := l.now
		// The first word has the seconds of the wall clock above its nanoseconds.
		*(*uint64)(unsafe.Pointer(&l.now)) += uint64(seconds) << 30
		if l.now.Unix()-now.Unix() != seconds || l.now.Sub(now) != 0 {
			t.Fatalf("package time has changed: %v became %v", now, l.now)
		}
		if !l.controlFlood(c, 1) {
			t.Errorf("with the clock set by %d s, one more is let through", seconds)
		}
	}
	l.now = l.begun.Add(time.Second)
	if l.controlFlood(c, 1) {
		t.Error("the next second has none left")
	}
}
