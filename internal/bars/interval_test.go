// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"math/big"
	"testing"
	"time"

	"tickedge/internal/trade"
)

func TestParseInterval(t *testing.T) {
	for text, want := range map[string]int64{
		"1s": 1000, "5s": 5000, "1m": 60_000, "90m": 5_400_000, "1h": 3_600_000, "12h": 43_200_000, "1d": 86_400_000,
	} {
		i, err := ParseInterval(text)
		if err != nil || i.Millis != want || i.Name != text || (i.Days == 1) != (text == "1d") {
			t.Errorf("%s is %+v, %v", text, i, err)
		}
	}
	for _, text := range []string{"", "s", "0s", "-1s", "+1s", "01s", "7s", "2d", "24h", "1440m", "86400s", "1w", "1", "1 m", "1M", "99999999999999999999s"} {
		if i, err := ParseInterval(text); err == nil {
			t.Errorf("%q is %+v", text, i)
		}
	}
}

// TestDays walks through times in which clocks of zones did odd things: days have to tile time.
func TestDays(t *testing.T) {
	day, err := ParseInterval("1d")
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range []struct{ zone, from, to string }{
		{"UTC", "2026-01-01", "2026-01-05"},
		{"America/New_York", "2026-01-01", "2027-01-02"},
		{"America/Havana", "2026-03-01", "2026-11-10"},    // No midnight in March, two in November.
		{"America/Sao_Paulo", "2017-10-01", "2019-03-01"}, // No midnight; from midnight back to the day before.
		{"Atlantic/Azores", "2026-03-01", "2026-11-01"},
		{"America/St_Johns", "1988-03-01", "1988-11-10"}, // From 00:01 back to the day before, by two hours once.
		{"Pacific/Apia", "2011-12-01", "2012-02-01"},     // No 30 December.
		{"Pacific/Kwajalein", "1993-08-01", "1993-09-01"},
		{"Australia/Lord_Howe", "2026-03-01", "2026-11-01"},
		{"Africa/Monrovia", "1972-01-01", "1972-01-15"}, // By 44 min 30 s.
		{"Asia/Manila", "1978-01-01", "1978-10-01"},
		{"Africa/Cairo", "2026-04-01", "2026-11-10"},
		{"Asia/Beirut", "2026-03-01", "2026-11-10"},
	} {
		zone, err := time.LoadLocation(z.zone)
		if err != nil {
			t.Fatal(err)
		}
		from, _ := time.Parse(time.DateOnly, z.from)
		to, _ := time.Parse(time.DateOnly, z.to)
		start := day.Start(from.UnixMilli(), zone)
		for start < to.UnixMilli() {
			next := day.Next(start, zone)
			if hours := float64(next-start) / 3_600_000; hours < 21 || hours > 27 {
				t.Errorf("%s: the day from %v lasts %v h", z.zone, time.UnixMilli(start).In(zone), hours)
			}
			for _, at := range []int64{start, start + 1, start + 999, start + 61_000, start + 7_200_000, next - 7_200_000, next - 61_000, next - 1} {
				if got := day.Start(at, zone); got != start {
					t.Errorf("%s: %v is of the day from %v, want from %v", z.zone, time.UnixMilli(at).In(zone), time.UnixMilli(got).In(zone), time.UnixMilli(start).In(zone))
				}
			}
			// Whatever odd hours there are: noon is of the day that the clocks show.
			noon := time.UnixMilli(start + (next-start)/2).In(zone)
			if y, m, d := noon.Date(); time.Date(y, m, d, 12, 0, 0, 0, zone).Sub(noon).Abs() > 3*time.Hour {
				t.Errorf("%s: the middle of the day from %v is %v", z.zone, time.UnixMilli(start).In(zone), noon)
			}
			start = next
		}
	}
	for _, c := range []struct{ zone, at, start string }{
		{"America/Havana", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z"},    // 01:00.
		{"America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z"},    // The first 00:00.
		{"America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z"}, // 01:00.
		{"America/New_York", "2026-03-09T03:59:59Z", "2026-03-08T05:00:00Z"},
		{"America/New_York", "2026-11-02T04:59:59Z", "2026-11-01T04:00:00Z"},
	} {
		zone, _ := time.LoadLocation(c.zone)
		at, _ := time.Parse(time.RFC3339, c.at)
		if got := time.UnixMilli(day.Start(at.UnixMilli(), zone)).UTC().Format(time.RFC3339); got != c.start {
			t.Errorf("%s: the day of %s begins %s, want %s", c.zone, c.at, got, c.start)
		}
	}
}

func TestStartBefore1970(t *testing.T) {
	i, _ := ParseInterval("1m")
	if got := i.Start(-1, time.UTC); got != -60_000 {
		t.Error(got)
	}
}

func FuzzSum(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint8(0))
	f.Add(uint64(1), uint64(0), uint8(16))
	f.Add(^uint64(0), ^uint64(0), uint8(30))
	f.Add(uint64(542101086242752217), uint64(68739955140067328), uint8(3)) // 10^37.
	f.Add(uint64(54210), uint64(2003764205206896640), uint8(8))            // Zeros inside.
	f.Fuzz(func(t *testing.T, hi, lo uint64, scale uint8) {
		scale %= 31
		s := Sum{hi, lo}
		got, ok := new(big.Rat).SetString(string(s.AppendDecimal(nil, scale)))
		want := new(big.Rat).SetFrac(s.big(), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		if !ok || got.Cmp(want) != 0 {
			t.Errorf("%v at scale %d is %s, want %s", s, scale, s.AppendDecimal(nil, scale), want)
		}
		sum, fits := s.Add(Sum{lo, hi})
		all := new(big.Int).Add(s.big(), Sum{lo, hi}.big())
		if fits != (all.BitLen() <= 128) || fits && sum.big().Cmp(all) != 0 {
			t.Errorf("%v + %v is %v, %t", s, Sum{lo, hi}, sum, fits)
		}
		a, b := int64(hi>>1), int64(lo>>1)
		if p := Product(a, b).big(); p.Cmp(new(big.Int).Mul(big.NewInt(a), big.NewInt(b))) != 0 {
			t.Errorf("%d × %d is %v", a, b, p)
		}
	})
}

func TestBarJSON(t *testing.T) {
	b := Bar{
		Symbol: &trade.Symbol{PriceScale: 2, SizeScale: 8}, Start: 1772452800000, Open: 9512345, High: 9512400, Low: 9512300,
		Close: 9512310, Volume: Sum{0, 150000000}, Turnover: Sum{1, 0}, Count: 3, Rev: 2,
	}
	want := `{"t":1772452800000,"o":95123.45,"h":95124,"l":95123,"c":95123.1,"v":1.5,"q":1844674407.3709551616,"n":3,"rev":2}`
	if got := string(b.AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
