// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"bytes"
	"net/url"

	"golang.org/x/net/http/httpguts"
)

// The small words of HTTP, read where they stand: nothing here allocates, but for a
// part of a query that has escapes.

var (
	blank = []byte{' '}
	comma = []byte{','}
)

// isToken reports whether b is a token (RFC 9110, 5.6.2), such as the name of a field.
func isToken(b []byte) bool {
	for _, c := range b {
		if !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return len(b) > 0
}

// validValue reports whether b may be the value of a field (RFC 9110, 5.5): no control
// character is in it, but for tabs.
func validValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// trim takes the blanks around a value away (RFC 9110, 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// is reports whether b is the word, which has small letters, in any case. Only ASCII's
// letters have one here: in Unicode's folding others are equal to k and s.
func is(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// hasToken reports whether a list has the token, in any case.
func hasToken(list []byte, token string) bool {
	for more := true; more; {
		var part []byte
		if part, list, more = bytes.Cut(list, comma); is(trim(part), token) {
			return true
		}
	}
	return false
}

// validEscapes reports whether every % begins an escape (RFC 3986, 2.1).
func validEscapes(b []byte) bool {
	if bytes.IndexByte(b, '%') < 0 {
		return true
	}
	_, err := url.PathUnescape(string(b))
	return err == nil
}

// unescape returns the text of a part of a query, b itself if that has no escapes.
func unescape(b []byte) (text []byte, ok bool) {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return b, true
	}
	s, err := url.QueryUnescape(string(b))
	return []byte(s), err == nil
}
