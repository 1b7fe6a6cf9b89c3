// SPDX-License-Identifier: Apache-2.0

package trade

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func numbered(source string) bool { return source == "COINBASE" }

func scale(n uint8) *uint8 { return &n }

func TestCheck(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMicro()
	good := Trade{Symbol: &Symbol{}, Source: "A", Price: 1, Time: now}
	if err := good.Check(now); err != nil {
		t.Error(err)
	}
	for want, change := range map[error]func(*Trade){
		ErrSymbol: func(t *Trade) { t.Symbol = nil },
		ErrPrice:  func(t *Trade) { t.Price = 0 },
		ErrSize:   func(t *Trade) { t.Size = -1 },
		ErrTime:   func(t *Trade) { t.Time = 0 },
		ErrAhead:  func(t *Trade) { t.Time = now + AheadMax + 1 },
		ErrQuote:  func(t *Trade) { t.Bid = -1 },
		ErrID:     func(t *Trade) { t.ID = -1 },
	} {
		bad := good
		change(&bad)
		if err := bad.Check(now); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	ahead := good
	if ahead.Time = now + AheadMax; ahead.Check(now) != nil {
		t.Error(ahead.Check(now))
	}
}

func TestValidSource(t *testing.T) {
	for s, want := range map[string]bool{
		"A": true, "COINBASE": true, "X-1_2.B": true, strings.Repeat("A", 32): true,
		"": false, "a": false, "A B": false, "-A": false, "Ä": false, "A\"": false, strings.Repeat("A", 33): false,
	} {
		if ValidSource(s) != want {
			t.Errorf("%q is %t", s, !want)
		}
	}
}

func TestKey(t *testing.T) {
	for i, a := range []Key{{1, 2}, {1, 3}, {2, 0}, {2, 1}} {
		for n, b := range []Key{{1, 2}, {1, 3}, {2, 0}, {2, 1}} {
			if a.Before(b) != (i < n) {
				t.Errorf("%v before %v is %t", a, b, a.Before(b))
			}
		}
	}
	if Buy.String() != "buy" || Sell.String() != "sell" || NoSide.String() != "" {
		t.Error("sides have other names")
	}
}

func TestAs(t *testing.T) {
	table, err := NewTable([]Entry{
		{Symbol: "BTC", Of: []string{"COINBASE:BTC-USD", "BINANCE:BTCUSDT"}},
		{Symbol: "COINBASE:BTC-USD", Source: "coinbase", PriceScale: scale(2), SizeScale: scale(8)},
		{Symbol: "BINANCE:BTCUSDT", Source: "binance", Vendor: "btcusdt", PriceScale: scale(4), SizeScale: scale(5)},
		{Symbol: "COARSE", Of: []string{"COINBASE:BTC-USD"}, PriceScale: scale(1)},
	}, numbered)
	if err != nil {
		t.Fatal(err)
	}
	btc, coinbase, binance := table.Named("BTC"), table.Vendor("COINBASE", "BTC-USD"), table.Vendor("BINANCE", "btcusdt")
	if !btc.Alias() || btc.PriceScale != 4 || btc.SizeScale != 8 || coinbase.Alias() || !coinbase.Numbered || binance.Numbered {
		t.Fatalf("%+v %+v %+v", btc, coinbase, binance)
	}
	if len(coinbase.Aliases) != 2 || len(table.All()) != 4 || len(table.Source("BINANCE")) != 1 || table.Named("X") != nil {
		t.Error("the table has other symbols")
	}
	tr := Trade{Symbol: coinbase, Price: 9512345, Size: 150000000, Bid: 9512344, Ask: 0, Time: 1, ID: 7}
	got, err := tr.As(btc)
	if err != nil || got.Symbol != btc || got.Price != 951234500 || got.Size != 150000000 || got.Bid != 951234400 || got.Ask != 0 || got.ID != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if tr.Price != 9512345 || tr.Symbol != coinbase {
		t.Error("the trade was changed")
	}
	if _, err := tr.As(table.Named("COARSE")); !errors.Is(err, errExact) {
		t.Error(err)
	}
	tr.Price = 1 << 62
	if _, err := tr.As(btc); !errors.Is(err, errFit) {
		t.Error(err)
	}
}

func TestTableErrors(t *testing.T) {
	one := Entry{Symbol: "COINBASE:BTC-USD", Source: "coinbase"}
	for want, entries := range map[string][]Entry{
		"it is no name of a topic":                    {{Symbol: "A B", Source: "x"}},
		"it is there twice":                           {one, one},
		"want either source":                          {{Symbol: "A"}},
		"of an alias":                                 {{Symbol: "A", Source: "x", Of: []string{"B"}}},
		"price_scale is 16, want 0 to 15":             {{Symbol: "A", Source: "x", PriceScale: scale(16)}},
		"size_scale is 16, want 0 to 15":              {{Symbol: "A", Source: "x", SizeScale: scale(16)}},
		`zone "Moon/Sea" is not known`:                {{Symbol: "A", Source: "x", Zone: "Moon/Sea"}},
		`days are "Mon-Foo"`:                          {{Symbol: "A", Source: "x", Days: "Mon-Foo"}},
		`days are ","`:                                {{Symbol: "A", Source: "x", Days: ","}},
		`hours are "9-17"`:                            {{Symbol: "A", Source: "x", Hours: "9-17"}},
		`hours are "16:00-09:30"`:                     {{Symbol: "A", Source: "x", Hours: "16:00-09:30"}},
		`hours are "09:30"`:                           {{Symbol: "A", Source: "x", Hours: "09:30"}},
		"BTC-USD of COINBASE is COINBASE:BTC-U":       {one, {Symbol: "OTHER", Source: "COINBASE", Vendor: "BTC-USD"}},
		`"B", of which it is to be an alias`:          {{Symbol: "A", Of: []string{"B"}}},
		`"X", of which it is to be an alias`:          {one, {Symbol: "X", Of: []string{one.Symbol}}, {Symbol: "A", Of: []string{"X"}}},
		`"COINBASE:BTC-USD" is there twice`:           {one, {Symbol: "A", Of: []string{one.Symbol, one.Symbol}}},
		"COINBASE:BTC-USD and E are both of COINBASE": {one, {Symbol: "E", Source: "coinbase", Vendor: "ETH-USD"}, {Symbol: "A", Of: []string{one.Symbol, "E"}}},
		"there are 100001 symbols":                    make([]Entry, SymbolsMax+1),
		`symbol 2 ("A B")`:                            {one, {Symbol: "A B", Source: "x"}},
	} {
		if _, err := NewTable(entries, numbered); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSession(t *testing.T) {
	for _, c := range []struct{ zone, days, hours, at, next string }{
		{"UTC", "", "", "2026-03-02T12:00:00", "2026-03-02T12:00:00"},
		{"UTC", "Mon-Fri", "", "2026-03-02T00:00:00", "2026-03-02T00:00:00"},
		{"UTC", "Mon-Fri", "", "2026-03-06T23:59:59", "2026-03-06T23:59:59"},
		{"UTC", "Mon-Fri", "", "2026-03-07T00:00:00", "2026-03-09T00:00:00"},
		{"UTC", "Fri-Mon", "", "2026-03-03T00:00:00", "2026-03-06T00:00:00"},
		{"UTC", "sun, wed", "", "2026-03-02T00:00:00", "2026-03-04T00:00:00"},
		{"UTC", "", "09:30-16:00", "2026-03-02T09:29:59", "2026-03-02T09:30:00"},
		{"UTC", "", "09:30-16:00", "2026-03-02T15:59:59", "2026-03-02T15:59:59"},
		{"UTC", "", "09:30-16:00", "2026-03-02T16:00:00", "2026-03-03T09:30:00"},
		{"UTC", "Mon-Fri", "00:00-24:00", "2026-03-06T23:59:59", "2026-03-06T23:59:59"},
		{"America/New_York", "Mon-Fri", "09:30-16:00", "2026-03-06T16:00:00", "2026-03-09T09:30:00"}, // Over a change of clocks.
		{"America/New_York", "Sun", "01:30-02:30", "2026-03-08T00:00:00", "2026-03-08T01:30:00"},     // The clocks go forward in it.
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSession(c.days, c.hours)
		if err != nil {
			t.Fatal(err)
		}
		at, _ := time.ParseInLocation("2006-01-02T15:04:05", c.at, zone)
		next, ok := s.Next(at)
		if got := next.Format("2006-01-02T15:04:05"); !ok || got != c.next {
			t.Errorf("after %s, %s %s is on %s, want %s", c.at, c.days, c.hours, got, c.next)
		}
		if on := c.at == c.next; s.Contains(at) != on {
			t.Errorf("%s %s is on at %s: %t", c.days, c.hours, c.at, !on)
		}
	}
	if _, ok := (Session{Open: 5, Shut: 4}).Next(time.Now()); ok {
		t.Error("a session is on that never is")
	}
}

// TestSessionNext compares with looking at each minute.
func TestSessionNext(t *testing.T) {
	zone, _ := time.LoadLocation("America/Havana")
	for _, text := range []string{"Mon-Fri 09:30-16:00", "Sun 00:00-01:30", "Sat,Sun 00:30-24:00", "Sun "} {
		days, hours, _ := strings.Cut(text, " ")
		s, err := parseSession(days, hours)
		if err != nil {
			t.Fatal(err)
		}
		end := time.Date(2026, 3, 10, 0, 0, 0, 0, zone)
		want := ""
		for at := end; at.After(end.Add(-96 * time.Hour)); at = at.Add(-time.Minute) {
			if s.Contains(at) != shown(s, at) {
				t.Fatalf("%s: at %v it is on: %t", text, at, s.Contains(at))
			}
			if shown(s, at) {
				want = fmt.Sprint(at)
			}
			next, ok := s.Next(at)
			if want != "" && (!ok || fmt.Sprint(next) != want) {
				t.Fatalf("%s: after %v it is on %v, want %s", text, at, next, want)
			}
		}
	}
}

// shown reports whether a session is on by what clocks show.
func shown(s Session, at time.Time) bool {
	h, m, _ := at.Clock()
	sec := h*3600 + m*60
	return (s.Days == [7]bool{} || s.Days[at.Weekday()]) && (s.Shut == 0 || sec >= s.Open && sec < s.Shut)
}
