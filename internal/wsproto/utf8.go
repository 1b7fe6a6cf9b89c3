// SPDX-License-Identifier: Apache-2.0

package wsproto

import "unicode/utf8"

// utf8Stream looks at text that comes in pieces, which may cut its characters (RFC 6455, 8.1).
// It keeps the beginning of a character that was cut. The zero value is ready.
type utf8Stream struct {
	begun [utf8.UTFMax - 1]byte
	n     uint8 // Of begun.
}

// take reports whether the text may still become UTF-8 with p behind what came before. After
// it has reported false, the stream is not to be used.
func (s *utf8Stream) take(p []byte) bool {
	if s.n > 0 {
		var first [utf8.UTFMax]byte
		had := copy(first[:], s.begun[:s.n])
		have := first[:had+copy(first[had:], p)]
		if !utf8.FullRune(have) { // What can't become a character is a full one, of one byte.
			s.n = uint8(copy(s.begun[:], have))
			return true
		}
		r, size := utf8.DecodeRune(have)
		if r == utf8.RuneError && size == 1 {
			return false
		}
		p, s.n = p[size-had:], 0
	}
	end := len(p)
	for i := 1; i <= min(len(s.begun), len(p)); i++ {
		if last := p[len(p)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				end -= i
				s.n = uint8(copy(s.begun[:], last))
			}
			break
		}
	}
	return utf8.Valid(p[:end])
}

// cut reports whether the text ends in the middle of a character.
func (s *utf8Stream) cut() bool { return s.n > 0 }
