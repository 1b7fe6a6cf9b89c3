// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"crypto/tls"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/auth"
	"tickedge/internal/tlstest"
)

// With TLS a server is who its certificate says. With authorities for clients, who shows no certificate of one is sent away, or
// has to bring a token, where there are tokens.
func TestTLS(t *testing.T) {
	ours, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	for _, c := range []struct {
		name   string
		client *tlstest.Authority // Of the client's certificate.
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
				cfg.TLSCert, cfg.TLSKey = ours.Pair()
				if c.mutual {
					cfg.ClientCA = ours.File
				}
				if c.tokens {
					var err error
					if cfg.Verifier, err = auth.NewVerifier(auth.Config{Secret: make([]byte, 64)}, cfg.Log); err != nil {
						t.Fatal(err)
					}
				}
			})
			conn, err := grpc.NewClient(w.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ours.Pool, Certificates: c.client.Shown()})))
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
