// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"math"
	"strings"

	"tickedge/internal/topics"
)

// versionAt reads the version that begins at v[i], where v is valid JSON: a number, or a string
// that holds one. It takes no way through a float, which would make two of what are nanoseconds
// since 1970 the same. An i of 0 is none.
func versionAt(v string, i int) (topics.Version, bool) {
	switch {
	case i == 0:
		return topics.Version{}, false
	case v[i] == '"':
		end, _ := skipString(v, i)
		return parseVersion(plain(v[i+1 : end-1]))
	}
	end := i
	for end < len(v) && isNumeric(v[end]) {
		end++
	}
	return parseVersion(v[i:end])
}

func isNumeric(c byte) bool {
	return c-'0' <= 9 || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'
}

// plain is a string of JSON without its escapes, if all of them stand for ASCII; any other can't
// be a number.
func plain(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		unit, ok := codeUnit(s, i)
		if !ok || unit >= 0x80 {
			return ""
		}
		b.WriteByte(byte(unit))
		i += len(`\uXXXX`)
	}
	return b.String()
}

const (
	// nanoDigits is how many digits of a fraction a version keeps. What needs more is refused, so
	// that what a publisher tells apart is never the same here.
	nanoDigits = 9
	// plainDigits is how many digits fit into 64 bits, whatever they are: those of nanoseconds
	// since 1970.
	plainDigits = 19
)

// parseVersion reads a decimal number, with an exponent or without.
func parseVersion(s string) (v topics.Version, ok bool) {
	if len(s) == 0 || len(s) > plainDigits {
		return parseDecimal(s)
	}
	var n uint64
	for i := range len(s) { // Most are whole numbers, and this is done for each tick.
		d := s[i] - '0'
		if d > 9 {
			return parseDecimal(s)
		}
		n = 10*n + uint64(d)
	}
	if n > math.MaxInt64 {
		return v, false
	}
	return topics.Version{Whole: int64(n), Set: true}, true
}

// parseDecimal is parseVersion for all that is not a few digits. Programs write large whole
// numbers as 1.732181723411e+15. What such a number stands for is computed digit by digit: what
// a version can't hold exactly is refused, be it 1e-10 or 1e999999999.
func parseDecimal(s string) (v topics.Version, ok bool) {
	mantissa, negative := strings.CutPrefix(s, "-")
	exponent := 0
	if at := strings.IndexAny(mantissa, "eE"); at >= 0 {
		if exponent, ok = parseExponent(mantissa[at+1:]); !ok {
			return v, false
		}
		mantissa = mantissa[:at]
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	if whole == "" || point && fraction == "" {
		return v, false
	}
	left := len(whole) + exponent // How many more digits are left of where the point belongs.
	for _, digits := range [...]string{whole, fraction} {
		for i := range len(digits) {
			d := digits[i] - '0'
			if d > 9 || !appendDigit(&v, int64(d), left) {
				return topics.Version{}, false
			}
			left--
		}
	}
	for ; left > 0 && v.Whole > 0; left-- { // 20 times at most: then there is no room.
		if !appendDigit(&v, 0, left) {
			return topics.Version{}, false
		}
	}
	if negative {
		v.Whole = -v.Whole
		if v.Nano > 0 { // The whole below, and the rest above it.
			v.Whole, v.Nano = v.Whole-1, 1e9-v.Nano
		}
	}
	v.Set = true
	return v, true
}

// nanos are what the digits behind the point stand for.
var nanos = [nanoDigits]uint32{1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1}

// appendDigit takes the next digit of a number, of which left is the place before the point; from
// 0 down it is behind it. It is false if v can't hold that.
func appendDigit(v *topics.Version, d int64, left int) bool {
	switch {
	case left > 0:
		if v.Whole > (math.MaxInt64-d)/10 {
			return false
		}
		v.Whole = 10*v.Whole + d
	case left > -nanoDigits:
		v.Nano += uint32(d) * nanos[-left]
	default:
		return d == 0
	}
	return true
}

// exponentMax is more than any exponent that can be made up for by the digits of a value.
const exponentMax = 1 << 20

func parseExponent(s string) (n int, ok bool) {
	digits := strings.TrimPrefix(s, "+")
	negative := false
	if digits == s {
		digits, negative = strings.CutPrefix(s, "-")
	}
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = min(10*n+int(d), exponentMax)
	}
	if negative {
		n = -n
	}
	return n, digits != ""
}

// ValidVersionField reports whether a path names members and nothing else.
func ValidVersionField(path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return false
		}
	}
	return true
}
