// SPDX-License-Identifier: Apache-2.0

package wire

import "math/bits"

// depthMax bounds the nesting of a value. Ticks need 1 or 2. Deeper is a Fault; it
// also is what a uint64 can remember of open brackets.
const depthMax = 64

// The functions below walk over p from i and return where they stopped, or -1 where p
// is not JSON. Inside numbers and nested values they are lenient: what a source
// publishes is not the server's fault.

func blanks(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}

// next walks over blanks and one byte, which has to be c.
func next(p []byte, i int, c byte) int {
	if i = blanks(p, i); i >= len(p) || p[i] != c {
		return -1
	}
	return i + 1
}

// text walks over a string and returns what stands between its quotes, escapes left
// as they are. None of our names has any.
func text(p []byte, i int) ([]byte, int) {
	if i >= len(p) || p[i] != '"' {
		return nil, -1
	}
	i++
	for start := i; i < len(p); i++ {
		switch c := p[i]; {
		case c == '"':
			return p[start:i], i + 1
		case c == '\\':
			i++
		case c < ' ':
			return nil, -1
		}
	}
	return nil, -1
}

// integer walks over an unsigned integer. It is not ok if a number of another form
// stands there, or another value.
func integer(p []byte, i int) (n uint64, end int, ok bool) {
	start := i
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		high, low := bits.Mul64(n, 10)
		sum, carry := bits.Add64(low, uint64(p[i]-'0'), 0)
		if high != 0 || carry != 0 {
			return 0, i, false
		}
		n = sum
	}
	if i == start || p[start] == '0' && i > start+1 {
		return 0, i, false
	}
	if i < len(p) && (p[i] == '.' || p[i] == 'e' || p[i] == 'E') {
		return 0, i, false
	}
	return n, i, true
}

// value walks over any value.
func value(p []byte, i int) int {
	if i >= len(p) {
		return -1
	}
	switch c := p[i]; {
	case c == '"':
		_, i = text(p, i)
		return i
	case c == '{' || c == '[':
		return nested(p, i)
	case c == '-' || c-'0' <= 9 || c == 't' || c == 'f' || c == 'n':
		return scalar(p, i+1)
	}
	return -1
}

// scalar walks to the end of a number or of true, false and null.
func scalar(p []byte, i int) int {
	for i < len(p) {
		switch c := p[i]; {
		case c-'0' <= 9, c-'a' <= 'z'-'a', c == '.', c == '+', c == '-', c == 'E':
			i++
		default:
			return i
		}
	}
	return i
}

// nested walks over an object or array, checking that brackets and strings close.
func nested(p []byte, i int) int {
	var open uint64 // One bit for each level, the newest lowest: 1 for an object.
	depth := 0
	for i < len(p) {
		switch p[i] {
		case '"':
			if _, i = text(p, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			if depth++; depth > depthMax {
				return -1
			}
			open <<= 1
			if p[i] == '{' {
				open |= 1
			}
		case '}', ']':
			if open&1 == 1 != (p[i] == '}') {
				return -1
			}
			open >>= 1
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}
