// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"tickedge/internal/guard"
)

const (
	// TokenMax bounds a token, in bytes. It is as much as a request head may have in
	// all; issuers stay below 2 KiB unless they put lists into their tokens.
	TokenMax = 8 << 10
	// headerMax bounds its first part, the one that is parsed before the signature is
	// verified: nested to 6 KiB, it would take 200 µs and 250 KiB. An alg, a kid and a typ
	// have some 100 bytes. Certificates in it (x5c) would not be looked at anyway.
	headerMax = 1 << 10
	// userMax bounds sub, in bytes: OpenID Connect Core, section 2, allows 255.
	userMax = 255
	// timeMax is the end of the year 9999, in seconds. A later exp is in milliseconds.
	timeMax = 253402300799
)

// Claims is what a good token says.
type Claims struct {
	// User is sub: 1 to 255 bytes of UTF-8 without control characters.
	User string
	// Expires is when the conn has to end unless it shows another token: exp and the
	// leeway. It is zero for a token without exp.
	Expires time.Time
	// Topics are the topics that the conn may have; nil is all. Ask a [Grant], for names may be private.
	Topics *Patterns
	// ID is a hash of jti, and Issued is iat in seconds, for [Revocations.Has]: 0 without one, and where nothing is ever revoked.
	ID     uint64
	Issued uint32
}

// Verifier verifies tokens (JWT: RFC 7519, signed as in RFC 7515). All its methods may be
// called from any goroutine.
type Verifier struct {
	cfg     Config
	types   []string                // As plainType has them.
	options []jwt.ParserOption      // Of the claims' validator; the time is not among them.
	keys    *atomic.Pointer[keySet] // Of nil before the first fetch.
	jwks    *jwks                   // Nil if the keys are from a file or a secret.
}

// NewVerifier reads the secret or the key file. Keys from a URL are not there before
// [Verifier.Run] has fetched them; until then every token is refused with [NotReady].
func NewVerifier(cfg Config, log *slog.Logger) (*Verifier, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	v := &Verifier{keys: new(atomic.Pointer[keySet])}
	v.rule(cfg)
	if cfg.JWKSURL != "" {
		v.jwks = newJWKS(cfg, v.keys, log)
		return v, nil
	}
	keys, err := readKeys(cfg)
	if err != nil {
		return nil, err
	}
	v.keys.Store(&keySet{keys: keys})
	return v, nil
}

