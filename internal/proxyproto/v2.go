// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// A binary header (section 2.2) is a signature, a byte of version and command, a byte of
// family and protocol, and the length of what follows: the addresses, and then TLVs.
const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	fixed     = len(signature) + 4

	commandLocal = 0x20
	commandProxy = 0x21

	unspecified  = 0x00
	tcp4         = 0x11
	udp4         = 0x12
	tcp6         = 0x21
	udp6         = 0x22
	unixStream   = 0x31
	unixDatagram = 0x32
)

// parseV2 reads a binary header, b being the beginning of one.
func parseV2(b []byte) (Header, int, error) {
	if len(b) <= len(signature) {
		return Header{}, 0, nil
	}
	command := b[len(signature)]
	if command != commandLocal && command != commandProxy {
		return Header{}, 0, errVersion
	}
	if len(b) < fixed-2 {
		return Header{}, 0, nil
	}
	family := b[len(signature)+1]
	if command == commandLocal {
		family = unspecified // It must be ignored.
	}
	addresses, known := addressesSize(family)
	if !known {
		return Header{}, 0, errFamily
	}
	if len(b) < fixed {
		return Header{}, 0, nil
	}
	size := fixed + int(binary.BigEndian.Uint16(b[fixed-2:]))
	switch {
	case size > HeaderMax:
		return Header{}, 0, errLong
	case size < fixed+addresses:
		return Header{}, 0, errAddresses
	case len(b) < size:
		return Header{}, 0, nil
	case family == unspecified:
		// Nobody says what the rest is made of, and nothing is taken from it.
		return Header{Local: true}, size, nil
	}
	if err := checkTLVs(b[:size], fixed+addresses); err != nil {
		return Header{}, 0, err
	}
	block := b[fixed : fixed+addresses]
	var source netip.Addr
	switch family {
	case tcp4:
		source, _ = netip.AddrFromSlice(block[:4])
	case tcp6:
		source, _ = netip.AddrFromSlice(block[:16])
	default:
		// What a receiver has no use for it takes as unspecified. No TCP conn comes
		// from an UDP address, and a path is no client that could be told from others.
		return Header{Local: true}, size, nil
	}
	port := binary.BigEndian.Uint16(block[addresses-4:])
	return Header{Source: netip.AddrPortFrom(source.Unmap(), port)}, size, nil
}

// addressesSize is how many bytes of addresses and ports a family and protocol have.
// The combinations that the text does not list must not be sent.
func addressesSize(family byte) (size int, known bool) {
	switch family {
	case unspecified:
		return 0, true
	case tcp4, udp4:
		return 2*4 + 2*2, true
	case tcp6, udp6:
		return 2*16 + 2*2, true
	case unixStream, unixDatagram:
		return 2 * 108, true
	}
	return 0, false
}

const (
	typeChecksum = 0x03
	checksumSize = 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noChecksum [checksumSize]byte
)

// checkTLVs checks that the TLVs of a whole header, which begin at the offset given,
// fill it to its end, and its checksum if it has one (section 2.2.3). Nothing else of
// them is looked at. Two checksums could not both be right: each covers the other.
func checkTLVs(header []byte, at int) error {
	const head = 3 // A type and a length.
	checksum := 0
	for at < len(header) {
		if len(header)-at < head {
			return errTLV
		}
		kind, size := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += head
		if len(header)-at < size {
			return errTLV
		}
		if kind == typeChecksum {
			if size != checksumSize || checksum != 0 {
				return errChecksum
			}
			checksum = at
		}
		at += size
	}
	if checksum == 0 {
		return nil
	}
	// The sum is taken as if its own field were zero.
	sum := crc32.Update(0, castagnoli, header[:checksum])
	sum = crc32.Update(sum, castagnoli, noChecksum[:])
	sum = crc32.Update(sum, castagnoli, header[checksum+checksumSize:])
	if sum != binary.BigEndian.Uint32(header[checksum:]) {
		return errChecksum
	}
	return nil
}
