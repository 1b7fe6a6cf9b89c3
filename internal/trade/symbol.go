// SPDX-License-Identifier: Apache-2.0

package trade

import (
	"fmt"
	"strings"
	"time"

	"tickedge/internal/topics"
)

// Symbol is a name under which trades are known here: that of one instrument at one exchange, or an alias
// of one or several of these. It does not change after its table was made.
type Symbol struct {
	Name       string // A topic, such as COINBASE:BTC-USD.
	PriceScale uint8  // Decimal digits of prices.
	SizeScale  uint8  // Decimal digits of sizes.
	Zone       *time.Location
	Session    Session
	Fill       bool // Bars without trades, within its session, are made of the previous close.

	// Of an instrument.
	Source   string // The exchange in capitals.
	Vendor   string // Its name there, as the exchange spells it.
	Numbered bool   // Trades have ids that rise by one with each: a gap in them is a gap.

	// Aliases are the symbols that get its trades too.
	Aliases []*Symbol
}

// Alias reports whether s has its trades from other symbols.
func (s *Symbol) Alias() bool { return s.Source == "" }

// Session is when a symbol is traded, in its zone. The zero Session is always.
type Session struct {
	Days       [7]bool // By time.Weekday. None is all.
	Open, Shut int     // Seconds of the day. Both 0: the whole day. A session does not pass midnight.
}

// Contains reports whether a session is on at a time, which is in the zone of its symbol.
func (s Session) Contains(t time.Time) bool {
	next, ok := s.Next(t)
	return ok && next.Equal(t)
}

// Next returns the first time, not before at, at which a session is on. at is in the zone of its symbol. It is
// false if there is none within two weeks.
func (s Session) Next(at time.Time) (time.Time, bool) {
	if s == (Session{}) {
		return at, true
	}
	y, m, d := at.Date()
	for n := range 15 {
		day := time.Date(y, m, d+n, 0, 0, 0, 0, time.UTC)
		if s.Days != [7]bool{} && !s.Days[day.Weekday()] {
			continue
		}
		end := s.Shut
		if s.Open == 0 && s.Shut == 0 {
			end = 86400
		}
		open, shut := FirstShown(day.Unix()+int64(s.Open), at.Location()), FirstShown(day.Unix()+int64(end), at.Location())
		if shut.After(at) && open.Before(shut) {
			if open.Before(at) {
				return at, true
			}
			return open, true
		}
	}
	return time.Time{}, false
}

// FirstShown returns the first time at which the clocks of a zone show a time or a later one. What they show is in
// seconds since what they called the beginning of 1970. So it is the first of two where clocks go back, and
// that at which they go forward if they leave it out.
func FirstShown(shown int64, zone *time.Location) time.Time {
	const earliest = 16 * 3600 // No zone is as far from UTC.
	at := time.Unix(shown-earliest, 0).In(zone)
	for {
		_, offset := at.Zone()
		_, end := at.ZoneBounds()
		if sec := max(at.Unix(), shown-int64(offset)); end.IsZero() || sec < end.Unix() {
			return time.Unix(sec, 0).In(zone)
		}
		at = end
	}
}

// Table has all symbols. It does not change, so any goroutine may read it.
type Table struct {
	byName   map[string]*Symbol
	byVendor map[vendorName]*Symbol
	all      []*Symbol
}

type vendorName struct{ source, name string }

// SymbolsMax bounds a table.
const SymbolsMax = 100_000

// Entry is one symbol as operators write it.
type Entry struct {
	Symbol     string   `yaml:"symbol"`
	Source     string   `yaml:"source"`      // coinbase, binance, finnhub, sim, file, … of an instrument.
	Vendor     string   `yaml:"vendor"`      // Its name there. Default: the symbol behind its colon.
	Of         []string `yaml:"of"`          // Of an alias: the symbols whose trades it gets.
	PriceScale *uint8   `yaml:"price_scale"` // Default 8; of an alias, the highest of those that it is of.
	SizeScale  *uint8   `yaml:"size_scale"`
	Zone       string   `yaml:"zone"`  // Of the IANA time zone database; default UTC.
	Days       string   `yaml:"days"`  // Such as Mon-Fri.
	Hours      string   `yaml:"hours"` // Such as 09:30-16:00.
	Fill       bool     `yaml:"fill"`
}

// DefaultScale is the decimal digits of prices and sizes that an entry does not state.
const DefaultScale = 8

// NewTable checks entries and returns their table. The error says which entry is wrong.
func NewTable(entries []Entry, numbered func(source string) bool) (*Table, error) {
	if len(entries) > SymbolsMax {
		return nil, fmt.Errorf("there are %d symbols, want at most %d", len(entries), SymbolsMax)
	}
	t := &Table{byName: make(map[string]*Symbol), byVendor: make(map[vendorName]*Symbol)}
	for i, e := range entries {
		if err := t.add(e, numbered); err != nil {
			return nil, fmt.Errorf("symbol %d (%q): %w", i+1, e.Symbol, err)
		}
	}
	for i, e := range entries { // Aliases may stand before what they are of.
		if len(e.Of) == 0 {
			continue
		}
		if err := t.alias(e); err != nil {
			return nil, fmt.Errorf("symbol %d (%q): %w", i+1, e.Symbol, err)
		}
	}
	return t, nil
}

