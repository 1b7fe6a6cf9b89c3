// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"cmp"
	"math/bits"
	"strconv"
)

// Number is a decimal number: whole × 10^exp, exactly. It has one form, so that equal numbers are ==: the whole does
// not end in 0, and zero has neither exponent nor sign. The zero value is zero.
type Number struct {
	whole whole // Below wholeMax.
	exp   int32 // expMin to expMax.
	neg   bool
}

// whole is hi × 2^64 + lo.
type whole struct{ hi, lo uint64 }

const (
	digitsMax = 37 // Ten times a whole has to fit too.
	// Every float64, in the shortest text that stands for it, is within these.
	expMin, expMax = -345, 308

	quoDigits = 19 // Significant digits of a quotient.
)

// powers are 10^0 to 10^38, all that fit.
var powers = func() (p [39]whole) {
	p[0].lo = 1
	for i := 1; i < len(p); i++ {
		p[i], _ = p[i-1].times(10)
	}
	return p
}()

var wholeMax = powers[digitsMax]

func (w whole) compare(x whole) int {
	if w.hi != x.hi {
		return cmp.Compare(w.hi, x.hi)
	}
	return cmp.Compare(w.lo, x.lo)
}

func (w whole) plus(x whole) (sum whole, fits bool) {
	lo, carry := bits.Add64(w.lo, x.lo, 0)
	hi, carry := bits.Add64(w.hi, x.hi, carry)
	return whole{hi, lo}, carry == 0
}

// minus wants x to be no more than w.
func (w whole) minus(x whole) whole {
	lo, borrow := bits.Sub64(w.lo, x.lo, 0)
	hi, _ := bits.Sub64(w.hi, x.hi, borrow)
	return whole{hi, lo}
}

func (w whole) times(m uint64) (product whole, fits bool) {
	hi, lo := bits.Mul64(w.lo, m)
	if w.hi == 0 {
		return whole{hi, lo}, true
	}
	over, more := bits.Mul64(w.hi, m)
	hi, carry := bits.Add64(hi, more, 0)
	return whole{hi, lo}, over == 0 && carry == 0
}

// shift returns w × 10^n.
func (w whole) shift(n int32) (product whole, fits bool) {
	if n > 19 {
		if n > 38 {
			return whole{}, w == whole{}
		}
		if w, fits = w.times(powers[19].lo); !fits {
			return w, false
		}
		n -= 19
	}
	return w.times(powers[n].lo)
}

func (w whole) quo(d uint64) (q whole, r uint64) {
	q.hi, r = w.hi/d, w.hi%d
	q.lo, r = bits.Div64(r, w.lo, d)
	return q, r
}

// over divides by any whole but 0.
func (w whole) over(d whole) (q, r whole) {
	if d.hi == 0 {
		q, r.lo = w.quo(d.lo)
		return q, r
	}
	// The quotient is less than 2^64.
	for n := bits.LeadingZeros64(d.hi) - bits.LeadingZeros64(w.hi|1); n >= 0; n-- {
		part := whole{d.hi<<n | d.lo>>(64-n), d.lo << n}
		if w.compare(part) >= 0 {
			w, q.lo = w.minus(part), q.lo|1<<n
		}
	}
	return q, w
}

func (w whole) digits() int {
	n := (bits.Len64(w.hi) + 64) * 1233 >> 12 // log10(2), from below.
	if w.hi == 0 {
		n = bits.Len64(w.lo) * 1233 >> 12
	}
	if n < len(powers) && w.compare(powers[n]) >= 0 {
		n++
	}
	return n
}

// number gives a number its form. It reports false if that does not fit.
func number(neg bool, w whole, exp int32) (Number, bool) {
	for w.lo&1 == 0 { // What ends in 0 is even.
		if w.hi == 0 {
			if w.lo == 0 {
				return Number{}, true
			}
			if w.lo%10 != 0 {
				break
			}
			w.lo, exp = w.lo/10, exp+1
			continue
		}
		q, r := w.quo(10)
		if r != 0 {
			break
		}
		w, exp = q, exp+1
	}
	if exp < expMin || exp > expMax || w.hi >= wholeMax.hi && w.compare(wholeMax) >= 0 {
		return Number{}, false
	}
	return Number{w, exp, neg}, true
}

