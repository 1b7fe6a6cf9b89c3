// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	"tickedge/internal/nettest"
	"tickedge/internal/tlstest"
)

// With TLS the port of gRPC is who its certificate says, and with authorities for clients each has to show a certificate of one.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	cert, key := ours.Pair()
	for _, mutual := range []bool{false, true} {
		addr := nettest.FreeAddr(t)
		args := []string{"-source=memory", "-store=" + t.TempDir(), "-grpc=" + addr, "-grpc-tls-cert=" + cert, "-grpc-tls-key=" + key}
		if mutual {
			args = append(args, "-grpc-client-ca="+ours.File)
		}
		p := newProcess(t, args...)
		p.start()
		p.eventually("the port is open", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
		for _, c := range []struct {
			name   string
			client *tlstest.Authority // Of its certificate.
			trusts *tlstest.Authority
			ok     bool
			says   string
		}{
			{"no certificate", nil, ours, !mutual, ""},
			{"a certificate", ours, ours, true, ""},
			{"a foreign certificate", others, ours, !mutual, ""},
			{"who trusts others", ours, others, false, "certificate signed by unknown authority"},
		} {
			creds := credentials.NewTLS(&tls.Config{RootCAs: c.trusts.Pool, Certificates: c.client.Shown()})
			if err := list(t, addr, creds); (err == nil) != c.ok || !c.ok && status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("%s, mutual %v: %v", c.name, mutual, err)
			}
		}
		if err := list(t, addr, insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
			t.Errorf("in the clear, mutual %v: %v", mutual, err)
		}
		old := credentials.NewTLS(&tls.Config{RootCAs: ours.Pool, Certificates: ours.Shown(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
		if err := list(t, addr, old); status.Code(err) != codes.Unavailable {
			t.Errorf("TLS 1.1, mutual %v: %v", mutual, err)
		}
		p.end()
	}
}

// list asks for alerts at an address, over a connection of its own.
func list(t *testing.T, addr string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = alertsv1.NewAlertsServiceClient(conn).ListAlerts(t.Context(), &alertsv1.ListAlertsRequest{UserId: "ann"})
	return err
}
