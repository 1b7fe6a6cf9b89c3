// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	two := 2
	for _, c := range []struct {
		unit     string
		value    float64
		decimals *int
		want     string
	}{
		{"none", 0, nil, "0"}, {"", 12345.6, nil, "12346"}, {"none", 0.0123456, nil, "0.0123"}, {"none", -2.5, nil, "-2.5"},
		{"short", 12345, nil, "12.3 K"}, {"short", 1.5e6, nil, "1.5 Mil"},
		{"percentunit", 0.256, nil, "25.6 %"}, {"percent", 99.99, nil, "100 %"}, {"percentunit", 0.5, &two, "50.00 %"},
		{"s", 0, nil, "0 s"}, {"s", 0.0025, nil, "2.5 ms"}, {"s", 59, nil, "59 s"}, {"s", 90, nil, "1.5 min"}, {"s", 7200, nil, "2 h"},
		{"s", 3e-9, nil, "3 ns"},
		{"ms", 1500, nil, "1.5 s"}, {"ms", 250, nil, "250 ms"}, {"bytes", 0, nil, "0 B"}, {"bytes", 1536, nil, "1.5 KiB"},
		{"decbytes", 1.5e6, nil, "1.5 MB"},
		{"binBps", 2048, nil, "2 KiB/s"}, {"reqps", 20, nil, "20 req/s"}, {"suffix:rows", 3, nil, "3 rows"}, {"furlongs", 3, nil, "3 furlongs"},
	} {
		if is := unitOf(c.unit).write(c.value, c.decimals); is != c.want {
			t.Errorf("%v %s: %q, want %q", c.value, c.unit, is, c.want)
		}
	}
}

func TestAxes(t *testing.T) {
	zero, most := 0.0, 1.0
	for _, c := range []struct {
		unit      string
		min, max  *float64
		soft      *float64
		low, high float64
		want      string
	}{
		{"none", &zero, nil, nil, 0, 37, "0, 10, 20, 30, 40"},
		{"none", &zero, nil, nil, 0, 0, "0, 0.25, 0.5, 0.75, 1"},
		{"none", nil, nil, nil, 90, 110, "90, 95, 100, 105, 110"},
		{"bytes", &zero, nil, nil, 0, 3 << 20, "0 B, 1 MiB, 2 MiB, 3 MiB"},
		{"s", &zero, nil, nil, 0, 200, "0 s, 1 min, 2 min, 3 min, 4 min"},
		{"s", &zero, nil, nil, 0, 4 * 3600, "0 s, 1 h, 2 h, 3 h, 4 h"},
		{"percentunit", &zero, nil, &most, 0, 0.003, "0 %, 25 %, 50 %, 75 %, 100 %"},
		{"percentunit", &zero, nil, &most, 0, 1.4, "0 %, 50 %, 100 %, 150 %"},
		{"percentunit", &zero, &most, nil, 0, 7, "0 %, 25 %, 50 %, 75 %, 100 %"},
	} {
		f := &field{Unit: c.unit, Min: c.min, Max: c.max}
		f.Custom.AxisSoftMax = c.soft
		a := axisOf(f, c.low, c.high)
		var names []string
		for _, v := range a.ticks {
			names = append(names, a.unit.write(v, nil))
		}
		if is := strings.Join(names, ", "); is != c.want {
			t.Errorf("%+v: %s", c, is)
		}
		if a.place(a.low) != 0 || a.place(a.high) != 1 {
			t.Errorf("%+v: the ends are at %v and %v", c, a.place(a.low), a.place(a.high))
		}
	}
	f := &field{}
	f.Custom.ScaleDistribution.Type = "log"
	if a := axisOf(f, 0.02, 3); !slices.Equal(a.ticks, []float64{0.01, 0.1, 1, 10}) || a.place(0.1) < 0.33 || a.place(0.1) > 0.34 {
		t.Errorf("%+v", a)
	}
	// A number that is hardly one makes no endless axis.
	if a := axisOf(f, math.SmallestNonzeroFloat64, 1e308); len(a.ticks) > ticksMost {
		t.Errorf("%d ticks", len(a.ticks))
	}
}

func TestPaths(t *testing.T) {
	var p path
	for _, at := range [][2]float64{{0, 0}, {10, 0}, {20, 0}, {20, 5}, {30, 10}, {40, 15}, {30, 15}} {
		p.to(at[0], at[1])
	}
	p.stop()
	p.to(1.26, 2)
	p.to(3, -2)
	p.stop()
	if is := p.String(); is != "M0 0h20v5l20 10h-10M1.3 2l1.7-4" {
		t.Error(is)
	}
}

func TestVariables(t *testing.T) {
	is := func(v variable, want string) {
		t.Helper()
		if got := v.value(); got != want {
			t.Errorf("%+v: %q, want %q", v, got, want)
		}
	}
	v := variable{Type: "query"}
	is(v, ".*")
	v.Current.Value = []any{"$__all"}
	v.AllValue = "e.+"
	is(v, "e.+")
	v.Current.Value = []any{"a.b", "c"}
	is(v, `(a\.b|c)`)
	v.Current.Value = "x"
	is(v, "x")
	is(variable{Type: "constant", Query: "7"}, "7")
	text, err := fill(`a[${__range}] b{c="$c", d=~"[[d]]", e="${c:regex}"} $1`, map[string]string{"__range": "60s", "c": "1", "d": "2"})
	if want := `a[60s] b{c="1", d=~"2", e="1"} $1`; text != want || err != nil {
		t.Errorf("%s, %v", text, err)
	}
	if name, err := legend("", map[string]string{"__name__": "m", "b": "2", "a": "1"}, nil); name != `m{a="1", b="2"}` || err != nil {
		t.Errorf("%s, %v", name, err)
	}
}

func TestReduce(t *testing.T) {
	points := []point{{0, 3}, {1, 1}, {2, 8}, {3, 4}}
	for calc, want := range map[string]float64{"": 4, "last": 4, "first": 3, "min": 1, "max": 8, "mean": 4, "sum": 16, "range": 7, "diff": 1} {
		if is, err := reduce(calc, points); is != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", calc, is, err, want)
		}
	}
}