// parseNumber reads a number as JSON has it. It reports false for one that does not fit: of more than 37 significant
// digits, or beyond the exponents of a float64.
func parseNumber(s string) (Number, bool) {
	i, neg := 0, false
	if i < len(s) && s[i] == '-' {
		neg, i = true, 1
	}
	var w whole
	var exp, zeros int32 // zeros: digits 0 that were read and are not in w yet.
	point, digits := false, 0
loop:
	for ; i < len(s); i++ {
		c := s[i] - '0'
		switch {
		case c > 9 && (s[i] != '.' || point):
			break loop
		case c > 9:
			point = true
			continue
		case c == 0:
			zeros++
		case zeros == 0 && digits < 18: // All there is, mostly.
			w.lo = w.lo*10 + uint64(c)
			digits++
		default:
			if digits > 0 {
				digits += int(min(zeros, digitsMax+1))
			}
			if digits++; digits > digitsMax {
				return Number{}, false
			}
			if digits > 1 {
				w, _ = w.shift(zeros + 1)
			}
			w, _ = w.plus(whole{0, uint64(c)})
			zeros = 0
		}
		if point {
			exp--
		}
	}
	if i < len(s) {
		e, ok := parseExponent(s[i:])
		if !ok {
			return Number{}, false
		}
		exp += e
	}
	return number(neg, w, exp+zeros)
}

// parseExponent reads what stands behind a number's digits.
func parseExponent(s string) (e int32, ok bool) {
	if len(s) < 2 || s[0]|0x20 != 'e' {
		return 0, false
	}
	s = s[1:]
	neg := s[0] == '-'
	if neg || s[0] == '+' {
		s = s[1:]
	}
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		if e < 100_000_000 { // It is far beyond what fits, also beside as many digits as a value has bytes.
			e = e*10 + int32(c)
		}
	}
	if neg {
		e = -e
	}
	return e, len(s) > 0
}

// Compare returns -1, 0 or 1: the order of numbers.
func (a Number) Compare(b Number) int {
	if a.neg != b.neg {
		if a.neg {
			return -1
		}
		return 1
	}
	if a.neg {
		return size(&b, &a)
	}
	return size(&a, &b)
}

// size compares without signs.
func size(a, b *Number) int {
	x, y, fits := a.whole, b.whole, true
	switch d := a.exp - b.exp; {
	case d == 0:
	case x == whole{} || y == whole{}:
	case d > 0:
		if x, fits = x.shift(d); !fits {
			return 1
		}
	default:
		if y, fits = y.shift(-d); !fits {
			return -1
		}
	}
	return x.compare(y)
}

func (a Number) negated() Number {
	a.neg = !a.neg && a.whole != whole{}
	return a
}

// plus reports false if the sum does not fit, as do its like.
func (a Number) plus(b Number) (Number, bool) {
	x, y, exp, ok := align(a, b)
	if !ok {
		return Number{}, false
	}
	if a.neg == b.neg {
		if x, ok = x.plus(y); !ok {
			return Number{}, false
		}
		return number(a.neg, x, exp)
	}
	if x.compare(y) < 0 {
		return number(b.neg, y.minus(x), exp)
	}
	return number(a.neg, x.minus(y), exp)
}

// align returns the wholes of two numbers for one exponent.
func align(a, b Number) (x, y whole, exp int32, ok bool) {
	x, y, exp, ok = a.whole, b.whole, a.exp, true
	switch d := a.exp - b.exp; {
	case x == whole{}:
		exp = b.exp
	case y == whole{}:
	case d > 0:
		exp = b.exp
		x, ok = x.shift(d)
	case d < 0:
		y, ok = y.shift(-d)
	}
	return x, y, exp, ok
}

