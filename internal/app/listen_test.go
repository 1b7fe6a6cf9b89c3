// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

// The error of a port says which flag is to be changed, and to what.
func TestListenHint(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, taken := net.Listen("tcp", ln.Addr().String())
	_, elsewhere := net.Listen("tcp", "192.0.2.1:8080")
	unknown := errors.New("unknown")
	for _, c := range []struct {
		err  error
		want string
	}{
		{taken, "something else has port 8080 (ss -ltnp 'sport = :8080' says what), maybe a cat. End it, or set -listen to another port"},
		{elsewhere, "no interface of this host has that address (ip address lists them). Set -listen to one that it has, or leave the host out for all: :8080"},
		{fmt.Errorf("listen: %w", syscall.EACCES), "or set -listen to a port from 1024 on"},
		{unknown, "unknown"},
	} {
		if err := ListenHint(c.err, "-listen", "192.0.2.1:8080", "maybe a cat"); !errors.Is(err, c.err) || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if err := ListenHint(nil, "-listen", ":1", ""); err != nil {
		t.Error(err)
	}
}
