// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles names the files of connections by TLS, in PEM. They are read again for each
// connection, so that a certificate that was renewed is used from then on.
type TLSFiles struct {
	CA   string // The authorities that may have signed the server's certificate; "" for those of the system.
	Cert string // What the edge shows to a server that asks; "" for nothing.
	Key  string // The key of Cert.
}

// validate returns all that is wrong. secure says whether there is a connection by TLS.
func (f TLSFiles) validate(secure bool) (errs []error) {
	if f == (TLSFiles{}) {
		return nil
	}
	if !secure {
		errs = append(errs, errors.New("redis TLS files are given, and no redis URL uses TLS: want rediss://, rediss-sentinel:// or rediss-cluster://"))
	}
	if (f.Cert == "") != (f.Key == "") {
		return append(errs, errors.New("redis TLS certificate or key is missing: want both, or neither"))
	}
	if err := f.load(new(tls.Config)); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// load reads the files into c.
func (f TLSFiles) load(c *tls.Config) error {
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return fmt.Errorf("redis TLS authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("redis TLS authorities: %s holds no certificate in PEM", f.CA)
		}
	}
	if f.Cert == "" {
		return nil
	}
	// The options of a link outlive its connections: that for values may be dialled again.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.pair() }
	_, err := f.pair()
	return err
}

func (f TLSFiles) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("redis TLS certificate and key: %w", err)
	}
	return &pair, nil
}
