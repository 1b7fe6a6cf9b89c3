// SPDX-License-Identifier: Apache-2.0

package trade

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var decimalText = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// wantDecimal is what a text is in units of 10^-scale.
func wantDecimal(s string, scale uint8) (v int64, ok bool) {
	if !decimalText.MatchString(s) {
		return 0, false
	}
	if _, e, has := strings.Cut(strings.ToLower(s), "e"); has {
		if n, err := strconv.Atoi(e); err != nil || n < -64 || n > 64 {
			return 0, false
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, false
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	if !r.IsInt() || !r.Num().IsInt64() || r.Num().Int64() == math.MinInt64 {
		return 0, false
	}
	return r.Num().Int64(), true
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{
		"0", "-0", "0.0", "1", "-1", "95123.45", "1e-5", "1E+5", "0.00001", "100", "100.00", "1.50", "9223372036854775807",
		"9223372036854775808", "-9223372036854775807", "-9223372036854775808", "92233720368.54775807", "92233720368.54775808",
		"0.123456789", "1.", ".1", "", "-", "+1", "1e", "1e65", "0e99", "1e999999999999999999999", "1 ", "1_0", "1e1_0", "0x1", "Inf", "NaN",
		"00.5", "007", "1000000000000000000000000e-20", "0.000000000000000000000001e20", "10.010", "1.0e1", "12e-1", "1e0.5", "1e-5-5", "100e-2",
	} {
		for _, scale := range []uint8{0, 2, 8, 15} {
			f.Add(s, scale)
		}
	}
	f.Fuzz(func(t *testing.T, s string, scale uint8) {
		scale %= ScaleMax + 1
		if len(s) > 1000 {
			return
		}
		got, err := ParseDecimal(s, scale)
		want, ok := wantDecimal(s, scale)
		if (err == nil) != ok || got != want {
			t.Fatalf("%q at scale %d is %d, %v; want %d, %t", s, scale, got, err, want, ok)
		}
		if b, err2 := ParseDecimal([]byte(s), scale); b != got || (err2 == nil) != (err == nil) {
			t.Fatalf("%q as bytes is %d, %v", s, b, err2)
		}
		if err != nil {
			return
		}
		text := AppendDecimal(nil, got, scale)
		if back, err := ParseDecimal(text, scale); err != nil || back != got || !json.Valid(text) {
			t.Fatalf("%d at scale %d is %s, which is %d, %v", got, scale, text, back, err)
		}
		if strings.Contains(string(text), ".") && strings.HasSuffix(string(text), "0") {
			t.Fatalf("%d at scale %d is %s", got, scale, text)
		}
	})
}

func TestDecimalAllocs(t *testing.T) {
	text, buf := []byte("95123.45e-1"), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		v, err := ParseDecimal(text, 8)
		if err != nil {
			t.Fatal(err)
		}
		buf = AppendDecimal(buf[:0], v, 8)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRescale(f *testing.F) {
	f.Add(int64(150), uint8(2), uint8(8))
	f.Add(int64(150), uint8(2), uint8(1))
	f.Add(int64(155), uint8(2), uint8(1))
	f.Add(int64(math.MinInt64), uint8(0), uint8(1))
	f.Add(int64(math.MaxInt64), uint8(0), uint8(15))
	f.Add(int64(1), uint8(16), uint8(0))
	f.Fuzz(func(t *testing.T, v int64, from, to uint8) {
		got, err := Rescale(v, from, to)
		if from > ScaleMax || to > ScaleMax {
			if err == nil {
				t.Errorf("scales %d, %d", from, to)
			}
			return
		}
		r := new(big.Rat).SetInt64(v)
		exp := func(n uint8) *big.Rat {
			return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
		}
		r.Mul(r, exp(to)).Quo(r, exp(from))
		ok := r.IsInt() && r.Num().IsInt64() && (r.Num().Int64() != math.MinInt64 || from >= to)
		if (err == nil) != ok || ok && got != r.Num().Int64() {
			t.Errorf("%d from %d to %d is %d, %v; want %v", v, from, to, got, err, r)
		}
	})
}
