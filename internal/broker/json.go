// SPDX-License-Identifier: Apache-2.0

package broker

import "unicode/utf8"

// depthMax bounds arrays and objects in one another. Prices need two or three of them, and
// parsers of clients go by recursion.
const depthMax = 64

// checkJSON finds out whether a text is one JSON value (RFC 8259) in UTF-8 that every client's
// parser takes: no deeper than depthMax, and with no lone surrogates, which are escapes such as
// \ud800 that are half of a character. It goes over the text once and allocates nothing.
func checkJSON(v string) Flaw { return seekJSON(v, new(seeker)) }

// seekJSON is checkJSON with somebody who looks for a member meanwhile.
func seekJSON(v string, seek *seeker) Flaw {
	f := walkJSON(v, seek)
	if f == NotJSON && !utf8.ValidString(v) {
		return NotUTF8
	}
	return f
}

func walkJSON(v string, seek *seeker) Flaw {
	var objects uint64 // A bit for each open array or object, the innermost last; 1 for an object.
	depth := 0
	i := 0
	for {
		// A value is due.
		if i = skipSpace(v, i); i == len(v) {
			return NotJSON
		}
		var f Flaw
		switch c := v[i]; c {
		case '"':
			i, f = skipString(v, i)
		case '{', '[':
			if depth == depthMax {
				return TooDeep
			}
			depth++
			objects <<= 1
			if i = skipSpace(v, i+1); i == len(v) {
				return NotJSON
			}
			if c == '{' {
				objects |= 1
			}
			if v[i] == c+2 { // It is empty, and closes below: } is { + 2, and ] is [ + 2.
				break
			}
			if c == '{' {
				if i, f = seek.skipName(v, i, depth); f != Flawless {
					return f
				}
			}
			continue
		case 't':
			i, f = skipLiteral(v, i, "true")
		case 'f':
			i, f = skipLiteral(v, i, "false")
		case 'n':
			i, f = skipLiteral(v, i, "null")
		default:
			i, f = skipNumber(v, i)
		}
		if f != Flawless {
			return f
		}
		// It has ended, and perhaps what it is in.
		for more := false; !more; {
			i = skipSpace(v, i)
			if i == len(v) || depth == 0 {
				if i < len(v) || depth > 0 {
					return NotJSON
				}
				return Flawless
			}
			object := objects&1 == 1
			switch c := v[i]; {
			case c == ',':
				i, more = i+1, true
				if object {
					if i, f = seek.skipName(v, skipSpace(v, i), depth); f != Flawless {
						return f
					}
				}
			case c == '}' && object, c == ']' && !object:
				i++
				if depth == seek.depth {
					seek.leave()
				}
				depth--
				objects >>= 1
			default:
				return NotJSON
			}
		}
	}
}

// skipSpace returns the index of what follows at i or behind.
func skipSpace(v string, i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\n' || v[i] == '\r' || v[i] == '\t') {
		i++
	}
	return i
}

// skipName returns the index behind the name of a member and its colon.
func skipName(v string, i int) (int, Flaw) {
	if i == len(v) || v[i] != '"' {
		return i, NotJSON
	}
	i, f := skipString(v, i)
	if f != Flawless {
		return i, f
	}
	if i = skipSpace(v, i); i == len(v) || v[i] != ':' {
		return i, NotJSON
	}
	return i + 1, Flawless
}

func skipLiteral(v string, i int, word string) (int, Flaw) {
	end := i + len(word)
	if len(v) < end || v[i:end] != word {
		return i, NotJSON
	}
	return end, Flawless
}

// skipNumber returns the index behind a number, of which v[i] is to be the first byte.
func skipNumber(v string, i int) (int, Flaw) {
	if v[i] == '-' {
		i++
	}
	end := skipDigits(v, i)
	if end == i || v[i] == '0' && end > i+1 {
		return i, NotJSON
	}
	i = end
	if i < len(v) && v[i] == '.' {
		if end = skipDigits(v, i+1); end == i+1 {
			return i, NotJSON
		}
		i = end
	}
	if i < len(v) && (v[i] == 'e' || v[i] == 'E') {
		i++
		if i < len(v) && (v[i] == '+' || v[i] == '-') {
			i++
		}
		if end = skipDigits(v, i); end == i {
			return i, NotJSON
		}
		i = end
	}
	return i, Flawless
}

func skipDigits(v string, i int) int {
	for i < len(v) && v[i]-'0' <= 9 {
		i++
	}
	return i
}

// ordinary holds for the bytes of ASCII that stand for themselves in a string.
var ordinary = func() (ok [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		ok[c] = c != '"' && c != '\\'
	}
	return ok
}()

// skipString returns the index behind a string, of which v[i] is the opening quote.
func skipString(v string, i int) (int, Flaw) {
	for i++; ; {
		for i < len(v) && ordinary[v[i]] {
			i++
		}
		if i == len(v) {
			return i, NotJSON
		}
		switch c := v[i]; {
		case c == '"':
			return i + 1, Flawless
		case c == '\\':
			var f Flaw
			if i, f = skipEscape(v, i); f != Flawless {
				return i, f
			}
		case c < ' ':
			return i, NotJSON
		default:
			r, n := utf8.DecodeRuneInString(v[i:])
			if r == utf8.RuneError && n == 1 {
				return i, NotUTF8
			}
			i += n
		}
	}
}

// escaped holds for what may follow a backslash, but for u.
var escaped = func() (ok [256]bool) {
	for _, c := range `"\/bfnrt` {
		ok[c] = true
	}
	return ok
}()

// skipEscape returns the index behind an escape, of which v[i] is the backslash. A pair of
// surrogates is one.
func skipEscape(v string, i int) (int, Flaw) {
	if i+1 < len(v) && escaped[v[i+1]] {
		return i + 2, Flawless
	}
	unit, ok := codeUnit(v, i)
	if !ok {
		return i, NotJSON
	}
	i += len(`\uXXXX`)
	switch {
	case unit < 0xd800 || unit > 0xdfff:
		return i, Flawless
	case unit > 0xdbff: // The second without the first.
		return i, LoneSurrogate
	}
	if unit, ok = codeUnit(v, i); !ok || unit < 0xdc00 || unit > 0xdfff {
		return i, LoneSurrogate
	}
	return i + len(`\uXXXX`), Flawless
}

// codeUnit reads an escape of the form \uXXXX.
func codeUnit(v string, i int) (unit uint16, ok bool) {
	if len(v) < i+len(`\uXXXX`) || v[i] != '\\' || v[i+1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(v[i+2 : i+6]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		unit = unit<<4 | uint16(c)
	}
	return unit, true
}
