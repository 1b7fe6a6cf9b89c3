// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// IsHostPort reports whether s is the host:port of a listener. The host may be empty.
func IsHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// ListenHint adds what an operator can do to the error of a port that could not be listened on.
// flag sets its address, addr. taken says who may have it, where that is known.
func ListenHint(err error, flag, addr, taken string) error {
	_, port, _ := net.SplitHostPort(addr)
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		hint = fmt.Sprintf("something else has port %s (ss -ltnp 'sport = :%s' says what), %s. End it, or set %s to another port", port, port, taken, flag)
	case errors.Is(err, syscall.EACCES):
		hint = fmt.Sprintf("a port below 1024 needs a right of its own (CAP_NET_BIND_SERVICE, see deploy/systemd/tickedge.service), or set %s to a port from 1024 on", flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = fmt.Sprintf("no interface of this host has that address (ip address lists them). Set %s to one that it has, or leave the host out for all: :%s", flag, port)
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}