func (t *Table) add(e Entry, numbered func(string) bool) error {
	if !topics.ValidName(e.Symbol) {
		return fmt.Errorf("it is no name of a topic: want %s", topics.NameRule)
	}
	if t.byName[e.Symbol] != nil {
		return fmt.Errorf("it is there twice")
	}
	if (e.Source == "") == (len(e.Of) == 0) {
		return fmt.Errorf("want either source, of an instrument, or of, of an alias")
	}
	s := &Symbol{Name: e.Symbol, PriceScale: DefaultScale, SizeScale: DefaultScale, Fill: e.Fill}
	for _, n := range []struct {
		name string
		have *uint8
		to   *uint8
	}{{"price_scale", e.PriceScale, &s.PriceScale}, {"size_scale", e.SizeScale, &s.SizeScale}} {
		if n.have == nil {
			continue
		}
		if *n.have > ScaleMax {
			return fmt.Errorf("%s is %d, want 0 to %d", n.name, *n.have, ScaleMax)
		}
		*n.to = *n.have
	}
	var err error
	if s.Zone, err = time.LoadLocation(e.Zone); err != nil {
		return fmt.Errorf("zone %q is not known: want for example America/New_York", e.Zone)
	}
	if s.Session, err = parseSession(e.Days, e.Hours); err != nil {
		return err
	}
	if e.Source != "" {
		s.Source, s.Vendor = strings.ToUpper(e.Source), e.Vendor
		if s.Vendor == "" {
			s.Vendor = s.Name[strings.LastIndexByte(s.Name, ':')+1:]
		}
		s.Numbered = numbered(s.Source)
		k := vendorName{s.Source, s.Vendor}
		if other := t.byVendor[k]; other != nil {
			return fmt.Errorf("%s of %s is %s already; an alias (of: [%s]) gets its trades too", s.Vendor, s.Source, other.Name, other.Name)
		}
		t.byVendor[k] = s
	}
	t.byName[s.Name] = s
	t.all = append(t.all, s)
	return nil
}

func (t *Table) alias(e Entry) error {
	a := t.byName[e.Symbol]
	var price, size uint8
	from := make(map[string]string)
	for _, name := range e.Of {
		s := t.byName[name]
		if s == nil || s.Alias() {
			return fmt.Errorf("%q, of which it is to be an alias, is no instrument of this table", name)
		}
		for _, has := range s.Aliases {
			if has == a {
				return fmt.Errorf("%q is there twice", name)
			}
		}
		// Trades of an alias are known by source and id, and exchanges number each symbol anew.
		if other := from[s.Source]; other != "" {
			return fmt.Errorf("%s and %s are both of %s, whose ids of trades are those of a symbol: want one symbol of each exchange", other, name, s.Source)
		}
		from[s.Source] = name
		s.Aliases = append(s.Aliases, a)
		price, size = max(price, s.PriceScale), max(size, s.SizeScale)
	}
	if e.PriceScale == nil {
		a.PriceScale = price
	}
	if e.SizeScale == nil {
		a.SizeScale = size
	}
	return nil
}

// Named returns the symbol of a name, nil if there is none.
func (t *Table) Named(name string) *Symbol { return t.byName[name] }

// Vendor returns the symbol of an instrument by its name at its exchange, nil if there is none.
func (t *Table) Vendor(source, name string) *Symbol { return t.byVendor[vendorName{source, name}] }

// All returns the symbols in the order of their entries. It is not to be changed.
func (t *Table) All() []*Symbol { return t.all }

// Source returns the instruments of an exchange.
func (t *Table) Source(source string) []*Symbol {
	var out []*Symbol
	for _, s := range t.all {
		if s.Source == source {
			out = append(out, s)
		}
	}
	return out
}

var weekdays = [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

func parseSession(days, hours string) (Session, error) {
	var s Session
	if days != "" {
		for part := range strings.SplitSeq(days, ",") {
			from, to, span := strings.Cut(strings.TrimSpace(part), "-")
			a, b := weekday(from), weekday(to)
			if !span {
				b = a
			}
			if a < 0 || b < 0 {
				return s, fmt.Errorf("days are %q, want for example Mon-Fri or Sun,Mon", days)
			}
			for d := a; ; d = (d + 1) % 7 {
				s.Days[d] = true
				if d == b {
					break
				}
			}
		}
	}
	if hours != "" {
		from, to, _ := strings.Cut(hours, "-")
		a, err1 := time.Parse("15:04", strings.TrimSpace(from))
		to = strings.TrimSpace(to)
		b, err2 := time.Parse("15:04", to)
		s.Open, s.Shut = a.Hour()*3600+a.Minute()*60, b.Hour()*3600+b.Minute()*60
		if to == "24:00" {
			s.Shut, err2 = 86400, nil
		}
		if err1 != nil || err2 != nil || s.Open >= s.Shut {
			return s, fmt.Errorf("hours are %q, want for example 09:30-16:00, within one day", hours)
		}
	}
	return s, nil
}

func weekday(name string) int {
	for i, w := range weekdays {
		if strings.EqualFold(w, strings.TrimSpace(name)) {
			return i
		}
	}
	return -1
}