// rule sets what cfg wants of tokens beside their keys.
func (v *Verifier) rule(cfg Config) {
	v.cfg, v.types, v.options = cfg, nil, []jwt.ParserOption{jwt.WithLeeway(cfg.Leeway)}
	for _, typ := range cfg.Types {
		v.types = append(v.types, plainType(typ))
	}
	if !cfg.AllowNoExp {
		v.options = append(v.options, jwt.WithExpirationRequired())
	}
	if cfg.Issuer != "" {
		v.options = append(v.options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		v.options = append(v.options, jwt.WithAudience(cfg.Audience))
	}
}

// Run keeps the keys of a JWKS URL fresh until ctx ends. With another source of keys
// there is nothing to do, and it returns at once. It is to be called once.
//
// If the first fetch fails, Run tries again: an issuer that is down for a minute must
// not take down edges that start in it. Until it works, [Stats].Keys is 0, which an
// operator sees as not ready, and a log line says why.
func (v *Verifier) Run(ctx context.Context) {
	if v.jwks != nil {
		v.jwks.run(ctx, v.jwks.fetch)
	}
}

// Revocations is what the verifier was given of them, or nil.
func (v *Verifier) Revocations() *Revocations {
	if v == nil {
		return nil
	}
	return v.cfg.Revoked
}

// Stats says which keys there are, and how fetching them goes.
type Stats struct {
	Keys              int       // 0 before the first fetch: not ready.
	Fetched           time.Time // When the keys were fetched; zero if they were not.
	Fetches, Failures uint64    // From the JWKS URL, those that failed included in both.
	LastError         string    // Of the last failure.
}

// Stats may be called from any goroutine.
func (v *Verifier) Stats() (s Stats) {
	if set := v.keys.Load(); set != nil {
		s.Keys, s.Fetched = len(set.keys), set.fetched
	}
	if v.jwks != nil {
		s.Fetches, s.Failures = v.jwks.fetches.Load(), v.jwks.failures.Load()
		if text := v.jwks.lastError.Load(); text != nil {
			s.LastError = *text
		}
	}
	return s
}

// Verify returns what a token says if it is good at the time now. The error is a
// [Reason]. Nothing of token is kept.
//
// The parts of a token are taken apart here, strictly; signatures and claims are verified
// by package jwt.
//
// If the token is of a key that is not known, the next fetch is brought forward, and the
// answer is [KeysPending] until a set that was fetched in the last 10 seconds does not
// have the key either: then it is [UnknownKey]. So a client whose issuer has just
// changed keys is not told to throw its token away.
func (v *Verifier) Verify(token []byte, now time.Time) (Claims, error) {
	return v.verify(token, now, true)
}

// WrongTokens is how many tokens with a wrong signature a prefix may show, for VerifyFrom: those whose signatures take
// milliseconds are not verified beyond it, as who serves would do nothing else.
var WrongTokens = guard.Rate{PerSecond: 1, Burst: 8}

// VerifyFrom is [Verifier.Verify] for a client of a prefix, whose wrong tokens it counts: once there are more than wrong lets
// it show, a token whose signature takes long to verify (see [isSlow]) is refused with [TooManyWrong]. why is 0 if the token is
// good.
func (v *Verifier) VerifyFrom(prefix guard.Prefix, token []byte, now time.Time, wrong *guard.PrefixLimit) (claims Claims, why Reason) {
	trusted := wrong.Has(prefix, now)
	claims, err := v.verify(token, now, trusted)
	if err != nil {
		why = err.(Reason)
	}
	if why == BadSignature && trusted { // Else the prefix would have to wait ever longer.
		wrong.Spend(prefix, 1, now)
	}
	return claims, why
}

func (v *Verifier) verify(token []byte, now time.Time, slowToo bool) (Claims, error) {
	switch {
	case len(token) == 0:
		return Claims{}, Missing
	case len(token) > TokenMax:
		return Claims{}, TooLong
	case !plainText(token):
		return Claims{}, Malformed
	}
	set := v.keys.Load()
	if set == nil {
		return Claims{}, NotReady
	}
	text := string(token)
	first, rest, _ := strings.Cut(text, ".")
	second, third, three := strings.Cut(rest, ".")
	var h header
	signature, err := base64.RawURLEncoding.Strict().DecodeString(third)
	if !three || err != nil || len(first) > headerMax || !unpack(first, &h) {
		return Claims{}, Malformed
	}
	if !v.mayBe(h.Typ) {
		return Claims{}, WrongType
	}
	keys, err := v.candidates(set, &h, now)
	if err != nil {
		return Claims{}, err
	}
	if !slowToo && slices.ContainsFunc(keys, isSlow) {
		return Claims{}, TooManyWrong
	}
	signed := text[:len(first)+len(".")+len(second)]
	if !slices.ContainsFunc(keys, func(c candidate) bool { return c.method.Verify(signed, signature, c.material) == nil }) {
		return Claims{}, BadSignature
	}
	// What is not signed is not parsed: jwt.Parser would do that first.
	var p payload
	if !unpack(second, &p) {
		return Claims{}, Malformed
	}
	clock := jwt.WithTimeFunc(func() time.Time { return now })
	if err := jwt.NewValidator(append(slices.Clip(v.options), clock)...).Validate(&p); err != nil {
		return Claims{}, v.reason(err, &p)
	}
	if v.cfg.Audience == "" && p.named() {
		return Claims{}, WrongAudience
	}
	if !validUser(p.Sub) {
		return Claims{}, BadUser
	}
	claims := Claims{User: p.Sub}
	if p.Exp != nil {
		claims.Expires = time.Unix(int64(*p.Exp), 0).Add(v.cfg.Leeway)
	}
	if list, ok := p.Rest[v.cfg.TopicsClaim]; ok {
		if claims.Topics, ok = parseTopics(list, v.cfg.Private); !ok {
			return Claims{}, BadTopics
		}
	}
	if v.cfg.Revoked.mark(&p, &claims) {
		return Claims{}, Revoked
	}
	return claims, nil
}

// plainText reports whether token has only bytes of base64url and dots. The decoder passes
// over line ends, so that one token could be written in many ways.
func plainText(token []byte) bool {
	for _, c := range token {
		if !isDigit(c) && (lower(c) < 'a' || lower(c) > 'z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// unpack decodes a part of a token: base64url of JSON. It is false also for names that come
// twice and text that is not UTF-8, which encoding/json would make good, as it would take
// eXp for exp. RFC 7519, 4, lets a reader take the last of two; a proxy before us may have
// taken the first.
func unpack(part string, into any) bool {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return err == nil && json.Unmarshal(text, into) == nil
}

// header is the first part of a token (RFC 7515, 4.1).
type header struct {
	Alg  string         `json:"alg"`
	Typ  *string        `json:"typ"`
	Kid  string         `json:"kid"`
	Crit jsontext.Value `json:"crit"`
}

// mayBe reports whether a token may be of a type. An issuer's key signs tokens for other
// purposes too, logout tokens for instance, and RFC 8725, 3.11, has their types tell them
// apart.
func (v *Verifier) mayBe(typ *string) bool {
	if typ == nil {
		return slices.Contains(v.types, NoType)
	}
	plain := plainType(*typ)
	return plain != NoType && slices.Contains(v.types, plain)
}

// plainType is a media type in lower case, without the application/ that may be left out
// (RFC 7515, 4.1.9).
func plainType(typ string) string {
	typ = strings.ToLower(typ)
	if plain, ok := strings.CutPrefix(typ, "application/"); ok && !strings.Contains(plain, "/") {
		return plain
	}
	return typ
}

// candidate is a key to try, and how.
type candidate struct {
	method   jwt.SigningMethod
	material any
}

// isSlow reports whether a signature costs more than its bytes are worth to an attacker: those of
// the large curves, which take 0.6 and 1.7 ms where all others of their length take less than 0.1.
func isSlow(c candidate) bool {
	return c.method == jwt.SigningMethodES384 || c.method == jwt.SigningMethodES512
}

// candidates returns the keys that a token may be signed with. The error is a Reason.
//
// What the token says, it says before its signature is verified. So its alg is only ever
// compared with those that a key is for. Were it the other way round, and the key used as
// alg says, anybody could sign with the public key as a secret (RFC 8725, 2.1 and 3.1).
func (v *Verifier) candidates(set *keySet, h *header, now time.Time) (fit []candidate, err error) {
	// RFC 7515, 4.1.11: extensions that are not understood make a token invalid.
	if h.Crit != nil {
		return nil, Critical
	}
	known := false
	for i := range set.keys {
		k := &set.keys[i]
		if h.Kid != "" && k.id != "" && k.id != h.Kid {
			continue
		}
		known = true
		for _, m := range k.methods {
			if m.Alg() == h.Alg && len(fit) < triesMax {
				fit = append(fit, candidate{m, k.material})
			}
		}
	}
	switch {
	case len(fit) > 0:
		return fit, nil
	case known:
		return nil, WrongAlgorithm
	case v.jwks != nil && now.Sub(set.fetched) >= askEvery:
		v.jwks.ask()
		return nil, KeysPending
	}
	return nil, UnknownKey
}

// reason says why the claims were refused. The validator's error is not passed on: it may
// quote.
func (v *Verifier) reason(err error, p *payload) Reason {
	var why Reason
	switch {
	case errors.As(err, &why):
		return why
	case p.Exp == nil && !v.cfg.AllowNoExp:
		return NoExpiry
	case errors.Is(err, jwt.ErrTokenExpired):
		return Expired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return NotYet
	case v.cfg.Issuer != "" && p.Iss != v.cfg.Issuer:
		return WrongIssuer
	}
	return WrongAudience
}

// Bearer returns the token in the value of an Authorization field (RFC 6750, 2.1). It is
// false if the field is of another scheme. The token points into field.
func Bearer(field []byte) (token []byte, ok bool) {
	const scheme = "bearer "
	if len(field) < len(scheme) || !bytes.EqualFold(field[:len(scheme)], []byte(scheme)) {
		return nil, false
	}
	token = bytes.TrimLeft(field[len(scheme):], " ")
	return token, len(token) > 0
}
