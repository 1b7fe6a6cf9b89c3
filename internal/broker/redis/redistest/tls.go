// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an authority that signs certificates for the time of a test.
type CA struct {
	File string // Its own certificate, in PEM.

	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority that nobody trusts yet.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, dir: t.TempDir()}
	ca.cert = &x509.Certificate{
		SerialNumber:          serial(t),
		Subject:               pkix.Name{CommonName: "test authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	ca.key = newKey(t)
	ca.File = ca.sign("ca", ca.cert, ca.key)
	return ca
}

// Issue writes a certificate for 127.0.0.1 and localhost, for servers and clients. name
// is its common name, and what the files are called. A second one of the same name takes
// the place of the first, as a renewal does.
func (ca *CA) Issue(name string) (certFile, keyFile string) {
	ca.t.Helper()
	key := newKey(ca.t)
	certFile = ca.sign(name, &x509.Certificate{
		SerialNumber: serial(ca.t),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"localhost"},
	}, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return certFile, ca.write(name+".key", "PRIVATE KEY", der)
}

func (ca *CA) sign(name string, cert *x509.Certificate, key *ecdsa.PrivateKey) (file string) {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.write(name+".crt", "CERTIFICATE", der)
}

func (ca *CA) write(name, kind string, der []byte) (file string) {
	ca.t.Helper()
	file = filepath.Join(ca.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.t.Fatal(err)
	}
	return file
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t testing.TB) *big.Int {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// StartTLS returns a running server that has a second port for TLS, with a certificate
// from ca, and asks clients for none. The test's own commands go over the first.
func StartTLS(t testing.TB, ca *CA, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	s.addTLS(ca)
	s.Start()
	return s
}

// addTLS gives a server a port for TLS. What its arguments say goes before what is said
// here.
func (s *Server) addTLS(ca *CA) {
	s.tlsAddr = address(s.t)
	cert, key := ca.Issue("server")
	s.args = append([]string{"--tls-port", portOf(s.tlsAddr), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", ca.File, "--tls-auth-clients", "no"}, s.args...)
}

// TLSAddr is host:port of the port for TLS.
func (s *Server) TLSAddr() string { return s.tlsAddr }
