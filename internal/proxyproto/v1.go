// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// lineMax is the longest line of version 1, its CR LF included (section 2.1).
const lineMax = 107

// parseV1 reads a line of text (section 2.1), b being the beginning of one.
func parseV1(b []byte) (hdr Header, size int, err error) {
	line := b[:min(len(b), lineMax-len("\n"))]
	complete := false
	switch end := bytes.IndexAny(line, "\r\n"); {
	case end >= 0:
		if line[end] == '\n' || end+1 < len(b) && b[end+1] != '\n' {
			return Header{}, 0, errLine // A single CR or LF must not end the line.
		}
		line, size, complete = line[:end], end+len("\r\n"), true
	case len(line) == lineMax-len("\n"):
		return Header{}, 0, errLong
	}
	hdr, err = parseLine(line, complete)
	if err != nil || !complete || size > len(b) {
		return Header{}, 0, err
	}
	return hdr, size, nil
}

// parseLine reads a line, or the beginning of one, without its CR LF.
func parseLine(line []byte, complete bool) (Header, error) {
	rest := line[min(len(line), len("PROXY ")):]
	switch {
	case bytes.HasPrefix(rest, []byte("TCP4 ")):
		return parseTCP(rest[len("TCP4 "):], complete, netip.Addr.Is4)
	case bytes.HasPrefix(rest, []byte("TCP6 ")):
		return parseTCP(rest[len("TCP6 "):], complete, netip.Addr.Is6)
	case len(rest) >= len("UNKNOWN") && begins(rest, "UNKNOWN "):
		return Header{Local: true}, nil // What follows must be ignored.
	case !complete && (begins(rest, "TCP4 ") || begins(rest, "TCP6 ") || begins(rest, "UNKNOWN ")):
		return Header{}, nil
	}
	return Header{}, errLine
}

// parseTCP reads two addresses and two ports. The last field that is there counts only
// if the line is complete.
func parseTCP(fields []byte, complete bool, family func(netip.Addr) bool) (hdr Header, err error) {
	var source netip.Addr
	for n := 0; ; n++ {
		field, rest, more := bytes.Cut(fields, []byte{' '})
		if more && n == 3 {
			return Header{}, errLine
		}
		if !more && !complete {
			return Header{}, nil
		}
		if n < 2 {
			addr, ok := parseAddr(field)
			if !ok || !family(addr) {
				return Header{}, errAddress
			}
			if n == 0 {
				source = addr.Unmap()
			}
		} else {
			port, ok := parsePort(field)
			if !ok {
				return Header{}, errPort
			}
			if n == 2 {
				hdr.Source = netip.AddrPortFrom(source, port)
			}
		}
		if !more {
			if n < 3 {
				return Header{}, errLine
			}
			return hdr, nil
		}
		fields = rest
	}
}

// parseAddr reads an address without a zone. Beyond the letter of section 2.1 an
// IPv4-mapped one may end in dotted decimals, as inet_ntop writes it for HAProxy.
func parseAddr(field []byte) (netip.Addr, bool) {
	if len(field) == 0 || bytes.IndexByte(field, '%') >= 0 {
		return netip.Addr{}, false
	}
	// Not string(field), which would be allocated only because the error, that nobody
	// sees, holds it. The address holds nothing of it, as it has no zone.
	addr, err := netip.ParseAddr(unsafe.String(&field[0], len(field)))
	return addr, err == nil
}

// parsePort reads a decimal number without leading zeros.
func parsePort(field []byte) (uint16, bool) {
	if len(field) == 0 || len(field) > len("65535") || field[0] == '0' && len(field) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range field {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n <= 65535
}