func (a Number) times(b Number) (Number, bool) {
	if a.whole.hi != 0 {
		a, b = b, a
	}
	w, fits := b.whole.times(a.whole.lo)
	if a.whole.hi != 0 || !fits {
		return Number{}, false
	}
	return number(a.neg != b.neg, w, a.exp+b.exp)
}

// over divides. What has more than 19 digits is rounded to as many, half to even.
func (a Number) over(b Number) (Number, bool) {
	if b.whole == (whole{}) {
		return Number{}, false
	}
	q, half, shift := quotient(a.whole, b.whole)
	if half > 0 || half == 0 && q.lo&1 == 1 {
		q, _ = q.plus(whole{0, 1})
	}
	return number(a.neg != b.neg, q, a.exp-b.exp-shift)
}

// quotient returns q, which is a × 10^shift / b without what is behind its quoDigits digits, and how that compares with half a unit.
func quotient(a, b whole) (q whole, half int, shift int32) {
	var r whole
	// What is to be divided has then as many digits as give a quotient of quoDigits, or one less.
	shift = int32(quoDigits - 1 + b.digits() - a.digits())
	if w, fits := a.shift(max(shift, 0)); fits && shift >= 0 {
		if q, r = w.over(b); q.compare(powers[quoDigits-1]) >= 0 {
			return q, r.compare(b.minus(r)), shift
		}
		if w, fits = w.times(10); fits {
			q, r = w.over(b)
			return q, r.compare(b.minus(r)), shift + 1
		}
	}
	q, r = a.over(b)
	if n := q.digits() - quoDigits; n > 0 {
		unit, rest := powers[n], whole{}
		q, rest = q.over(unit)
		if half = rest.compare(unit.minus(rest)); half == 0 && r != (whole{}) {
			half = 1
		}
		return q, half, int32(-n)
	}
	if a == (whole{}) {
		return q, -1, 0
	}
	for shift = 0; q.compare(powers[quoDigits-1]) < 0; shift++ {
		var digit whole
		r, _ = r.times(10)
		digit, r = r.over(b)
		q, _ = q.times(10)
		q, _ = q.plus(digit)
	}
	return q, r.compare(b.minus(r)), shift
}

// rest is the remainder of a quotient without fraction; it has the sign of a.
func (a Number) rest(b Number) (Number, bool) {
	x, y, exp, ok := align(a, b)
	if !ok || y == (whole{}) {
		return Number{}, false
	}
	_, r := x.over(y)
	return number(a.neg, r, exp)
}

// append writes a number as JSON does. Equal numbers are the same text.
func (a Number) append(b []byte) []byte {
	var buf [40]byte
	digits := buf[:0]
	if top, low := a.whole.quo(1e19); top.lo != 0 {
		digits = strconv.AppendUint(digits, top.lo, 10)
		tail := strconv.AppendUint(nil, low, 10)
		for range 19 - len(tail) {
			digits = append(digits, '0')
		}
		digits = append(digits, tail...)
	} else {
		digits = strconv.AppendUint(digits, low, 10)
	}
	if a.neg {
		b = append(b, '-')
	}
	before := len(digits) + int(a.exp) // Digits before the point.
	switch {
	case before > 21 || before < -5:
		if b = append(b, digits[0]); len(digits) > 1 {
			b = append(append(b, '.'), digits[1:]...)
		}
		return strconv.AppendInt(append(b, 'e'), int64(before-1), 10)
	case before <= 0:
		b = append(b, "0."...)
		for range -before {
			b = append(b, '0')
		}
		return append(b, digits...)
	case before < len(digits):
		b = append(append(b, digits[:before]...), '.')
		return append(b, digits[before:]...)
	}
	b = append(b, digits...)
	for range before - len(digits) {
		b = append(b, '0')
	}
	return b
}
