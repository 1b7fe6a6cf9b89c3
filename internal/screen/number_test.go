// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestNumbersHaveOneForm(t *testing.T) {
	for want, spellings := range map[string][]string{
		"1000000":                {"1e6", "1000000.0", "10E5", "0.001e9", "1000000e-0", "0001e+6"},
		"0":                      {"-0", "0.000", "0e400", "0e-99999999999", "-0.0e5"},
		"0.1":                    {"1e-1", "0.10", "100e-3"},
		"-12.5":                  {"-12.500", "-125e-1"},
		"100000000000000000000":  {"1e20", "100000000000000000000.000"},
		"1e22":                   {"10000000000000000000000", "0.1e23"},
		"1.5e-9":                 {"0.0000000015"},
		"67000.0000000000000005": {"670000000000000000005e-16"},
		"4.940656458412465e-324": {"4.940656458412465e-324"},
		"1.7976931348623157e308": {"1.7976931348623157e+308"},
		"1.0000000000000000000000000000000000010e-1": {},
		"1234567890123456789012345678901234567e5":    {},
	} {
		for _, s := range append(spellings, want) {
			n, ok := parseNumber(s)
			again, _ := parseNumber(string(n.append(nil)))
			if !ok || again != n || len(spellings) > 0 && string(n.append(nil)) != want {
				t.Errorf("%s is %s (%v), want %s", s, n.append(nil), ok, want)
			}
		}
	}
	for _, s := range []string{"1e400", "-1e309", "1e-346", "12345678901234567890123456789012345678", "1e99999999999",
		"1" + strings.Repeat("0", 400), "0." + strings.Repeat("0", 400) + "1", "1" + strings.Repeat("0", 50) + "1",
		"x", "1e", "1..2", "1ex"} {
		if n, ok := parseNumber(s); ok {
			t.Errorf("%s fits: %s", s, n.append(nil))
		}
	}
}

// digits makes numbers whose lengths and exponents are as often small as they are at the limits.
func digits(r *rand.Rand) string {
	n := []int{1, 2, 5, 17, 18, 19, 20, 36, 37}[r.IntN(9)]
	b := []byte{"-+"[r.IntN(2)], byte('1' + r.IntN(9))}
	for range n - 1 {
		b = append(b, "0000123456789999"[r.IntN(16)])
	}
	if b[0] == '+' {
		b = b[1:]
	}
	return string(b) + "e" + strconv.Itoa([]int{0, 0, 1, -1, -3, 7, -18, -40, 40, 300, -345}[r.IntN(11)])
}

func rat(n Number) *big.Rat {
	x, ok := new(big.Rat).SetString(string(n.append(nil)))
	if !ok {
		panic("no number: " + string(n.append(nil)))
	}
	return x
}

// fits is what a Number can be: its digits and exponents.
func fits(x *big.Rat) bool {
	_, ok := exact(x)
	return ok
}

func exact(x *big.Rat) (Number, bool) {
	text := x.FloatString(800)
	return parseNumber(text)
}

func TestNumbersAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	fit := 0
	for range 2000 {
		s1, s2 := digits(r), digits(r)
		a, ok1 := parseNumber(s1)
		b, ok2 := parseNumber(s2)
		if !ok1 || !ok2 {
			continue
		}
		x, y := rat(a), rat(b)
		if want, _ := new(big.Rat).SetString(s1); want.Cmp(x) != 0 {
			t.Fatalf("%s was read as %s", s1, a.append(nil))
		}
		if a.Compare(b) != x.Cmp(y) || b.Compare(a) != -x.Cmp(y) || (a == b) != (x.Cmp(y) == 0) {
			t.Fatalf("%s and %s compare as %d", s1, s2, a.Compare(b))
		}
		for o, want := range map[op]*big.Rat{add: new(big.Rat).Add(x, y), subtract: new(big.Rat).Sub(x, y),
			multiply: new(big.Rat).Mul(x, y)} {
			got, ok := calculate(o, a, b)
			if ok && rat(got).Cmp(want) != 0 {
				t.Fatalf("%s %s %s is %s", s1, spelled[o], s2, got.append(nil))
			}
			// A sum of numbers far from each other has more digits under way than at its end.
			if !ok && o == multiply && fits(want) && a.whole.digits()+b.whole.digits() <= digitsMax {
				t.Fatalf("%s %s %s does not fit", s1, spelled[o], s2)
			}
			if ok {
				fit++
			}
		}
		if got, ok := a.rest(b); ok {
			q := new(big.Int).Quo(new(big.Int).Mul(x.Num(), y.Denom()), new(big.Int).Mul(x.Denom(), y.Num()))
			if want := new(big.Rat).Sub(x, new(big.Rat).Mul(new(big.Rat).SetInt(q), y)); want.Cmp(rat(got)) != 0 {
				t.Fatalf("%s %% %s is %s", s1, s2, got.append(nil))
			}
		}
		if got, ok := a.over(b); ok && rat(got).Cmp(rounded(new(big.Rat).Quo(x, y))) != 0 {
			t.Fatalf("%s / %s is %s, want %s", s1, s2, got.append(nil), rounded(new(big.Rat).Quo(x, y)).FloatString(40))
		}
	}
	if fit < 1000 {
		t.Errorf("only %d results fit", fit)
	}
}

// rounded is x to 19 significant digits, half to even.
func rounded(x *big.Rat) *big.Rat {
	abs, unit := new(big.Rat).Abs(x), big.NewRat(1, 1)
	low, high, ten := new(big.Rat).SetInt(wholeOf(powers[18])), new(big.Rat).SetInt(wholeOf(powers[19])), big.NewRat(10, 1)
	for scaled := abs; scaled.Sign() != 0 && scaled.Cmp(low) < 0; scaled = new(big.Rat).Quo(abs, unit) {
		unit.Quo(unit, ten)
	}
	for scaled := new(big.Rat).Quo(abs, unit); scaled.Cmp(high) >= 0; scaled = new(big.Rat).Quo(abs, unit) {
		unit.Mul(unit, ten)
	}
	scaled := new(big.Rat).Quo(abs, unit)
	q, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	if half := rest.Lsh(rest, 1).Cmp(scaled.Denom()); half > 0 || half == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	got := new(big.Rat).Mul(new(big.Rat).SetInt(q), unit)
	if x.Sign() < 0 {
		got.Neg(got)
	}
	return got
}

func wholeOf(w whole) *big.Int {
	x := new(big.Int).Lsh(new(big.Int).SetUint64(w.hi), 64)
	return x.Or(x, new(big.Int).SetUint64(w.lo))
}

func TestDivision(t *testing.T) {
	for _, c := range [][3]string{
		{"1", "3", "0.3333333333333333333"}, {"2", "3", "0.6666666666666666667"}, {"1", "4", "0.25"}, {"7", "2", "3.5"}, {"0", "7", "0"},
		{"-1", "3", "-0.3333333333333333333"}, {"10000000000000000005", "10", "1000000000000000000"}, // Half, to even.
		{"20000000000000000005", "1", "20000000000000000000"},   // Half, to even.
		{"20000000000000000015", "1", "20000000000000000020"},   // Half, to even.
		{"40000000000000000010.1", "2", "20000000000000000010"}, // Above half.
		{"1", "0", ""}, {"0", "0", ""}, {"1e300", "1e-300", ""},
	} {
		a, _ := parseNumber(c[0])
		b, _ := parseNumber(c[1])
		if got, ok := a.over(b); ok != (c[2] != "") || ok && string(got.append(nil)) != c[2] {
			t.Errorf("%s / %s is %s (%v), want %s", c[0], c[1], got.append(nil), ok, c[2])
		}
	}
}

// FuzzNumber holds what is read of a number against what encoding/json and math/big make of it.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "-1.5e7", "123456789012345678901234567890", "1e-345", "0.00000000000000000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseNumber(s)
		if !ok || !json.Valid([]byte(s)) || len(s) > 100 {
			return
		}
		if want, valid := new(big.Rat).SetString(s); valid && want.Cmp(rat(n)) != 0 {
			t.Errorf("%s was read as %s", s, n.append(nil))
		}
	})
}
