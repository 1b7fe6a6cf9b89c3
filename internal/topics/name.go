// SPDX-License-Identifier: Apache-2.0

package topics

import (
	"unicode"
	"unicode/utf8"
)

// Reserved is what the names of topics begin with that are those of the edges themselves: no client has them.
const Reserved = "tickedge:"

// NameMax bounds a topic name, in bytes. Exchange symbols with a prefix and an
// interval, such as "binance:kline:1m:BTC-USDT", stay far below it.
const NameMax = 64

// NameRule is what [ValidName] wants, in words for whoever has sent something else.
const NameRule = `1 to 64 bytes of UTF-8 without blanks, control or invisible characters, or any of " \ , * { }`

// ValidName reports whether name may be subscribed: 1 to [NameMax] bytes of UTF-8 without
//
//   - characters that JSON has to escape, so that a row is encoded by copying its name: " and \
//     and control characters (Unicode's category Cc);
//   - the comma of lists, the star of patterns, and the braces of a Redis Cluster's hash tags;
//   - characters that nobody sees, and so can't find in a name that has no ticks: blanks of all
//     kinds (Z) and format characters (Cf), such as the zero-width space and the byte order mark;
//   - noncharacters, which no text is to have that is sent to others (RFC 7493, 2.1).
//
// Names are the same if their bytes are: case counts, and é of one character is another name
// than é of two. It allocates nothing.
func ValidName[T string | []byte](name T) bool {
	if len(name) == 0 || len(name) > NameMax {
		return false
	}
	for i := 0; i < len(name); i++ {
		switch nameByte[name[i]] {
		case inName:
		case beyondASCII:
			// So few bytes are converted without an allocation.
			r, size := utf8.DecodeRuneInString(string(name[i:min(i+utf8.UTFMax, len(name))]))
			if size == 1 || !validRune(r) {
				return false
			}
			i += size - 1
		default:
			return false
		}
	}
	return true
}

// validRune is for runes beyond ASCII.
func validRune(r rune) bool {
	switch {
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z):
		return false
	case r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef:
		return false
	}
	return true
}

// What a byte may be in a name. The zero value is nothing.
const (
	inName      = 1 + iota
	beyondASCII // It may begin a rune of several bytes.
)

var nameByte = func() (kinds [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		kinds[c] = inName
	}
	for _, c := range `"\,*{}` {
		kinds[c] = 0
	}
	for c := utf8.RuneSelf; c < len(kinds); c++ {
		kinds[c] = beyondASCII
	}
	return kinds
}()
