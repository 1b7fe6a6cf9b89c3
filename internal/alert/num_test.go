// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

func num(t testing.TB, s string) Num {
	t.Helper()
	n, err := ParseNum(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return n
}

func (a Num) big() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(a.hi), 64)
	return n.Add(n, new(big.Int).SetUint64(a.lo))
}

func TestParseNum(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0", "0"}, {"-0", "0"}, {"0.000", "0"}, {"150.00", "150"}, {"150", "150"}, {"-1.5", "-1.5"}, {"1e3", "1000"}, {"1E-5", "0.00001"},
		{"0.000000000001", "0.000000000001"}, {"999999999999999.999999999999", "999999999999999.999999999999"},
		{"-999999999999999.999999999999", "-999999999999999.999999999999"}, {"100e-2", "1"}, {"1.10", "1.1"}, {"0.1000000000000000000", "0.1"},
		{"18446744073709.551616", "18446744073709.551616"}, {"1000000e-18", "0.000000000001"}, {"10203040506070809e-5", "102030405060.70809"},
	} {
		if got, err := ParseNum(c.in); err != nil || got.String() != c.want {
			t.Errorf("%s: %v %v, want %s", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"", "-", ".", "1.", ".5", "+1", "1e", "1e+", "abc", "1 ", " 1", "0x10", "1_0", "NaN", "Infinity", "1e5000000", "--1",
		"1.2.3"} {
		if got, err := ParseNum(in); err != ErrNum {
			t.Errorf("%q: %v %v, want %v", in, got, err, ErrNum)
		}
	}
	for _, in := range []string{"1e15", "-1e15", "0.0000000000001", "1e-13", "1e999", "340282366920938463463374607431768211456"} {
		if got, err := ParseNum(in); err != ErrNumRange {
			t.Errorf("%s: %v %v, want %v", in, got, err, ErrNumRange)
		}
	}
}

// TestNumIsExact compares with math/big.
func TestNumIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() Num {
		m := magnitude{r.Uint64() >> (14 + r.IntN(64)), r.Uint64() >> r.IntN(64)}
		if !m.below() {
			m.hi >>= 25
		}
		return m.signed(r.IntN(2) == 0)
	}
	check := func(what string, got, want *big.Int, of ...Num) {
		if got.Cmp(want) != 0 {
			t.Fatalf("%s of %v is %v, want %v", what, of, got, want)
		}
	}
	for range 200_000 {
		a, b := random(), random()
		check("the sum", a.Add(b).big(), new(big.Int).Add(a.big(), b.big()), a, b)
		check("the difference", a.Sub(b).big(), new(big.Int).Sub(a.big(), b.big()), a, b)
		if got, want := a.Compare(b), a.big().Cmp(b.big()); got != want || a.Less(b) != (want < 0) || a.Sign() != a.big().Sign() {
			t.Fatalf("%v and %v compare as %d, want %d", a, b, got, want)
		}
		if back, err := ParseNum(a.String()); err != nil || back != a {
			t.Fatalf("%v is read as %v, %v", a, back, err)
		}
		n := 1 + r.IntN(1000)
		check("the mean", Mean(a, n).big(), new(big.Int).Quo(a.big(), big.NewInt(int64(n))), a)
		percent, ok := a.Percent(b)
		if ok != (b.Sign() > 0) {
			t.Fatalf("%v from %v is %v", a, b, ok)
		}
		if ok {
			want := new(big.Int).Mul(new(big.Int).Sub(a.big(), b.big()), big.NewInt(100_000_000))
			want.Quo(want, b.big())
			if most := big.NewInt(1_000_000_000_000_000); want.CmpAbs(most) > 0 {
				want = most.Mul(most, big.NewInt(int64(want.Sign())))
			}
			check("the percent", percent.big(), want.Mul(want, big.NewInt(1_000_000)), a, b)
		}
		p := Whole(int64(r.IntN(201) - 100))
		want := new(big.Int).Mul(a.big(), new(big.Int).Add(big.NewInt(100*unit), p.big()))
		check("the scaled", a.Scale(p).big(), want.Quo(want, big.NewInt(100*unit)), a, p)
	}
}

func BenchmarkParseNum(b *testing.B) {
	s := []byte("95123.45")
	for b.Loop() {
		if _, err := ParseNum(s); err != nil {
			b.Fatal(err)
		}
	}
}
