// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"errors"
	"fmt"
	"time"

	"tickedge/internal/trade"
)

// Config is what an [Engine] is made of. All engines of which one restores another's snapshot should have the same.
type Config struct {
	// Intervals are those of which bars are made. The members of prices that are about a day need 1d, the
	// one about five minutes needs one of at most a minute.
	Intervals []*Interval
	// Window is how long trades of a source may come out of order before bars are closed without them.
	Window time.Duration
	// Silence is how long after a source fell silent, or behind all others, bars are closed without it.
	Silence time.Duration
	// Limit is how late trades may be, and so how long bars that are closed may be revised.
	Limit time.Duration
	// Symbols is how many symbols there may be, and Sources how many each may have.
	Symbols, Sources int
	// IDRuns is how many runs of ids without a gap are known of each symbol and source, at 24 bytes.
	IDRuns int
	// Fills is how many bars without trades are made in one turn, over all symbols.
	Fills int
}

// Defaults, and what may be configured.
const (
	DefaultWindow  = 2 * time.Second
	DefaultSilence = 10 * time.Second
	DefaultLimit   = time.Hour
	DefaultSymbols = 10_000
	DefaultSources = 16
	DefaultIDRuns  = 1 << 16
	DefaultFills   = 2000

	WindowMax    = time.Minute
	SilenceMax   = 10 * time.Minute
	LimitMax     = 24 * time.Hour
	IntervalsMax = 16
	SourcesMax   = 64
	IDRunsMax    = 1 << 20
	FillsMax     = 100_000
)

// DefaultConfig has 1s, 1m, 5m, 1h and 1d.
func DefaultConfig() Config {
	c := Config{
		Window: DefaultWindow, Silence: DefaultSilence, Limit: DefaultLimit, Symbols: DefaultSymbols,
		Sources: DefaultSources, IDRuns: DefaultIDRuns, Fills: DefaultFills,
	}
	for _, name := range []string{"1s", "1m", "5m", "1h", "1d"} {
		i, err := ParseInterval(name)
		if err != nil {
			panic(err)
		}
		c.Intervals = append(c.Intervals, i)
	}
	return c
}

// Validate says what is wrong with a config, by the names of its fields.
func (c *Config) Validate() error {
	if n := len(c.Intervals); n == 0 || n > IntervalsMax {
		return fmt.Errorf("there are %d Intervals, want 1 to %d", n, IntervalsMax)
	}
	for i, a := range c.Intervals {
		for _, b := range c.Intervals[:i] {
			if a.Millis == b.Millis {
				return fmt.Errorf("the Intervals %s and %s are the same", b.Name, a.Name)
			}
		}
	}
	for _, d := range []struct {
		name     string
		have     time.Duration
		from, to time.Duration
	}{
		{"Window", c.Window, 0, WindowMax}, {"Silence", c.Silence, c.Window, SilenceMax}, {"Limit", c.Limit, 0, LimitMax},
	} {
		if d.have < d.from || d.have > d.to {
			return fmt.Errorf("%s is %v, want %v to %v", d.name, d.have, d.from, d.to)
		}
	}
	for _, n := range []struct {
		name     string
		have, to int
	}{
		{"Symbols", c.Symbols, trade.SymbolsMax}, {"Sources", c.Sources, SourcesMax}, {"IDRuns", c.IDRuns, IDRunsMax},
		{"Fills", c.Fills, FillsMax},
	} {
		if n.have < 1 || n.have > n.to {
			return fmt.Errorf("%s is %d, want 1 to %d", n.name, n.have, n.to)
		}
	}
	return nil
}

// Why an [Engine] has not taken a trade. A trade that is flawed has an error of package trade.
var (
	ErrDuplicate = errors.New("a trade with this id came before")
	ErrLate      = errors.New("the trade is later than bars may be revised")
	ErrForgotten = errors.New("the id is not among those that are still known, so the trade may have come before")
	ErrOverflow  = errors.New("a sum of a bar would not fit into 128 bits with the trade")
	ErrFull      = errors.New("as many bars of the symbol wait to be told as may")
	ErrSymbols   = errors.New("there are as many symbols as there may be")
	ErrSources   = errors.New("the symbol has as many sources as it may have")
)

// Stats counts what an [Engine] has done since it was made, or since the first from which its snapshot comes.
type Stats struct {
	Trades     uint64 // Merged.
	Flawed     uint64
	Duplicates uint64 // Trades with ids that came before, late ones aside.
	Late       uint64
	Forgotten  uint64
	Overflows  uint64
	Refused    uint64 // For want of room: [ErrFull], [ErrSymbols], [ErrSources].
	Closed     uint64 // Bars, with those that were filled.
	Filled     uint64 // Bars that had no trades when they were closed.
	Revisions  uint64 // Changes of bars that were closed.
	Renumbered uint64 // Times that a source began to number the trades of a symbol anew.
	Symbols    int    // That there are.
	Waiting    int    // Bars that are to be told.
}
