// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"tickedge/internal/topics"
)

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]topics.Version{
		"0":                          {Set: true},
		"-0":                         {Set: true},
		"1732181723411":              {Whole: 1732181723411, Set: true},
		"9223372036854775807":        {Whole: math.MaxInt64, Set: true},
		"-9223372036854775807":       {Whole: -math.MaxInt64, Set: true},
		"1732181723.4":               {Whole: 1732181723, Nano: 400_000_000, Set: true},
		"1.000000001":                {Whole: 1, Nano: 1, Set: true},
		"1.100000000":                {Whole: 1, Nano: 100_000_000, Set: true},
		"-1.25":                      {Whole: -2, Nano: 750_000_000, Set: true},
		"-0.5":                       {Whole: -1, Nano: 500_000_000, Set: true},
		"007":                        {Whole: 7, Set: true},
		"":                           {},
		"-":                          {},
		".5":                         {},
		"5.":                         {},
		"+5":                         {},
		"--5":                        {},
		" 5":                         {},
		"1e3":                        {Whole: 1000, Set: true},
		"1.5e3":                      {Whole: 1500, Set: true},
		"1E+3":                       {Whole: 1000, Set: true},
		"1.0":                        {Whole: 1, Set: true},
		"-0e5":                       {Set: true},
		"0e999999999":                {Set: true},
		"1.732181723411e+15":         {Whole: 1732181723411000, Set: true},
		"1.732181723411e15":          {Whole: 1732181723411000, Set: true},
		"17321817234110000e-1":       {Whole: 1732181723411000, Set: true},
		"9.223372036854775807e18":    {Whole: math.MaxInt64, Set: true},
		"-9.223372036854775807e18":   {Whole: -math.MaxInt64, Set: true},
		"9.223372036854775808e18":    {},
		"1e18":                       {Whole: 1e18, Set: true},
		"1e19":                       {},
		"1e999999999":                {},
		"1e99999999999999999999999":  {},
		"1e-999999999":               {},
		"1e-9":                       {Nano: 1, Set: true},
		"1e-10":                      {},
		"10e-10":                     {Nano: 1, Set: true},
		"-1.25e1":                    {Whole: -13, Nano: 500_000_000, Set: true},
		"1.7321e3":                   {Whole: 1732, Nano: 100_000_000, Set: true},
		"1.0000000000":               {Whole: 1, Set: true},
		"1e":                         {},
		"1e+":                        {},
		"1e-":                        {},
		"1e+-1":                      {},
		"1e1.5":                      {},
		"1e1e1":                      {},
		"e5":                         {},
		".5e1":                       {},
		"1.e1":                       {},
		"Infinity":                   {},
		"9999999999999999999":        {},
		"00000000000000000000000007": {Whole: 7, Set: true},
		"0x10":                       {},
		"1.2.3":                      {},
		"1.-2":                       {},
		"1.0000000001":               {},
		"9223372036854775808":        {},
		"99999999999999999999":       {},
		"NaN":                        {},
	} {
		got, ok := parseVersion(s)
		if ok != want.Set || ok && got != want {
			t.Errorf("parseVersion(%q) = %+v, %t, want %+v", s, got, ok, want)
		}
	}
}

// A number with a great many digits, or an exponent that undoes them, is exact too, and takes no
// longer than its bytes.
func TestVersionsOfManyDigits(t *testing.T) {
	zeros := strings.Repeat("0", 4000)
	for s, want := range map[string]topics.Version{
		"1" + zeros + "e-3990":   {Whole: 1e10, Set: true},
		"0." + zeros + "12e4002": {Whole: 12, Set: true},
		"1." + zeros:             {Whole: 1, Set: true},
		"1." + zeros + "1":       {},
		"1" + zeros:              {},
	} {
		if got, ok := parseVersion(s); ok != want.Set || ok && got != want {
			t.Errorf("parseVersion(%.8s… of %d bytes) = %+v, %t, want %+v", s, len(s), got, ok, want)
		}
	}
}

