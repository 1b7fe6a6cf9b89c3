// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"cmp"
	"errors"
	"math/bits"
	"strconv"
)

// Num is a decimal number, exactly: a whole number of units of 10^-[NumDigits], 128 bits wide. The zero Num is 0, and numbers
// may be compared by ==.
type Num struct {
	hi int64
	lo uint64
}

const (
	// NumDigits is how many digits a number has behind the point.
	NumDigits = 12
	// NumMax is what numbers are below, and above its negative: 10^15.
	NumMax = 1_000_000_000_000_000

	unit = 1_000_000_000_000 // 10^NumDigits
)

// Errors of [ParseNum].
var (
	ErrNum      = errors.New("not a decimal number: want for example 95123.45 or 1e-5")
	ErrNumRange = errors.New("the number does not fit: want one between -1e15 and 1e15, with at most 12 digits behind the point")
)

// ParseNum reads a JSON number, or the text of one. It allocates nothing.
func ParseNum[T ~string | ~[]byte](s T) (Num, error) {
	i, neg := 0, false
	if i < len(s) && s[i] == '-' {
		neg, i = true, i+1
	}
	var v magnitude
	digits, after, point, exp := 0, 0, false, 0 // after: digits behind the point.
	zeros := 0                                  // Digits 0 that are not in v yet.
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
			if point {
				after++
			}
			if zeros++; c != '0' {
				if !v.shift(zeros) || !v.add(uint64(c-'0')) {
					return Num{}, ErrNumRange
				}
				zeros = 0
			}
			continue
		case c == '.' && !point && digits > 0 && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9':
			point = true
			continue
		case (c == 'e' || c == 'E') && digits > 0:
			e, err := strconv.Atoi(string(s[i+1 : min(len(s), i+6)]))
			if err != nil || len(s)-i > 5 {
				return Num{}, ErrNum
			}
			exp = e
		default:
			return Num{}, ErrNum
		}
		break
	}
	if digits == 0 {
		return Num{}, ErrNum
	}
	if v == (magnitude{}) {
		return Num{}, nil
	}
	// v × 10^(zeros + exp - after), in units.
	shift := zeros + exp - after + NumDigits
	if shift < 0 || !v.shift(shift) || !v.below() {
		return Num{}, ErrNumRange
	}
	return v.signed(neg), nil
}

// Whole is a whole number, which must be between -NumMax and NumMax.
func Whole(n int64) Num {
	neg := n < 0
	if neg {
		n = -n
	}
	hi, lo := bits.Mul64(uint64(n), unit)
	return magnitude{hi, lo}.signed(neg)
}

// Compare is -1, 0 or 1, as a is below, equal to or above b.
func (a Num) Compare(b Num) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// Less reports whether a is below b.
func (a Num) Less(b Num) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// Sign is -1, 0 or 1.
func (a Num) Sign() int {
	switch {
	case a.hi < 0:
		return -1
	case a == Num{}:
		return 0
	}
	return 1
}

// Neg is -a.
func (a Num) Neg() Num {
	lo, carry := bits.Add64(^a.lo, 1, 0)
	return Num{int64(^uint64(a.hi) + carry), lo}
}

// Add is a + b. What is beyond NumMax is not for Append, but is right: 2^32 of the largest numbers may be added.
func (a Num) Add(b Num) Num {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	return Num{a.hi + b.hi + int64(carry), lo}
}

// Sub is a - b, see [Num.Add].
func (a Num) Sub(b Num) Num { return a.Add(b.Neg()) }

// Percent is by how many percent a is above from (below 0: below it), rounded towards 0 to 6 digits behind the point, and at most
// 10^9 in size. It is false unless from is above 0.
func (a Num) Percent(from Num) (Num, bool) {
	if from.Sign() <= 0 {
		return Num{}, false
	}
	d := a.Sub(from)
	neg := d.Sign() < 0
	if neg {
		d = d.Neg()
	}
	// Units of a millionth of a percent: d × 10^8 / from, at most 10^15 of them.
	const most = 1_000_000_000_000_000
	q := quotient(magnitude{uint64(d.hi), d.lo}, 100_000_000, magnitude{uint64(from.hi), from.lo}, most)
	hi, lo := bits.Mul64(q, 1_000_000)
	return magnitude{hi, lo}.signed(neg), true
}

