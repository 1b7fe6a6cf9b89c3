// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tickedge/internal/guard"
)

func hashOf(key []byte) [32]byte { return sha256.Sum256(key) }

// anybody is the prefix under which all wrong keys are counted together.
const anybody = guard.Prefix(1)

// caller returns who calls, or writes why he may not. Keys come before the limit of wrong ones: who shares an address
// with somebody that guesses is let in.
func (p *Port) caller(w *answer, r *http.Request) (name string, ok bool) {
	if site := r.Header.Get("Sec-Fetch-Site"); !p.names.Allow(r.Host) {
		w.problem(http.StatusMisdirectedRequest, "the back office is not known by this name: use its address, or name it with -admin-host")
		return "", false
	} else if r.Header["Origin"] != nil || site != "" && site != "none" {
		w.problem(http.StatusForbidden, "web pages may not ask the back office (Origin, Sec-Fetch-Site)")
		return "", false
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return certName(r.TLS.PeerCertificates[0]), true
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") && len(r.Header["Authorization"]) == 1 {
		if name, ok = p.keys.Find([]byte(strings.TrimSpace(secret))); ok {
			return name, true
		}
	}
	now, prefix := time.Now(), prefixOf(r.RemoteAddr)
	if !p.wrong.Has(prefix, now) {
		w.Header().Set("Retry-After", "1")
		w.problem(http.StatusTooManyRequests, "too many wrong keys from this address")
		return "", false
	}
	p.wrong.Spend(prefix, 1, now)
	if !p.wrongAll.Take(anybody, now) {
		w.Header().Set("Retry-After", "1")
		w.problem(http.StatusTooManyRequests, "too many wrong keys")
		return "", false
	}
	p.log.Warn("the back office was called without a key that is good", "from", r.RemoteAddr, "has_key", secret != "")
	challenge := `Bearer realm="tickedge"`
	if secret != "" {
		challenge += `, error="invalid_token"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.problem(http.StatusUnauthorized, "want Authorization: Bearer with a key of -api-key-file, or a certificate of -api-client-ca")
	return "", false
}

func prefixOf(remote string) guard.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return 0
	}
	return guard.PrefixOf(addr.Addr())
}

// certName is what a certificate's owner is called in the audit.
func certName(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return clip(c.Subject.CommonName)
	case len(c.DNSNames) > 0:
		return clip(c.DNSNames[0])
	case len(c.URIs) > 0:
		return clip(c.URIs[0].String())
	}
	return fmt.Sprintf("certificate %x", c.SerialNumber)
}

// clip shortens what somebody has sent for the log.
func clip(s string) string { return s[:min(len(s), 100)] }
