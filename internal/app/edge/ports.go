// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
)

// samePort reports whether two listeners can't both be had, as far as that shows in their
// addresses.
func samePort(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	n, err := strconv.ParseUint(portA, 10, 16)
	m, other := strconv.ParseUint(portB, 10, 16)
	if errors.Join(errA, errB, err, other) != nil || n == 0 || n != m {
		return false
	}
	covers := func(host, other string) bool {
		ip, _ := netip.ParseAddr(other)
		return host == other || host == "" || host == "::" || host == "0.0.0.0" && ip.Is4()
	}
	return covers(hostA, hostB) || covers(hostB, hostA)
}
