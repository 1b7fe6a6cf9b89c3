// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// AskCertificates has a server ask its clients for a certificate of the authorities in a file, in PEM. Who shows another one
// is sent away, and who shows none, unless it may bring something else.
func AskCertificates(secure *tls.Config, authorities string, orElse bool) error {
	pem, err := os.ReadFile(authorities)
	if err != nil {
		return err
	}
	secure.ClientCAs = x509.NewCertPool()
	if !secure.ClientCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s, want PEM", authorities)
	}
	secure.ClientAuth = tls.RequireAndVerifyClientCert
	if orElse {
		secure.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return nil
}
