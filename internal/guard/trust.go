// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Trusted is the networks of the proxies whose word is taken for who a client is. The
// zero value trusts nobody. Not changed after [ParseTrusted], so it is safe for
// concurrent use.
type Trusted struct{ networks []netip.Prefix }

// ParseTrusted parses networks and addresses, separated by commas, such as
// "10.0.0.0/8,::1". The error names all that are wrong.
func ParseTrusted(list string) (Trusted, error) {
	var t Trusted
	var problems []error
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		network, err := parseNetwork(item)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		t.networks = append(t.networks, network)
	}
	if len(problems) > 0 {
		return Trusted{}, errors.Join(problems...)
	}
	return t, nil
}

func parseNetwork(item string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(item)
	if addr, bad := netip.ParseAddr(item); bad == nil && addr.Zone() == "" {
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no network or address, want one such as 10.0.0.0/8 or 2001:db8::1", item)
	case network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network in IPv6, write it as IPv4", item)
	case network.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("%q is everybody, and any client could say that it is another: name the networks of the proxies", item)
	case network != network.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its length, want %v", item, network.Masked())
	}
	return network, nil
}

// Any reports whether any proxy is trusted.
func (t Trusted) Any() bool { return len(t.networks) > 0 }

// Has reports whether an address belongs to a trusted proxy. An IPv4-mapped address is
// looked at as IPv4.
func (t Trusted) Has(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, network := range t.networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// hopsMax bounds how many elements of X-Forwarded-For are looked at. A request passes
// some three proxies; what is longer was made up by a client.
const hopsMax = 16

// ClientAddr says who a connection is from. peer is the socket's far end and forwarded
// the values of all X-Forwarded-For fields of its request, in their order.
//
// Each proxy appends the address that it was called from, and all that a client wrote
// itself stands before that. So the list is read from its end, for as long as trusted
// proxies wrote it: the first address that is none of theirs is the client. If there is
// no such address, or what comes next is no address, the client is the last proxy that
// was found. A peer that is not trusted is the client, whatever it says.
//
// See RFC 7239, 7.1 (the list may be split over several fields) and 8.1 (only what known
// proxies wrote can be believed). Its own Forwarded field is not looked at: a proxy that
// knows only the older one would pass a client's on as it came.
func (t Trusted) ClientAddr(peer netip.Addr, forwarded []string) netip.Addr {
	client := peer.Unmap()
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest, more := forwarded[i], true; more; {
			if hops == hopsMax || !t.Has(client) {
				return client
			}
			hops++
			var element string
			comma := strings.LastIndexByte(rest, ',')
			element, more = rest[comma+1:], comma >= 0
			rest = rest[:max(0, comma)]
			if element = strings.Trim(element, " \t"); element == "" {
				continue // A list may have empty elements (RFC 9110, 5.6.1.2).
			}
			addr, ok := parseElement(element)
			if !ok {
				return client
			}
			client = addr
		}
	}
	return client
}

// parseElement reads an address as proxies write it: bare, with a port, in brackets, or
// in brackets with a port. Not "unknown", and no name.
func parseElement(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		both, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = both.Addr()
	} else if bracketed := s[0] == '['; bracketed != (s[len(s)-1] == ']') || bracketed && !addr.Is6() {
		return netip.Addr{}, false
	}
	return addr.Unmap(), addr.Zone() == ""
}
