// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"fmt"
	"strconv"
	"time"

	"tickedge/internal/trade"
)

// Interval is how long bars are. It does not change after it was parsed.
type Interval struct {
	Name string // 1s, 5m, 1h, 1d: a whole number and its unit.
	// Millis is how long a bar is. Bars of days are as long as the days of their symbol's zone, so theirs
	// may be an hour longer or shorter.
	Millis int64
	Days   int // Of bars of days: 1. Otherwise 0.
}

// Topic is where the bars of an interval and a symbol are told.
func Topic(interval, symbol string) string { return "kline:" + interval + ":" + symbol }

// ParseInterval reads an interval that divides a day: seconds, minutes or hours, or one day.
func ParseInterval(s string) (*Interval, error) {
	err := fmt.Errorf("interval %q is not valid: want 1d, or seconds, minutes or hours that divide a day, such as 1s, 5m or 4h", s)
	if s == "" {
		return nil, err
	}
	n, e := strconv.Atoi(s[:len(s)-1])
	unit := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400}[s[len(s)-1]]
	if e != nil || n <= 0 || n > 86400 || unit == 0 || 86400%(int64(n)*unit) != 0 || strconv.Itoa(n) != s[:len(s)-1] {
		return nil, err
	}
	i := &Interval{Name: s, Millis: int64(n) * unit * 1000}
	if unit == 86400 {
		i.Days = 1
	} else if i.Millis == 86400_000 {
		return nil, fmt.Errorf("interval %q is that of a day: want 1d", s)
	}
	return i, nil
}

// Start returns when the bar begins that has a time in Unix milliseconds, in a zone. Intervals below a day
// begin at whole multiples since 1970 UTC. A day begins when the clocks of the zone first show its midnight or
// what they jump to instead, so days tile time whatever the clocks do: none is missing where there is no
// midnight, and where midnight comes twice the day begins with the first.
func (i *Interval) Start(at int64, zone *time.Location) int64 {
	if i.Days == 0 || zone == time.UTC {
		return at - mod(at, i.Millis)
	}
	sec := (at - mod(at, 1000)) / 1000
	day := midnight(sec, zone)
	start := dayBegins(day, zone)
	for { // After clocks went back over midnight they may still show the day before.
		next := dayBegins(day+daySeconds, zone)
		if next > sec {
			return start * 1000
		}
		day, start = day+daySeconds, next
	}
}

// Next returns when the bar after the one that begins at start begins.
func (i *Interval) Next(start int64, zone *time.Location) int64 {
	if i.Days == 0 || zone == time.UTC {
		return start + i.Millis
	}
	sec := start / 1000
	for day := midnight(sec, zone) + daySeconds; ; day += daySeconds {
		// A day that a zone has left out, as Apia did in 2011, begins and ends at once.
		if next := dayBegins(day, zone); next > sec {
			return next * 1000
		}
	}
}

const daySeconds = 86_400

// midnight returns the midnight before what the clocks of a zone show at a time, in seconds since what they
// called the beginning of 1970.
func midnight(sec int64, zone *time.Location) int64 {
	_, offset := time.Unix(sec, 0).In(zone).Zone()
	shown := sec + int64(offset)
	return shown - mod(shown, daySeconds)
}

func dayBegins(midnight int64, zone *time.Location) int64 {
	return trade.FirstShown(midnight, zone).Unix()
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }
