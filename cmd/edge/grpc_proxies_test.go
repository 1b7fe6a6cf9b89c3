// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/nettest"
)

// Streams come through the HAProxy of our examples, as long as the admin port says that the edge is ready, and the edge knows whose
// they are: those of two addresses that may have one each are taken, and a second one of either is refused.
func TestGRPCBehindHAProxy(t *testing.T) {
	t.Parallel()
	redis, calls, addr := startRedis(t), nettest.FreeAddr(t), nettest.FreeAddr(t)
	e := start(t, "-redis", redis.URL(), "-grpc", calls, "-trust-proxy", "127.0.0.1", "-max-conns-per-ip", "1")
	_, admin, _ := net.SplitHostPort(e.admin)
	proxy(t, changed(t, "haproxy/grpc.cfg", map[string]string{
		`bind :8443 .*`: "bind " + addr + " proto h2", `127\.0\.0\.1:8083 port 8081`: calls + " port " + admin,
		`inter 2s fall 2 slowstart`:         "inter 5ms fall 2 slowstart", // So that it has asked when a stream comes.
		`127\.0\.0\.1:8102 check port 8101`: calls,
	}), "haproxy", "-db", "-f")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// from is a client with an address of its own.
	from := func(ip string) func() error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return func() error {
			stream, err := pricesv1.NewPricesClient(conn).Stream(ctx)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
	}
	first := from("127.0.9.1")
	redistest.Eventually(t, "a stream comes through", func() bool { return first() == nil })
	if err := from("127.0.9.2")(); err != nil {
		t.Errorf("a stream of another address: %v", err)
	}
	if err := first(); err == nil {
		t.Error("an address that may have one has two streams")
	}
}
