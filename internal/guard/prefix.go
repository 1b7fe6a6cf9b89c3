// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/binary"
	"net/netip"
)

// Prefix is who is counted as one client: an IPv4 address, or the first 64 bits of an
// IPv6 address, as anybody who has one of these has all that begin with the same. It
// fits into a conn that has to remember it for [Guard.Leave]. The zero Prefix is nobody.
type Prefix uint64

// PrefixOf returns the prefix of an address, nobody if the address is not valid. An
// IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is that IPv4 address.
func PrefixOf(addr netip.Addr) Prefix {
	// The complements leave 0 to nobody: it would be a multicast prefix, which sends
	// nothing. IPv4 takes such prefixes too, ff00:0:x:x::/64, so that it meets no other.
	const multicast = 0xff << 56
	switch addr = addr.Unmap(); {
	case addr.Is4():
		b := addr.As4()
		return ^Prefix(multicast | uint64(binary.BigEndian.Uint32(b[:])))
	case addr.Is6():
		b := addr.As16()
		return ^Prefix(binary.BigEndian.Uint64(b[:]))
	}
	return 0
}
