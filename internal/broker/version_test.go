package broker

import (
	"math"
	"testing"

	"tickedge/internal/topics"
)

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]topics.Version{
		"0":                    {Set: true},
		"-0":                   {Set: true},
		"1732181723411":        {Whole: 1732181723411, Set: true},
		"9223372036854775807":  {Whole: math.MaxInt64, Set: true},
		"-9223372036854775807": {Whole: -math.MaxInt64, Set: true},
		"1732181723.4":         {Whole: 1732181723, Nano: 400_000_000, Set: true},
		"1.000000001":          {Whole: 1, Nano: 1, Set: true},
		"1.100000000":          {Whole: 1, Nano: 100_000_000, Set: true},
		"-1.25":                {Whole: -2, Nano: 750_000_000, Set: true},
		"-0.5":                 {Whole: -1, Nano: 500_000_000, Set: true},
		"007":                  {Whole: 7, Set: true},
		"":                     {},
		"-":                    {},
		".5":                   {},
		"5.":                   {},
		"+5":                   {},
		"--5":                  {},
		" 5":                   {},
		"1e3":                  {},
		"1.5e3":                {},
		"0x10":                 {},
		"1.2.3":                {},
		"1.-2":                 {},
		"1.0000000001":         {},
		"9223372036854775808":  {},
		"99999999999999999999": {},
		"NaN":                  {},
	} {
		got, ok := parseVersion(s)
		if ok != want.Set || ok && got != want {
			t.Errorf("parseVersion(%q) = %+v, %t, want %+v", s, got, ok, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for _, c := range []struct {
		value, path string
		want        int64 // -1: none.
	}{
		{`{"seq":7}`, "seq", 7},
		{`{"seq":"7"}`, "seq", 7},
		{`{"meta":{"seq":7},"seq":8}`, "meta.seq", 7},
		{`{"x":{"seq":8}}`, "seq", -1},
		{`{"seq":null}`, "seq", -1},
		{`{"seq":true}`, "seq", -1},
		{`{"seq":[7]}`, "seq", -1},
		{`{"seq":7e0}`, "seq", -1},
		{`7`, "seq", -1},
		{`"seq"`, "seq", -1},
		{`[{"seq":7}]`, "seq", -1},
	} {
		if v, ok := VersionOf(c.value, c.path); ok != (c.want >= 0) || ok && v.Whole != c.want {
			t.Errorf("version of %s at %s = %+v, %t, want %d", c.value, c.path, v, ok, c.want)
		}
	}
	a, _ := VersionOf(`{"ts":1732181723411000001}`, "ts")
	if b, _ := VersionOf(`{"ts":1732181723411000002}`, "ts"); a.Compare(b) >= 0 {
		t.Error("digits of a number are lost") // As floats, the two are one.
	}
	for path, want := range map[string]bool{"seq": true, "meta.ts": true, "a_b-C.9": true,
		"": false, ".": false, "a..b": false, "a.": false, "#": false, "a.#": false, "@this": false, "a|b": false, "a*": false, "é": false} {
		if ValidVersionField(path) != want {
			t.Errorf("ValidVersionField(%q) = %t", path, !want)
		}
	}
}
