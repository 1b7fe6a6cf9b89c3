// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with a condition, and what to write instead.
type Error struct {
	At     int // The byte offset in the source.
	Reason string
}

func (e *Error) Error() string { return "at byte " + strconv.Itoa(e.At) + ": " + e.Reason }

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenText
	tokenOperator
)

// token is a piece of the source, from at to end.
type token struct {
	kind    tokenKind
	at, end int
	text    string // Of a text what it stands for, else as it is written.
	num     Number
}

// is reports whether a token is this operator.
func (t token) is(operator string) bool { return t.kind == tokenOperator && t.text == operator }

// said returns a token as errors show it.
func (t token) said() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenText:
		return "a string"
	}
	return shown(t.text)
}

// shown quotes what a client wrote, if it is long only its beginning.
func shown(s string) string {
	if len(s) > 24 {
		s = strings.ToValidUTF8(s[:24], "") + "…"
	}
	return strconv.Quote(s)
}

// lexer cuts a source into tokens.
type lexer struct {
	src string
	at  int
	max int // Bytes of one text.
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

func (l *lexer) next() (token, *Error) {
	for l.at < len(l.src) && strings.IndexByte(" \t\r\n\f", l.src[l.at]) >= 0 {
		l.at++
	}
	start := l.at
	if start == len(l.src) {
		return token{at: start, end: start}, nil
	}
	switch c := l.src[start]; {
	case isLetter(c):
		return l.took(tokenName, l.word(start)), nil
	case isDigit(c):
		return l.number()
	case c == '\'' || c == '"':
		return l.text(c)
	}
	rest := l.src[start:]
	for _, w := range mistakes {
		if strings.HasPrefix(rest, w.wrong) {
			return token{}, &Error{start, w.hint}
		}
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			return l.took(tokenOperator, start+len(op)), nil
		}
	}
	switch rest[0] {
	case '=':
		return token{}, &Error{start, "write == to compare"}
	case '&', '|':
		return token{}, &Error{start, "write " + rest[:1] + rest[:1] + " between conditions"}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return token{}, &Error{start, strconv.QuoteRune(r) + " has no meaning here; a member with an odd name is written value['odd name']"}
}

func (l *lexer) took(kind tokenKind, end int) token {
	t := token{kind: kind, at: l.at, end: end, text: l.src[l.at:end]}
	l.at = end
	return t
}

// word returns the end of the letters and digits from i on.
func (l *lexer) word(i int) int {
	for i < len(l.src) && (isLetter(l.src[i]) || isDigit(l.src[i])) {
		i++
	}
	return i
}

var operators = []string{"&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "(", ")", "[", "]", ",", "."}

// mistakes are what is written in other languages.
var mistakes = []struct{ wrong, hint string }{
	{"===", "write == to compare"},
	{"!==", "write != to compare"},
	{"=>", "write >= to compare"},
	{"=<", "write <= to compare"},
	{"<>", "write != to compare"},
	{"≥", "write >= to compare"},
	{"≤", "write <= to compare"},
	{"≠", "write != to compare"},
	{"“", "write strings as 'text' or \"text\""},
	{"‘", "write strings as 'text' or \"text\""},
	{"’", "write strings as 'text' or \"text\""},
	{"`", "write strings as 'text' or \"text\""},
	{"?", "there is no ?: here; write a && b || !a && c"},
	{"**", "there are no powers here; write x * x"},
	{"{", "there are no maps here; a list is written [1, 2]"},
}

// number reads the digits of a literal; a sign is an operator.
func (l *lexer) number() (token, *Error) {
	start, i := l.at, l.at
	digits := func() bool {
		from := i
		for i < len(l.src) && isDigit(l.src[i]) {
			i++
		}
		return i > from
	}
	digits()
	if i < len(l.src) && l.src[i] == '.' {
		if i++; !digits() {
			return token{}, &Error{i, "a digit is expected behind the point; write 5 or 5.0"}
		}
	}
	if i < len(l.src) && l.src[i]|0x20 == 'e' {
		e := i
		if i++; i < len(l.src) && (l.src[i] == '-' || l.src[i] == '+') {
			i++
		}
		if !digits() {
			i = e
		}
	}
	if end := l.word(i); end > i {
		return token{}, &Error{start, shown(l.src[start:end]) + " is no number; write 1000000 or 1e6. " +
			"A member whose name begins with a digit is written value['" + l.src[start:min(end, start+24)] + "']"}
	}
	t := l.took(tokenNumber, i)
	var fits bool
	if t.num, fits = parseNumber(t.text); !fits {
		return token{}, &Error{start, "the number does not fit; there are 37 digits, and exponents from -345 to 308"}
	}
	return t, nil
}

const noText = "the string has no end; write the same quote behind it"

// text reads a string literal, with the escapes of CEL.
func (l *lexer) text(quote byte) (token, *Error) {
	start := l.at
	var b []byte
	for i := start + 1; i < len(l.src); {
		c := l.src[i]
		switch {
		case c == quote:
			t := l.took(tokenText, i+1)
			t.text = string(b)
			if len(b) > l.max {
				return token{}, &Error{start, "the string has more than " + strconv.Itoa(l.max) + " bytes"}
			}
			return t, nil
		case c == '\n' || c == '\r':
			return token{}, &Error{start, noText + "; a line break in it is written \\n"}
		case c == '\\':
			r, end, err := l.escape(i)
			if err != nil {
				return token{}, err
			}
			b, i = utf8.AppendRune(b, r), end
		default:
			b, i = append(b, c), i+1
		}
	}
	return token{}, &Error{start, noText}
}

const escapes = "write \\\\ for a backslash; there are \\n \\t \\' \\\" \\x41 \\u0041 \\U00000041 \\101 and their like"

// escape reads what a backslash at i begins.
func (l *lexer) escape(i int) (r rune, end int, err *Error) {
	if i+1 == len(l.src) {
		return 0, 0, &Error{i, noText}
	}
	c, digits, base := l.src[i+1], 0, 16
	if at := strings.IndexByte("abfnrtv", c); at >= 0 {
		return rune("\a\b\f\n\r\t\v"[at]), i + 2, nil
	}
	end = i + 2
	switch c {
	case '\\', '\'', '"', '`', '?':
		return rune(c), end, nil
	case 'x', 'X':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case '0', '1', '2', '3':
		digits, base, end = 3, 8, i+1
	default:
		return 0, 0, &Error{i, escapes}
	}
	if end+digits > len(l.src) {
		return 0, 0, &Error{i, escapes}
	}
	n, bad := strconv.ParseUint(l.src[end:end+digits], base, 32)
	if bad != nil || !utf8.ValidRune(rune(n)) {
		return 0, 0, &Error{i, escapes}
	}
	return rune(n), end + digits, nil
}

// appendText writes a string literal as conditions are normalised.
func appendText(b []byte, s string) []byte {
	b = append(b, '\'')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'x', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '\'')
}
