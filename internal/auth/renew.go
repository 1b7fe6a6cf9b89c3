// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"sync/atomic"
)

// Renew returns a verifier that goes by cfg, for who verified by v so far, which stays as it is. Keys of a file or a secret are read
// anew. Those of a URL are shared with v, whose [Verifier.Run] keeps them fresh for both: the URL and the time between two fetches
// have to be the same.
func (v *Verifier) Renew(cfg Config) (*Verifier, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !v.cfg.SameJWKS(cfg) {
		return nil, errors.New("the keys of tokens come from another URL than before, or at another pace: restart for that")
	}
	next := *v
	next.rule(cfg)
	if cfg.JWKSURL != "" {
		return &next, nil
	}
	keys, err := readKeys(cfg)
	if err != nil {
		return nil, err
	}
	next.keys = new(atomic.Pointer[keySet])
	next.keys.Store(&keySet{keys: keys})
	return &next, nil
}

// SameJWKS reports whether both get their keys from the same URL, as often, or both from none.
func (c Config) SameJWKS(other Config) bool {
	c, other = c.withDefaults(), other.withDefaults()
	return c.JWKSURL == other.JWKSURL && (c.JWKSURL == "" || c.JWKSRefresh == other.JWKSRefresh)
}
