// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"tickedge/internal/alertapi"
)

// An address that opens many connections and asks nothing on them leaves room for others.
func TestConnsOfAnAddress(t *testing.T) {
	s := newSite(t, func(c *alertapi.Config) { c.Conns = 8 })
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	for i, c := range []struct {
		from string
		want bool
	}{{"127.0.0.1", true}, {"127.0.0.1", true}, {"127.0.0.1", false}, {"127.0.0.2", true}} {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}).Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		n, err := conn.Read(make([]byte, 4))
		if errors.Is(err, os.ErrDeadlineExceeded) || (n == 4) != c.want {
			t.Errorf("connection %d, of %s: %v, answered: %v, want %v", i, c.from, err, n == 4, c.want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
