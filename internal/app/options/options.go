// SPDX-License-Identifier: Apache-2.0

// Package options is flags that several programs have: the brokers that they read or write, and the tokens of their users. The edge
// has more to say of both, and has its own.
package options

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
	"tickedge/internal/broker/nats"
	"tickedge/internal/broker/redis"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
)

// Brokers is the value of a flag that names brokers, as often as there are several. It shows no passwords.
type Brokers struct {
	Flag string // Its name, without the dash; errors speak of it.
	List []string
}

// Several says to package flags that each Set adds to what there is.
func (*Brokers) Several() {}

func (b *Brokers) String() string {
	var shown []string
	for _, one := range b.List {
		_, url := feed.ParseSource(one)
		shown = append(shown, strings.TrimSuffix(one, url)+shownURL(url))
	}
	return strings.Join(shown, " ")
}

// Set implements flag.Value.
func (b *Brokers) Set(text string) error {
	b.List = append(b.List, strings.Fields(text)...)
	return nil
}

func shownURL(url string) string {
	switch {
	case memory.Is(url):
		return url
	case nats.Is(url):
		return nats.Config{URL: url}.String()
	}
	return redis.Config{URL: url}.String()
}

// Feed is the brokers, and all that is wrong with them. Without any it is empty, which is no error.
func (b *Brokers) Feed() (f feed.Config, err error) {
	var errs []error
	for _, one := range b.List {
		patterns, url := feed.ParseSource(one)
		broker, err := b.at(url)
		if err != nil {
			errs = append(errs, fmt.Errorf("-%s: %w", b.Flag, err))
			continue
		}
		f = append(f, feed.SourceConfig{Patterns: patterns, Broker: broker})
	}
	if len(f) > 0 && len(errs) == 0 {
		return f, flags.Named(f.Validate(), "source", "-"+b.Flag)
	}
	return f, errors.Join(errs...)
}

// at returns the broker of a URL: its scheme says which that is.
func (b *Brokers) at(url string) (broker.Config, error) {
	switch {
	case memory.Is(url): // Only where an edge runs in the same process.
		m := memory.Config{URL: url}
		return m, m.Validate()
	case nats.Is(url):
		n := nats.Config{URL: url}
		return n, n.Validate()
	case redis.IsURL(url):
		r := redis.Config{URL: url, Channel: redis.DefaultChannel, Key: redis.DefaultKey}
		return r, r.ValidateURL()
	}
	return nil, errors.New(b.Flag + " URL is not valid: want redis://[user:password@]host[:port][/db] (rediss:// for TLS), unix:///path, " +
		"redis-sentinel://host:port,host:port/master, redis-cluster://host:port,host:port, or nats://[user:password@]host[:port] (tls:// for TLS)")
}

// Tokens adds the flags of tokens. secretEnv is the variable that may have their secret, which has no flag: everybody on a host can read
// the flags of its processes. claim says what the claim of topics is for.
func Tokens(fs *flags.Set, c *auth.Config, secretEnv, claim string) {
	fs.StringVar(&c.SecretFile, "jwt-secret-file", "", "`file` with the secret that tokens are signed with; or the secret in the environment: "+secretEnv)
	fs.StringVar(&c.KeyFile, "jwt-key-file", "", "`file` with the public keys of tokens, in PEM")
	fs.StringVar(&c.JWKSURL, "jwt-jwks-url", "", "`URL` of the issuer's public keys, https:// (http:// to loopback only)")
	fs.DurationVar(&c.JWKSRefresh, "jwt-jwks-refresh", auth.DefaultJWKSRefresh, "time between two fetches of -jwt-jwks-url, ±10%")
	fs.StringVar(&c.Issuer, "jwt-issuer", "", "what iss of a token has to be; empty takes any")
	fs.StringVar(&c.Audience, "jwt-audience", "", "what aud of a token has to contain; empty takes only tokens without aud")
	fs.DurationVar(&c.Leeway, "jwt-leeway", 30*time.Second, "by how much the clocks of issuer and host may differ, at most 5m")
	fs.StringVar(&c.TopicsClaim, "jwt-topics-claim", auth.DefaultTopicsClaim, claim)
	c.Types = auth.DefaultTypes()
}

// HasTokens reports whether there is something by which tokens are verified.
func HasTokens(c *auth.Config) bool {
	return c.SecretFile != "" || c.KeyFile != "" || c.JWKSURL != "" || len(c.Secret) > 0
}

// CheckTokens returns what is wrong with the flags of tokens, and the files that they name. Without any there is nothing.
func CheckTokens(c *auth.Config, secretEnv string) error {
	if !HasTokens(c) {
		return nil
	}
	return flags.Named(errors.Join(c.Validate(), c.ValidateFiles()),
		"token secret file", "-jwt-secret-file", "token secret", secretEnv, "token key file", "-jwt-key-file", "JWKS URL", "-jwt-jwks-url",
		"JWKS refresh", "-jwt-jwks-refresh", "token leeway", "-jwt-leeway", "topics claim", "-jwt-topics-claim", "token type", "-jwt-type")
}
