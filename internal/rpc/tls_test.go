// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
)

// authority is one whose certificate is signed by itself.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// certify returns the certificate of a template, signed by an authority, or by itself.
func certify(t *testing.T, of *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of.SerialNumber, of.NotBefore, of.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := of, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	cert, key := certify(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	a := &authority{t: t, cert: cert, key: key}
	a.file = a.write("CERTIFICATE", cert.Raw)
	return a
}

// write puts one block of PEM into a file.
func (a *authority) write(kind string, der []byte) (file string) {
	a.t.Helper()
	file = filepath.Join(a.t.TempDir(), "pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// pair returns the files of a certificate for 127.0.0.1 and of its key.
func (a *authority) pair() (cert, key string) {
	a.t.Helper()
	signed, private := certify(a.t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a)
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write("CERTIFICATE", signed.Raw), a.write("EC PRIVATE KEY", der)
}

// With TLS a server is who its certificate says. With authorities for clients, who shows no certificate of one is sent away, or
// has to bring a token, where there are tokens.
func TestTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	shown := func(a *authority) []tls.Certificate {
		if a == nil {
			return nil
		}
		cert, err := tls.LoadX509KeyPair(a.pair())
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{cert}
	}
	for _, c := range []struct {
		name   string
		client *authority // Of the client's certificate.
		mutual bool
		tokens bool
		want   codes.Code
	}{
		{"TLS alone", nil, false, false, codes.OK},
		{"a certificate", ours, true, false, codes.OK},
		{"no certificate", nil, true, false, codes.Unavailable},
		{"a foreign certificate", others, true, false, codes.Unavailable},
		{"a certificate for a token", ours, true, true, codes.OK},
		{"neither", nil, true, true, codes.Unauthenticated},
		{"a foreign certificate for a token", others, true, true, codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, func(cfg *Config, _ *share) {
				cfg.TLSCert, cfg.TLSKey = ours.pair()
				if c.mutual {
					cfg.ClientCA = ours.file
				}
				if c.tokens {
					var err error
					if cfg.Verifier, err = auth.NewVerifier(auth.Config{Secret: make([]byte, 64)}, cfg.Log); err != nil {
						t.Fatal(err)
					}
				}
			})
			conn, err := grpc.NewClient(w.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, Certificates: shown(c.client)})))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			stream, err := pricesv1.NewPricesClient(conn).Stream(t.Context())
			var hello *pricesv1.StreamResponse
			if err == nil {
				hello, err = stream.Recv()
			}
			if status.Code(err) != c.want || err == nil && hello.GetHello() == nil {
				t.Errorf("%v, %v, want %v", hello, err, c.want)
			}
		})
	}
}
