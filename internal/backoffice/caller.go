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

// errPage is for what comes from a page of the web, whoever has opened that.
var errPage = &Fault{Status: http.StatusForbidden, Detail: "web pages may not ask the back office (Origin, Sec-Fetch-Site)"}

// FromPage reports whether a request comes from a page of the web, by two of its header fields.
func FromPage(origin []string, site string) *Fault {
	if origin != nil || site != "" && site != "none" {
		return errPage
	}
	return nil
}

// Identify says who makes the request: whose certificate it comes with, see [Service.Vouch], or else whose key is in the
// fields of authorization. Keys come before the limit of wrong ones: who shares an address with somebody that guesses is
// let in.
func (q *Request) Identify(cert *x509.Certificate, authorization []string) *Fault {
	s := q.service
	if cert != nil {
		q.who = certName(cert)
		return nil
	}
	scheme, secret := "", ""
	if len(authorization) > 0 {
		scheme, secret, _ = strings.Cut(authorization[0], " ")
	}
	if strings.EqualFold(scheme, "Bearer") && len(authorization) == 1 {
		if name, ok := s.access.Load().keys.Find([]byte(strings.TrimSpace(secret))); ok {
			q.who = name
			return nil
		}
	}
	now, prefix := time.Now(), prefixOf(q.from)
	if !s.wrong.Has(prefix, now) {
		return &Fault{Status: http.StatusTooManyRequests, Detail: "too many wrong keys from this address", Retry: true}
	}
	s.wrong.Spend(prefix, 1, now)
	if !s.wrongAll.Take(anybody, now) {
		return &Fault{Status: http.StatusTooManyRequests, Detail: "too many wrong keys", Retry: true}
	}
	s.log.Warn("the back office was called without a key that is good", "from", q.from, "has_key", secret != "")
	challenge := `Bearer realm="tickedge"`
	if secret != "" {
		challenge += `, error="invalid_token"`
	}
	return &Fault{
		Status: http.StatusUnauthorized, challenge: challenge,
		Detail: "want Authorization: Bearer with a key of -api-key-file, or a certificate of -api-client-ca",
	}
}

// Vouch returns the certificate that a client has shown, if it is one of -api-client-ca, or nil. That the client has its
// key was seen to by TLS.
func (s *Service) Vouch(shown []*x509.Certificate) *x509.Certificate {
	roots := s.access.Load().roots
	if roots == nil || len(shown) == 0 {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	use := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: use}); err != nil {
		return nil // Clients of other authorities may come to the same port.
	}
	return shown[0]
}

// caller reports whether who calls may, or writes why not.
func (p *Port) caller(w *answer, r *http.Request) (ok bool) {
	if !p.names.Allow(r.Host) {
		w.problem(http.StatusMisdirectedRequest, "the back office is not known by this name: use its address, or name it with -admin-host")
		return false
	}
	f := FromPage(r.Header["Origin"], r.Header.Get("Sec-Fetch-Site"))
	if f == nil {
		f = w.Identify(p.shown(r.TLS), r.Header["Authorization"])
	}
	if f != nil {
		w.fault(f)
		return false
	}
	return true
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
