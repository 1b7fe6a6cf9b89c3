// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"crypto/tls"
	"crypto/x509"
)

// access is who may call, and what the port shows to them. It does not change.
type access struct {
	keys   Keys
	roots  *x509.CertPool // Whose certificates may call; nil for none.
	secure *tls.Config    // Nil for plain HTTP.
}

func newAccess(keys Keys, secure *tls.Config) *access {
	a := &access{keys: keys, secure: secure}
	if secure != nil {
		a.roots = secure.ClientCAs
	}
	return a
}

// Renewal is keys, certificate and authorities that a [Port] may go over to.
type Renewal struct{ access *access }

// Prepare reads the files that c names. The error shows no key.
func (c *Config) Prepare() (Renewal, error) {
	keys, secure, err := c.load()
	if err != nil {
		return Renewal{}, err
	}
	return Renewal{newAccess(keys, secure)}, nil
}

// Renew has the port go by what was prepared: keys and authorities from the next request on, the certificate from the next
// handshake on. Whether it has TLS does not change.
func (p *Port) Renew(r Renewal) {
	if (r.access.secure == nil) == (p.access.Load().secure == nil) {
		p.access.Store(r.access)
	}
}

// secured is the configuration of TLS that asks for the newest one at each handshake, or nil for plain HTTP.
func (s *Service) secured() *tls.Config {
	if s.access.Load().secure == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.access.Load().secure, nil
	}}
}

// shown returns the certificate by which a request over TLS is known, or nil.
func (s *Service) shown(state *tls.ConnectionState) *x509.Certificate {
	switch {
	case state == nil || len(state.VerifiedChains) == 0:
		return nil
	case s.access.Load() == s.first: // By the authorities that there still are.
		return state.PeerCertificates[0]
	}
	return s.Vouch(state.PeerCertificates) // The connection may be older than those that there are now.
}
