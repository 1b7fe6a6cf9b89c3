// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// DefaultSubject is the subject of a topic unless the URL has another.
	DefaultSubject = placeholder
	placeholder    = "{topic}"
	// templateMax bounds what is around a topic: subjects are in each message.
	templateMax = 256
)

// subjects names topics as subjects, by a template. A colon in a topic is a point in its subject, so
// that kline:1s:BTC-USD is kline.1s.BTC-USD, and what a subject can't have, or what would mean something
// else there, is escaped as %XX: the point itself, %, > and a $ at the beginning. A part that is empty is
// % alone. So each topic has one subject, and each subject at most one topic.
type subjects struct{ prefix, suffix string }

func newSubjects(template string) (subjects, error) {
	prefix, suffix, ok := strings.Cut(template, placeholder)
	s := subjects{prefix, suffix}
	switch {
	case !ok || strings.Contains(suffix, placeholder):
		return s, fmt.Errorf("its subject wants %s in it exactly once, such as md.prod.eu.%s", placeholder, placeholder)
	case len(template) > templateMax:
		return s, fmt.Errorf("its subject has %d bytes, want at most %d", len(template), templateMax)
	case prefix != "" && !strings.HasSuffix(prefix, "."), suffix != "" && !strings.HasPrefix(suffix, "."):
		return s, fmt.Errorf("its subject wants points around %s, such as md.prod.%s", placeholder, placeholder)
	case suffix != "":
		return s, errors.New("its subject wants " + placeholder + " at its end: all topics have to be one pattern")
	}
	if prefix == "" {
		return s, nil
	}
	fixed := strings.TrimPrefix(prefix, "$KV.") // Of a bucket of the key-value store, which is a stream.
	for token := range strings.SplitSeq(strings.TrimSuffix(fixed, "."), ".") {
		if token == "" || token[0] == '$' || strings.ContainsAny(token, " \t\r\n*>%{}") || strings.ContainsFunc(token, func(r rune) bool { return r < ' ' }) {
			return s, errors.New("the fixed parts of its subject are not valid: want names without blanks, $, *, > and %, such as md.prod." + placeholder + ", or $KV.bucket." + placeholder)
		}
	}
	return s, nil
}

// all is the subjects of all topics.
func (s subjects) all() string { return s.prefix + ">" }

// covers reports whether a pattern of subjects has all that another has, which ends with > and has no other wildcard.
func covers(pattern, other string) bool {
	parts, of := strings.Split(pattern, "."), strings.Split(other, ".")
	for i, p := range parts {
		switch {
		case p == ">":
			return true
		case i == len(of)-1 || p != "*" && p != of[i]:
			return false
		}
	}
	return false
}

// matches reports whether a pattern has a subject.
func matches(pattern, subject string) bool {
	parts, of := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, p := range parts {
		switch {
		case p == ">":
			return i < len(of)
		case i >= len(of) || p != "*" && p != of[i]:
			return false
		}
	}
	return len(parts) == len(of)
}

const hexDigits = "0123456789ABCDEF"

// of is the subject of a topic, which is a valid name.
func (s subjects) of(topic string) string {
	if isPlain(topic) {
		return s.prefix + topic
	}
	b := make([]byte, 0, len(s.prefix)+len(topic)+8)
	b = append(b, s.prefix...)
	begins := true // A part of the subject.
	for i := range len(topic) {
		c := topic[i]
		switch {
		case c == ':':
			if begins {
				b = append(b, '%')
			}
			b = append(b, '.')
		case c == '.', c == '%', c == '>', c == '*', c == '$' && i == 0 && s.prefix == "":
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
		begins = c == ':'
	}
	if begins {
		b = append(b, '%')
	}
	return string(b)
}

// isPlain reports whether a topic is its own subject.
func isPlain(topic string) bool {
	for i := range len(topic) {
		switch topic[i] {
		case ':', '.', '%', '>', '*':
			return false
		case '$':
			if i == 0 {
				return false
			}
		}
	}
	return topic != ""
}

// topic is the topic of a subject. It is false for one that no topic has. It allocates only where the
// two differ.
func (s subjects) topic(subject string) (string, bool) {
	rest, ok := strings.CutPrefix(subject, s.prefix)
	if !ok || rest == "" {
		return "", false
	}
	if strings.IndexByte(rest, '.') < 0 && strings.IndexByte(rest, '%') < 0 {
		if rest[0] == '$' && s.prefix == "" || strings.IndexByte(rest, ':') >= 0 || strings.IndexByte(rest, '>') >= 0 || strings.IndexByte(rest, '*') >= 0 {
			return "", false
		}
		return rest, true
	}
	b := make([]byte, 0, len(rest))
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '.':
			b = append(b, ':')
		case c == '%' && (i+1 == len(rest) || rest[i+1] == '.'): // An empty part.
		case c == '%' && i+2 < len(rest):
			hi, lo := strings.IndexByte(hexDigits, rest[i+1]), strings.IndexByte(hexDigits, rest[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			b = append(b, c)
		}
	}
	topic := string(b)
	return topic, s.of(topic) == subject // Any other form is no topic's.
}