func TestInspectVersion(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 30) + `{"seq":7}` + strings.Repeat("}", 30)
	for _, c := range []struct {
		value, path string
		want        int64 // -1: none.
	}{
		{`{"seq":7}`, "seq", 7},
		{` { "seq" : 7 } `, "seq", 7},
		{`{"seq":"7"}`, "seq", 7},
		{`{"meta":{"seq":7},"seq":8}`, "meta.seq", 7},
		{`{"seq":8,"meta":{"x":{"seq":9},"seq":7,"y":[{"seq":10}]}}`, "meta.seq", 7},
		{`{"x":{"seq":8}}`, "seq", -1},
		{`{"seq":null}`, "seq", -1},
		{`{"seq":true}`, "seq", -1},
		{`{"seq":[7]}`, "seq", -1},
		{`{"seq":{"seq":7}}`, "seq", -1},
		{`{"seq":7e0}`, "seq", 7},
		{`{"seq":"7e0"}`, "seq", 7},
		{`{"seq":1.732181723411e+15}`, "seq", 1732181723411000},
		{`{"seq":"1.732181723411e+15","p":1}`, "seq", 1732181723411000},
		{`{"p":"seq","q":7}`, "seq", -1},
		{`{"":7}`, "seq", -1},
		{`{"seqs":7}`, "seq", -1},
		{`{"se":7}`, "seq", -1},
		{`7`, "seq", -1},
		{`"seq"`, "seq", -1},
		{`[{"seq":7}]`, "seq", -1},
		{`{"meta":[{"seq":7}]}`, "meta.seq", -1},
		{`{"meta":7}`, "meta.seq", -1},
		{`{}`, "seq", -1},
		{deep, strings.Repeat("a.", 30) + "seq", 7},
		{deep, strings.Repeat("a.", 29) + "seq", -1},

		// As JavaScript has it: the last one counts, with all that is in it.
		{`{"seq":1,"seq":2}`, "seq", 2},
		{`{"seq":1,"seq":null}`, "seq", -1},
		{`{"seq":null,"seq":2}`, "seq", 2},
		{`{"meta":{"seq":1},"meta":{"seq":2}}`, "meta.seq", 2},
		{`{"meta":{"seq":1},"meta":{"x":2}}`, "meta.seq", -1},
		{`{"meta":{"seq":1},"meta":2}`, "meta.seq", -1},
		{`{"meta":{"seq":1,"seq":3},"x":{"seq":4}}`, "meta.seq", 3},
		{`{"a":{"b":{"c":1},"b":{"c":2}},"a":{"b":{"c":3,"c":4},"d":{"c":5}},"b":{"c":6}}`, "a.b.c", 4},

		// Escapes stand for what they stand for.
		{`{"\u0073e\u0071":7}`, "seq", 7},
		{`{"seq":1,"\u0073eq":2}`, "seq", 2},
		{`{"seq":"\u0037\u002e5e1"}`, "seq", 75},
		{`{"seq":"7\n"}`, "seq", -1},
		{`{"seq":"\u00377"}`, "seq", 77},
		{`{"seq":"7\u0660"}`, "seq", -1},
		{`{"s\\eq":7}`, "seq", -1},
		{`{"seq\u0000":7}`, "seq", -1},
	} {
		want := NoVersion
		if c.want >= 0 {
			want = Flawless
		}
		if v, f := InspectVersion(c.value, c.path); f != want || f == Flawless && (v.Whole != c.want || !v.Set) {
			t.Errorf("version of %s at %s = %+v, %v, want %d", c.value, c.path, v, f, c.want)
		}
		if v, f := InspectVersion(c.value, ""); f != Flawless || v.Set {
			t.Errorf("without a path %s is %+v, %v", c.value, v, f)
		}
	}
	for value, want := range map[string]Flaw{
		`{"seq":7`: NotJSON, `{"seq":`: NotJSON, `{"meta":{"seq":7}`: NotJSON, `{"seq"}`: NotJSON, `{"seq":7}7`: NotJSON,
		"{\"seq\":7,\"x\":\"\xff\"}": NotUTF8, `{"seq":7,"x":"` + strings.Repeat("x", ValueMax) + `"}`: TooBig,
	} {
		if _, f := InspectVersion(value, "seq"); f != want {
			t.Errorf("%.40s is %v, want %v", value, f, want)
		}
	}
	a, _ := InspectVersion(`{"ts":1732181723411000001}`, "ts")
	if b, _ := InspectVersion(`{"ts":1732181723411000002}`, "ts"); a.Compare(b) >= 0 {
		t.Error("digits of a number are lost") // As floats, the two are one.
	}
	for path, want := range map[string]bool{"seq": true, "meta.ts": true, "a_b-C.9": true,
		"": false, ".": false, "a..b": false, "a.": false, "#": false, "a.#": false, "@this": false, "a|b": false, "a*": false, "é": false} {
		if ValidVersionField(path) != want {
			t.Errorf("ValidVersionField(%q) = %t", path, !want)
		}
	}
}

// FuzzInspectVersion compares with a parser that we did not write: encoding/json takes the last of
// members with the same name too, and big.Rat computes what a number is.
func FuzzInspectVersion(f *testing.F) {
	for _, s := range []string{
		`{"a":{"seq":1.5e3}}`, `{"a":{"seq":"1"},"a":{"seq":2}}`, `{"a":1,"\u0061":{"seq":-0.5e-3,"s\u0065q":7}}`,
		`{"a":{"seq":9223372036854775807e0,"b":[{"a":{"seq":3}}]}}`, `{"a":{"a":{"seq":3},"seq":1e-9}}`, `[{"a":{"seq":3}}]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		v, flaw := InspectVersion(value, "a.seq")
		if plain := Inspect(value); flaw != plain && (plain != Flawless || flaw != NoVersion) {
			t.Fatalf("%s is %v, and with a version %v", value, plain, flaw)
		}
		if flaw != Flawless && flaw != NoVersion || longExponent.MatchString(value) {
			return
		}
		want, ok := versionByReflection(value)
		if ok != (flaw == Flawless) || ok && v != want {
			t.Fatalf("version of %s = %+v, %v, want %+v, %t", value, v, flaw, want, ok)
		}
	})
}

// longExponent is more than what big.Rat should be asked for.
var longExponent = regexp.MustCompile(`[eE][+-]?[0-9]{4,}`)

// versionByReflection is the version at a.seq of a value that is valid.
func versionByReflection(value string) (v topics.Version, ok bool) {
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	var all any
	if d.Decode(&all) != nil {
		return v, false
	}
	outer, _ := all.(map[string]any)
	inner, _ := outer["a"].(map[string]any)
	text, isText := inner["seq"].(string)
	if n, is := inner["seq"].(json.Number); is {
		text, isText = n.String(), true
	}
	if !isText || !regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`).MatchString(text) {
		return v, false
	}
	exact, _ := new(big.Rat).SetString(text)
	nanos := new(big.Rat).Mul(exact, big.NewRat(1e9, 1))
	if !nanos.IsInt() {
		return v, false
	}
	whole, rest := new(big.Int).DivMod(nanos.Num(), big.NewInt(1e9), new(big.Int))
	magnitude := new(big.Int).Div(new(big.Int).Abs(nanos.Num()), big.NewInt(1e9))
	if !magnitude.IsInt64() {
		return v, false
	}
	return topics.Version{Whole: whole.Int64(), Nano: uint32(rest.Int64()), Set: true}, true
}
