package fanout

import "tickedge/internal/guard"

// The rates that suit pages in browsers. A page that reloads, or that scrolls through
// lists of topics, stays far below them.
const (
	DefaultCommandRate    = 20  // Commands per second.
	DefaultCommandBurst   = 40  // Commands at once.
	DefaultSubscribeRate  = 50  // New topics per second.
	DefaultSubscribeBurst = 512 // New topics at once: twice the default of -max-topics.

	// RateMax and BurstMax bound what may be configured.
	RateMax  = 10_000
	BurstMax = 100_000

	// patience is how many bursts a client may go on for after it was told that it is
	// too fast. What is refused counts, so who waits is forgiven, at the rate.
	patience = 2
)

// newLimit returns the limit of a rate, of which 0 is none.
func newLimit(rate, burst, excess int) guard.Limit {
	if rate == 0 {
		return guard.Limit{}
	}
	return guard.NewLimit(guard.Rate{PerSecond: rate, Burst: burst}, excess)
}
