package broker

import (
	"sync"
	"time"
)

// throttleEvery is the time between two log lines of the same kind that the other
// side can cause at will.
const throttleEvery = 10 * time.Second

// Throttle lets one line through per throttleEvery and counts the others. The zero Throttle
// is ready, and may be used from any goroutine.
type Throttle struct {
	mu        sync.Mutex
	next      time.Time
	swallowed uint64
}

// Allow reports whether a line may be written now, and how many were not since the
// last that was.
func (t *Throttle) Allow() (swallowed uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.next) {
		t.swallowed++
		return 0, false
	}
	swallowed, t.swallowed = t.swallowed, 0
	t.next = now.Add(throttleEvery)
	return swallowed, true
}
