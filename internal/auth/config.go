// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// NoType stands in [Config].Types for tokens that say nothing of their type.
const NoType = "none"

// DefaultTypes are those of RFC 7519, 5.1, and of access tokens (RFC 9068, 2.1).
func DefaultTypes() []string { return []string{"JWT", "at+jwt", NoType} }

// What holds where a [Config] says nothing.
const (
	DefaultJWKSRefresh = 10 * time.Minute
	DefaultTopicsClaim = "topics"
)

const (
	// refreshMin keeps an issuer from being asked for its keys all the time, and
	// refreshMax bounds how long a key that it has withdrawn is taken.
	refreshMin = 30 * time.Second
	refreshMax = 24 * time.Hour
	// leewayMax is for clocks that differ. RFC 7519, 4.1.4, has "no more than a few
	// minutes" in mind.
	leewayMax = 5 * time.Minute
)

// Config says which tokens are good. Exactly one of Secret, SecretFile, KeyFile and
// JWKSURL is set.
//
// There is no list of algorithms: which are taken follows from the keys. A secret takes
// HS256, and HS384 and HS512 if it is as long as their hash; an RSA key RS and PS with
// 256, 384 and 512; a P-256, P-384 or P-521 key ES256, ES384 or ES512; an Ed25519 key
// EdDSA. So a public key is never used as a secret, and "none" never fits.
type Config struct {
	// Secret is shared with the issuer, at least 32 bytes (RFC 7518, 3.2). It is to
	// come from the environment and not from a flag: everybody on a host can read the
	// flags of its processes. One line end behind it is left out, as programs that
	// make a variable of a file leave it there.
	Secret []byte
	// SecretFile holds the secret, as it is. One line end behind it is left out too.
	SecretFile string
	// KeyFile holds public keys or certificates in PEM. A certificate's dates and
	// signer are not looked at: the file itself is what is trusted.
	KeyFile string
	// JWKSURL is where the issuer has its keys (RFC 7517, 5). It is https://, or
	// http:// to a loopback address. A proxy of the environment (HTTPS_PROXY) is used.
	JWKSURL string
	// JWKSRefresh is the time between two fetches. The default is
	// [DefaultJWKSRefresh].
	JWKSRefresh time.Duration

	// Types are what typ may be, without application/ and in any case: JWT, at+jwt. The
	// default is [DefaultTypes].
	Types []string
	// Issuer is what iss has to be. Empty takes any.
	Issuer string
	// Audience is what aud has to be or contain. Empty takes tokens without aud only:
	// one that names its audiences is not for somebody who has no name (RFC 7519,
	// 4.1.3).
	Audience string
	// Leeway is by how much the clocks of issuer and edge may differ: exp counts as so
	// much later, nbf as so much earlier.
	Leeway time.Duration
	// TopicsClaim is the claim that limits topics. The default is
	// [DefaultTopicsClaim].
	TopicsClaim string
	// Private says which names are private, so that they are kept of a claim that has patterns too.
	Private *Private
	// AllowNoExp takes tokens without exp, which are good for ever.
	AllowNoExp bool
	// Revoked is which tokens were revoked; nil is none.
	Revoked *Revocations
}

func (c Config) withDefaults() Config {
	if c.JWKSRefresh == 0 {
		c.JWKSRefresh = DefaultJWKSRefresh
	}
	if c.TopicsClaim == "" {
		c.TopicsClaim = DefaultTopicsClaim
	}
	if len(c.Types) == 0 {
		c.Types = DefaultTypes()
	}
	return c
}

// registered are the claims that mean something else already (RFC 7519, 4.1).
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// Validate returns all that is wrong with c, or nil. It opens no file, and never
// repeats a secret or the URL, which may hold one.
func (c Config) Validate() error {
	c = c.withDefaults()
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	sources := 0
	for _, given := range []bool{len(c.Secret) > 0, c.SecretFile != "", c.KeyFile != "", c.JWKSURL != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		bad("%d sources of token keys, want exactly one: a secret, a secret file, a key file or a JWKS URL", sources)
	}
	if len(c.Secret) > 0 {
		if err := checkSecret(withoutLineEnd(c.Secret)); err != nil {
			bad("token secret: %w", err)
		}
	}
	if c.JWKSURL != "" {
		if err := checkJWKSURL(c.JWKSURL); err != nil {
			problems = append(problems, err)
		}
	}
	if c.JWKSRefresh < refreshMin || c.JWKSRefresh > refreshMax {
		bad("JWKS refresh is %v, want %v to %v", c.JWKSRefresh, refreshMin, refreshMax)
	}
	if c.Leeway < 0 || c.Leeway > leewayMax {
		bad("token leeway is %v, want 0s to %v", c.Leeway, leewayMax)
	}
	if slices.Contains(registered, c.TopicsClaim) {
		bad("topics claim is %q, which has a meaning of its own (RFC 7519, 4.1), want another such as %s", c.TopicsClaim, DefaultTopicsClaim)
	}
	for _, typ := range c.Types {
		if !validType(plainType(typ)) {
			bad("token type is %q, want types such as JWT or at+jwt, or %s for tokens without one", typ, NoType)
		}
	}
	return errors.Join(problems...)
}

// validType reports whether s can be the type of a token: a name as RFC 6838, 4.2, has
// them, with a slash only where it is not one of application/.
func validType(s string) bool {
	const others = "!#$&-^_.+/"
	return len(s) > 0 && len(s) <= 127 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(others, r)
	}) < 0
}

// checkJWKSURL wants a URL whose answer nobody on the way can have changed: whoever
// writes the keys decides who may connect. It takes none in which a password may be cut in two:
// the host would be another one, and the rest of the password a part of the URL that is shown.
func checkJWKSURL(s string) error {
	const want = "want https://host/path, or http:// with a loopback host"
	u, err := url.Parse(s)
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("JWKS URL has a blank, a control character or one that is not ASCII in it: leave it out, or write it as %XX")
	case strings.Contains(s, "#"):
		return errors.New("JWKS URL has a # in it, behind which nothing is sent: leave it out, or write it as %23")
	case strings.Contains(s, "@") || u != nil && u.User != nil:
		return errors.New("JWKS URL has a user or a password, and public keys need none: leave it out, or write an @ that is none of it as %40")
	case err != nil || u.Host == "":
		return errors.New("JWKS URL is not valid, " + want)
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("JWKS URL is not secure, " + want)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