// Scale is a × (100 + percent) / 100, rounded towards 0 to a unit; it must be within NumMax. percent has 6 digits behind the
// point at most, and is from -100 to 100.
func (a Num) Scale(percent Num) Num {
	factor := Whole(100).Add(percent) // From 0 to 200, in units: below 2^48.
	f := factor.lo / 1_000_000        // Millionths of a percent, at most 2 × 10^8.
	neg := a.Sign() < 0
	if neg {
		a = a.Neg()
	}
	hi, lo := bits.Mul64(a.lo, f)
	hi += uint64(a.hi) * f
	const whole = 100_000_000
	q1, r := hi/whole, hi%whole
	q0, _ := bits.Div64(r, lo, whole)
	return magnitude{q1, q0}.signed(neg)
}

// Mean is the sum of n numbers divided by n, rounded towards 0 to a unit. n is above 0.
func Mean(sum Num, n int) Num {
	neg := sum.Sign() < 0
	if neg {
		sum = sum.Neg()
	}
	q1, r := uint64(sum.hi)/uint64(n), uint64(sum.hi)%uint64(n)
	q0, _ := bits.Div64(r, sum.lo, uint64(n))
	return magnitude{q1, q0}.signed(neg)
}

// Append appends a as a JSON number, without zeros at its end.
func (a Num) Append(to []byte) []byte {
	if a.hi < 0 {
		a, to = a.Neg(), append(to, '-')
	}
	whole, rest := bits.Div64(uint64(a.hi), a.lo, unit) // hi is below unit, as a is within NumMax.
	to = strconv.AppendUint(to, whole, 10)
	if rest == 0 {
		return to
	}
	to = append(to, '.')
	for div := uint64(unit / 10); rest > 0; div /= 10 {
		to = append(to, byte('0'+rest/div))
		rest %= div
	}
	return to
}

// String is a as [Num.Append] has it.
func (a Num) String() string { return string(a.Append(nil)) }

// MarshalJSON and UnmarshalJSON have numbers as JSON has them; UnmarshalJSON takes the text of one too.
func (a Num) MarshalJSON() ([]byte, error) { return a.Append(nil), nil }

// UnmarshalJSON is the reverse of MarshalJSON.
func (a *Num) UnmarshalJSON(b []byte) error {
	if n := len(b); n > 1 && b[0] == '"' && b[n-1] == '"' {
		b = b[1 : n-1]
	}
	n, err := ParseNum(b)
	if err == nil {
		*a = n
	}
	return err
}

// magnitude is a number without a sign.
type magnitude struct{ hi, lo uint64 }

// shift multiplies by 10^n, and is false if that does not fit.
func (m *magnitude) shift(n int) bool {
	for ; n > 0; n-- {
		hi, lo := bits.Mul64(m.lo, 10)
		over, up := bits.Mul64(m.hi, 10)
		sum, carry := bits.Add64(up, hi, 0)
		if over != 0 || carry != 0 {
			return false
		}
		m.hi, m.lo = sum, lo
	}
	return true
}

func (m *magnitude) add(n uint64) bool {
	var carry uint64
	m.lo, carry = bits.Add64(m.lo, n, 0)
	m.hi, carry = bits.Add64(m.hi, 0, carry)
	return carry == 0
}

// below reports whether m, in units, is below NumMax.
func (m *magnitude) below() bool {
	hi, lo := bits.Mul64(NumMax, unit)
	return m.hi < hi || m.hi == hi && m.lo < lo
}

// signed must have less than 2^127.
func (m magnitude) signed(neg bool) Num {
	n := Num{int64(m.hi), m.lo}
	if neg {
		return n.Neg()
	}
	return n
}

// quotient is a × factor / by, rounded down, or most if that is less. a and by are below 2^100, factor and most below 2^50.
func quotient(a magnitude, factor uint64, by magnitude, most uint64) uint64 {
	// Three words: a × factor.
	h0, w0 := bits.Mul64(a.lo, factor)
	h1, l1 := bits.Mul64(a.hi, factor)
	w1, carry := bits.Add64(h0, l1, 0)
	w2 := h1 + carry
	if by.hi == 0 {
		if w2 >= by.lo {
			return most
		}
		q1, r := bits.Div64(w2, w1, by.lo)
		if q1 != 0 {
			return most
		}
		q0, _ := bits.Div64(r, w0, by.lo)
		return min(q0, most)
	}
	// The largest q with q × by <= the three words, by halving: by is above 2^64, so that a few digits are left.
	low, high := uint64(0), most+1
	for high-low > 1 {
		q := low + (high-low)/2
		h0, p0 := bits.Mul64(by.lo, q)
		h1, l1 := bits.Mul64(by.hi, q)
		p1, c := bits.Add64(h0, l1, 0)
		p2 := h1 + c
		if p2 < w2 || p2 == w2 && (p1 < w1 || p1 == w1 && p0 <= w0) {
			low = q
		} else {
			high = q
		}
	}
	return low
}
