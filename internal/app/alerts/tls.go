// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"crypto/tls"
	"errors"
	"fmt"

	"tickedge/internal/auth"
)

// tlsFiles are what the port of gRPC shows, and whose certificates its clients show.
type tlsFiles struct{ cert, key, clients string }

// load reads the files. It returns nil where there is to be no TLS.
func (f *tlsFiles) load() (*tls.Config, error) {
	switch {
	case (f.cert == "") != (f.key == ""):
		return nil, errors.New("-grpc-tls-cert and -grpc-tls-key go together: want both or neither")
	case f.cert == "" && f.clients != "":
		return nil, errors.New("-grpc-client-ca needs TLS: want -grpc-tls-cert and -grpc-tls-key beside it")
	case f.cert == "":
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("-grpc-tls-cert: %w", err)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if f.clients != "" {
		if err := auth.AskCertificates(secure, f.clients, false); err != nil {
			return nil, fmt.Errorf("-grpc-client-ca: %w", err)
		}
	}
	return secure, nil
}
