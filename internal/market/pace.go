// SPDX-License-Identifier: Apache-2.0

package market

import "time"

// catchUpMax bounds the time that a player makes up for after it was held up, by
// the broker or by the machine. The rest is lost to the schedule, not to the ticks: they
// come later. Without it a minute's outage would end in a flood.
const catchUpMax = 250 * time.Millisecond

// pace turns the time that passes into ticks that are due. It has no clock of its
// own. A pause is speed 0.
type pace struct {
	last   time.Time
	speed  float64       // Since last.
	credit time.Duration // Time of the ticks that has passed and is not used up.
}

// pass lets the time up to now pass, and has it pass at speed from then on. The next
// tick comes after the one before it by after.
func (p *pace) pass(now time.Time, after time.Duration, speed float64) {
	p.credit += time.Duration(float64(now.Sub(p.last)) * p.speed)
	p.credit = min(p.credit, after+time.Duration(float64(catchUpMax)*p.speed))
	p.last, p.speed = now, speed
}

// take reports whether the tick that comes after the one before it by after is due.
// If so, it is taken.
func (p *pace) take(after time.Duration) bool {
	if p.speed == 0 || p.credit < after {
		return false
	}
	p.credit -= after
	return true
}

// wait is how long it takes from p.last until that tick is due, which must not be
// asked in a pause.
func (p *pace) wait(after time.Duration) time.Duration {
	return time.Duration(float64(after-p.credit) / p.speed)
}
