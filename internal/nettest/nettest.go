// SPDX-License-Identifier: Apache-2.0

// Package nettest has an address for a server that a test starts. It is for tests alone.
package nettest

import (
	"net"
	"testing"
)

// FreeAddr is an address of the loopback that nothing listens at. Another process may take it in between.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
