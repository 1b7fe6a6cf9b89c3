// SPDX-License-Identifier: Apache-2.0

package trade

import (
	"errors"
	"math"
	"strconv"
)

var errDecimal = errors.New("not a decimal number: want for example 95123.45 or 1e-5")

// ParseDecimal reads a JSON number, or the text of one, into units of 10^-scale, exactly: digits beyond
// the scale have to be 0. It does not allocate.
func ParseDecimal[T ~string | ~[]byte](s T, scale uint8) (int64, error) {
	i, neg := 0, false
	if i < len(s) && s[i] == '-' {
		neg, i = true, i+1
	}
	var v uint64
	digits, point, after := 0, false, 0 // after: digits behind the point that are in v.
	exp := 0
	zeros := 0 // Digits 0 that were read and are not in v yet.
loop:
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
			if c == '0' && v != 0 || c == '0' && point {
				zeros++
				continue
			}
			if c == '0' {
				continue
			}
			for ; zeros > 0; zeros-- {
				if v > math.MaxInt64/10 {
					return 0, errFit
				}
				v *= 10
				if point {
					after++
				}
			}
			if v > (math.MaxInt64-uint64(c-'0'))/10 {
				return 0, errFit
			}
			v = v*10 + uint64(c-'0')
			if point {
				after++
			}
		case c == '.' && !point && digits > 0:
			for ; zeros > 0; zeros-- { // Zeros before the point count.
				if v > math.MaxInt64/10 {
					return 0, errFit
				}
				v *= 10
			}
			point, digits = true, 0
		case (c == 'e' || c == 'E') && digits > 0:
			e, err := strconv.Atoi(string(s[i+1:]))
			if err != nil || e < -64 || e > 64 {
				return 0, errDecimal
			}
			exp = e
			break loop
		default:
			return 0, errDecimal
		}
	}
	if digits == 0 {
		return 0, errDecimal
	}
	if !point {
		exp += zeros
	}
	return shift(v, exp-after+int(scale), neg)
}

// shift returns ±v × 10^e.
func shift(v uint64, e int, neg bool) (int64, error) {
	for ; e > 0 && v != 0; e-- {
		if v > math.MaxInt64/10 {
			return 0, errFit
		}
		v *= 10
	}
	for ; e < 0 && v != 0; e++ {
		if v%10 != 0 {
			return 0, errExact
		}
		v /= 10
	}
	if neg {
		return -int64(v), nil
	}
	return int64(v), nil
}

// AppendDecimal appends v × 10^-scale as a JSON number without zeros at its end.
func AppendDecimal(b []byte, v int64, scale uint8) []byte {
	u := uint64(v)
	if v < 0 {
		b, u = append(b, '-'), -u
	}
	return AppendDigits(b, strconv.AppendUint(make([]byte, 0, 24), u, 10), scale)
}

// AppendDigits appends a whole number, given by its digits, times 10^-scale, as AppendDecimal does.
func AppendDigits(b, digits []byte, scale uint8) []byte {
	n := int(scale)
	for n > 0 && len(digits) > 0 && digits[len(digits)-1] == '0' && string(digits) != "0" {
		digits, n = digits[:len(digits)-1], n-1
	}
	if string(digits) == "0" || n == 0 {
		return append(b, digits...)
	}
	if len(digits) <= n {
		b = append(b, '0', '.')
		for range n - len(digits) {
			b = append(b, '0')
		}
		return append(b, digits...)
	}
	b = append(b, digits[:len(digits)-n]...)
	b = append(b, '.')
	return append(b, digits[len(digits)-n:]...)
}
