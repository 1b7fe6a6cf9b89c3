// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"tickedge/internal/topics"
)

// DefaultPrivate is the prefixes of private names unless the operator chooses others.
const DefaultPrivate = "alerts:"

const (
	// PrivatePrefixMax bounds a prefix, in bytes: the longest rest that [PrivateName] makes fits behind it.
	PrivatePrefixMax = topics.NameMax - len(privateHash) - (sha256.Size*8+5)/6
	privatesMax      = 16
	privateHash      = "~~"
)

// Private is the prefixes of names that are private: only a [Grant] has them, name by name, and no
// list shows them. Nil has none. It does not change, and any goroutine may use it.
type Private struct{ prefixes []string }

// ParsePrivate makes it of a list of prefixes, by commas. Of one that begins with another it could
// not be said whose names they are, so that is an error.
func ParsePrivate(list string) (*Private, error) {
	p := new(Private)
	for s := range strings.SplitSeq(list, ",") {
		switch s = strings.TrimSpace(s); {
		case s == "":
			continue
		case !topics.ValidName(s) || len(s) > PrivatePrefixMax:
			return nil, fmt.Errorf("%q is no beginning of private names, such as alerts: (without a star): want at most %d bytes, and %s",
				s, PrivatePrefixMax, topics.NameRule)
		}
		p.prefixes = append(p.prefixes, s)
	}
	slices.Sort(p.prefixes)
	p.prefixes = slices.Compact(p.prefixes)
	if len(p.prefixes) > privatesMax {
		return nil, fmt.Errorf("%d prefixes of private names, want %d at most", len(p.prefixes), privatesMax)
	}
	for i := 1; i < len(p.prefixes); i++ { // In order, so what begins with another stands behind one that it begins with.
		if short := p.prefixes[i-1]; strings.HasPrefix(p.prefixes[i], short) {
			return nil, fmt.Errorf("%q and %q are prefixes of private names, of which one begins with the other: want one of them", short, p.prefixes[i])
		}
	}
	return p, nil
}

// Has reports whether a name is private.
func (p *Private) Has(name []byte) bool { return p.prefixOf(name) != "" }

// String is the prefixes, by commas.
func (p *Private) String() string { return strings.Join(p.prefixes, ",") }

func (p *Private) prefixOf(name []byte) string {
	if p != nil {
		for _, s := range p.prefixes {
			if len(name) >= len(s) && string(name[:len(s)]) == s {
				return s
			}
		}
	}
	return ""
}

// PrivateName is the private name of a user with a prefix, by the sub of its tokens: a valid name of
// a topic, and no other user's. Letters (A-Z, a-z), digits and . _ - @ of sub stay as they are; each
// other byte of its UTF-8 becomes ~ and two hexadecimal digits, in upper case: alerts:auth0~7C42. If
// that has more than 64 bytes, ~~ stands behind the prefix and then the SHA-256 of sub, in base64url without
// padding. The prefix must be one that [ParsePrivate] takes.
func PrivateName(prefix, sub string) string { return string(appendPrivateName(nil, prefix, sub)) }

func appendPrivateName(dst []byte, prefix, sub string) []byte {
	const digits = "0123456789ABCDEF"
	dst = append(dst, prefix...)
	rest := len(dst)
	for i := 0; i < len(sub) && len(dst) <= topics.NameMax; i++ {
		switch c := sub[i]; {
		case isDigit(c), lower(c) >= 'a' && lower(c) <= 'z', c == '.', c == '_', c == '-', c == '@':
			dst = append(dst, c)
		default:
			dst = append(dst, '~', digits[c>>4], digits[c&15])
		}
	}
	if len(dst) > topics.NameMax {
		sum := sha256.Sum256([]byte(sub))
		dst = base64.RawURLEncoding.AppendEncode(append(dst[:rest], privateHash...), sum[:])
	}
	return dst
}

var reserved = []byte(topics.Reserved)

// Grant is what a client may have. It is what every door of the edge asks: commands, queries, streams and
// requests. The zero Grant is all names but those of the edges ([topics.Reserved]), which nobody has.
type Grant struct {
	Topics  *Patterns // What its token's claim allows; nil is all names that are not private.
	User    string    // The sub of its token; empty for none.
	Private *Private  // Which names are private.
}

// Allows reports whether the client may have a topic. A private name is allowed by its whole name in
// the claim, or as the user's own: no pattern does it, nor that there is no claim. It allocates nothing but for a user whose
// name is a hash.
func (g *Grant) Allows(topic []byte) bool {
	if bytes.HasPrefix(topic, reserved) {
		return false
	}
	if g.Private.Has(topic) {
		return g.Names(topic)
	}
	return g.Topics.Allows(topic)
}

// Covers reports whether the client may have all names of a pattern that are not private, or the one that it is.
func (g *Grant) Covers(pattern []byte) bool {
	if !bytes.HasSuffix(pattern, []byte("*")) {
		return g.Allows(pattern)
	}
	return g.Topics.Covers(pattern)
}

// Names reports whether the token allows a topic by its whole name, or as the user's own: it is
// known to exist.
func (g *Grant) Names(topic []byte) bool {
	if g.Topics.Names(topic) {
		return true
	}
	prefix := g.Private.prefixOf(topic)
	if prefix == "" || g.User == "" {
		return false
	}
	var b [topics.NameMax + 3]byte
	return bytes.Equal(topic, appendPrivateName(b[:0], prefix, g.User))
}

// Next returns the first name or prefix of the claim behind a topic that it does not allow, see
// [Patterns.Next].
func (g *Grant) Next(topic string) (next string, ok bool) { return g.Topics.Next(topic) }
