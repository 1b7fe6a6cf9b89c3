// SPDX-License-Identifier: Apache-2.0

// Package tlstest has authorities, and certificates that they sign. It is for tests alone.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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

// Authority is one whose certificate is signed by itself.
type Authority struct {
	File string         // Its certificate, in PEM.
	Pool *x509.CertPool // It alone.

	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority returns one whose files are gone after the test.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, Pool: x509.NewCertPool()}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.Pool.AddCert(a.cert)
	a.File = a.write("CERTIFICATE", a.cert.Raw)
	return a
}

// sign returns the certificate of a template, signed by the authority, or by itself if that has none yet.
func (a *Authority) sign(of *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	of.SerialNumber, of.NotBefore, of.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := of, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, &key.PublicKey, signer)
	if err != nil {
		a.tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.tb.Fatal(err)
	}
	return cert, key
}

// write puts one block of PEM into a file.
func (a *Authority) write(kind string, der []byte) (file string) {
	a.tb.Helper()
	file = filepath.Join(a.tb.TempDir(), "pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return file
}

// Pair returns the files of a certificate for 127.0.0.1 and of its key. Servers and clients may show it.
func (a *Authority) Pair() (cert, key string) {
	a.tb.Helper()
	signed, private := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "somebody"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.tb.Fatal(err)
	}
	return a.write("CERTIFICATE", signed.Raw), a.write("EC PRIVATE KEY", der)
}

// Shown is what a client shows: a certificate of the authority, or nothing if there is none.
func (a *Authority) Shown() []tls.Certificate {
	if a == nil {
		return nil
	}
	a.tb.Helper()
	cert, err := tls.LoadX509KeyPair(a.Pair())
	if err != nil {
		a.tb.Fatal(err)
	}
	return []tls.Certificate{cert}
}
