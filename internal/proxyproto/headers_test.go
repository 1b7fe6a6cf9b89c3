// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// A second reading of the text, from the sender's side.

const sign = "\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A"

// binaryHeader has the length of its payload, whatever that is made of.
func binaryHeader(command, family byte, payload ...string) string {
	rest := strings.Join(payload, "")
	head := append([]byte(sign), command, family)
	return string(binary.BigEndian.AppendUint16(head, uint16(len(rest)))) + rest
}

// ends are the two ends of a connection, as a binary header has them.
func ends(source, destination string) string {
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	b := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	return string(binary.BigEndian.AppendUint16(b, to.Port()))
}

func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// summed fills in the checksum TLV of a header, which is there with the value zero.
func summed(header string) string {
	const empty = "\x03\x00\x04\x00\x00\x00\x00"
	before, after, found := strings.Cut(header, empty)
	if !found {
		panic("no empty checksum in the header")
	}
	sum := crc32c(header)
	return before + "\x03\x00\x04" + string(binary.BigEndian.AppendUint32(nil, sum)) + after
}

// crc32c is bit by bit what RFC 4960, appendix B, does with tables.
func crc32c(s string) uint32 {
	sum := ^uint32(0)
	for i := range len(s) {
		sum ^= uint32(s[i])
		for range 8 {
			sum = sum>>1 ^ sum&1*0x82F63B78
		}
	}
	return ^sum
}

var (
	four    = ends("192.0.2.1:56324", "198.51.100.7:443")
	six     = ends("[2001:db8::1]:56324", "[2001:db8::2]:443")
	mapped  = ends("[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.7]:443")
	paths   = strings.Repeat("/run/client\x00", 9) + strings.Repeat("/run/server\x00", 9)
	noop    = tlv(0x04, "abc")
	unset   = tlv(0x03, "\x00\x00\x00\x00")
	ssl     = tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3"))
	longest = strings.Repeat("x", HeaderMax-16)
)

// good headers, and who they name; nobody if empty.
var good = []struct{ name, header, source string }{
	{"2.1 the example of the text", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324"},
	{"2.1 the longest TCP4 line", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
	{"2.1 the longest TCP6 line", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("FFFF:", 7) + "FFFF 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"2.1 the shortest TCP4 line", "PROXY TCP4 0.0.0.0 1.1.1.1 0 0\r\n", "0.0.0.0:0"},
	{"2.1 a double colon", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "[2001:db8::1]:1"},
	{"2.1 as inet_ntop writes a mapped address", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n", "192.0.2.1:1"},
	{"2.1 UNKNOWN, short", "PROXY UNKNOWN\r\n", ""},
	{"2.1 UNKNOWN, worst case", "PROXY UNKNOWN " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n", ""},
	{"2.1 UNKNOWN and anything", "PROXY UNKNOWN \x00\xff  TCP4 %\r\n", ""},
	{"2.2 TCP over IPv4", binaryHeader(0x21, 0x11, four), "192.0.2.1:56324"},
	{"2.2 TCP over IPv6", binaryHeader(0x21, 0x21, six), "[2001:db8::1]:56324"},
	{"2.2 TCP over IPv6, mapped", binaryHeader(0x21, 0x21, mapped), "192.0.2.1:56324"},
	{"2.2 UDP over IPv4", binaryHeader(0x21, 0x12, four), ""},
	{"2.2 UDP over IPv6", binaryHeader(0x21, 0x22, six, noop), ""},
	{"2.2 UNIX stream", binaryHeader(0x21, 0x31, paths, noop), ""},
	{"2.2 UNIX datagram", binaryHeader(0x21, 0x32, paths), ""},
	{"2.2 UNSPEC", binaryHeader(0x21, 0x00), ""},
	{"2.2 UNSPEC and anything", binaryHeader(0x21, 0x00, "\x03\x00"), ""},
	{"2.2 LOCAL", binaryHeader(0x20, 0x00), ""},
	{"2.2 LOCAL, its family and block ignored", binaryHeader(0x20, 0xff, "anything"), ""},
	{"2.2 LOCAL with addresses", binaryHeader(0x20, 0x11, four), ""},
	{"2.2 the longest", binaryHeader(0x20, 0x00, longest), ""},
	{"2.2 TLVs", binaryHeader(0x21, 0x11, four, noop, ssl, tlv(0xea, ""), tlv(0x02, "example.org")), "192.0.2.1:56324"},
	{"2.2.3 a checksum", summed(binaryHeader(0x21, 0x11, four, unset)), "192.0.2.1:56324"},
	{"2.2.3 a checksum in between", summed(binaryHeader(0x21, 0x21, six, ssl, unset, noop)), "[2001:db8::1]:56324"},
	{"2.2.3 no checksum where nothing is taken", binaryHeader(0x20, 0x00, unset), ""},
}

// bad headers. The error comes at the byte behind the last one of begin, whatever
// follows; end makes the header look whole.
var bad = []struct {
	name, begin, end string
	err              error
}{
	{"HTTP", "G", "ET / HTTP/1.1\r\n\r\n", errNoHeader},
	{"HTTP/2", "PRI", " * HTTP/2.0\r\n\r\n", errNoHeader},
	{"TLS", "\x16", "\x03\x01\x02\x00\x01\x00", errNoHeader},
	{"version 1 in lower case", "p", "roxy UNKNOWN\r\n", errNoHeader},
	{"a blank first", " ", "PROXY UNKNOWN\r\n", errNoHeader},
	{"no space", "PROXY\r", "\n", errNoHeader},
	{"two spaces before the protocol", "PROXY  ", "TCP4 1.1.1.1 1.1.1.1 1 1\r\n", errLine},
	{"UDP4", "PROXY U" + "D", "P4 1.1.1.1 1.1.1.1 1 1\r\n", errLine},
	{"tcp4", "PROXY t", "cp4 1.1.1.1 1.1.1.1 1 1\r\n", errLine},
	{"TCP5", "PROXY TCP5", " 1.1.1.1 1.1.1.1 1 1\r\n", errLine},
	{"UNKNOWN and more", "PROXY UNKNOWN2", "\r\n", errLine},
	{"nothing behind PROXY", "PROXY \r", "\n", errLine},
	{"TCP4 alone", "PROXY TCP4\r", "\n", errLine},
	{"two spaces before an address", "PROXY TCP4  ", "1.1.1.1 1.1.1.1 1 1\r\n", errAddress},
	{"two spaces between addresses", "PROXY TCP4 1.1.1.1  ", "1.1.1.1 1 1\r\n", errAddress},
	{"two spaces before a port", "PROXY TCP4 1.1.1.1 1.1.1.1  ", "1 1\r\n", errPort},
	{"a tab", "PROXY TCP4 1.1.1.1\t1.1.1.1 ", "1 1\r\n", errAddress},
	{"a blank at the end", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 ", "\r\n", errLine},
	{"a fifth field", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 ", "1\r\n", errLine},
	{"no second port", "PROXY TCP4 1.1.1.1 1.1.1.1 1\r", "\n", errLine},
	{"no ports", "PROXY TCP4 1.1.1.1 1.1.1.1\r", "\n", errLine},
	{"no second address", "PROXY TCP4 1.1.1.1\r", "\n", errLine},
	{"an octet above 255", "PROXY TCP4 1.1.1.256 ", "1.1.1.1 1 1\r\n", errAddress},
	{"a leading zero in an octet", "PROXY TCP4 01.1.1.1 ", "1.1.1.1 1 1\r\n", errAddress},
	{"three octets", "PROXY TCP4 1.1.1 ", "1.1.1.1 1 1\r\n", errAddress},
	{"a host name", "PROXY TCP4 localhost ", "1.1.1.1 1 1\r\n", errAddress},
	{"the destination is checked too", "PROXY TCP4 1.1.1.1 1.1.1.1.1 ", "1 1\r\n", errAddress},
	{"IPv6 as TCP4", "PROXY TCP4 ::1 ", "::1 1 1\r\n", errAddress},
	{"IPv4 as TCP6", "PROXY TCP6 1.1.1.1 ", "1.1.1.1 1 1\r\n", errAddress},
	{"IPv4 as the destination of TCP6", "PROXY TCP6 ::1 1.1.1.1 ", "1 1\r\n", errAddress},
	{"a zone", "PROXY TCP6 fe80::1%eth0 ", "::1 1 1\r\n", errAddress},
	{"an empty zone", "PROXY TCP6 fe80::1% ", "::1 1 1\r\n", errAddress},
	{"five digits in a group", "PROXY TCP6 2001:00db8::1 ", "::1 1 1\r\n", errAddress},
	{"two double colons", "PROXY TCP6 2001::db8::1 ", "::1 1 1\r\n", errAddress},
	{"a port above 65535", "PROXY TCP4 1.1.1.1 1.1.1.1 65536 ", "1\r\n", errPort},
	{"a second port above 65535", "PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r", "\n", errPort},
	{"a leading zero in a port", "PROXY TCP4 1.1.1.1 1.1.1.1 080 ", "1\r\n", errPort},
	{"a sign", "PROXY TCP4 1.1.1.1 1.1.1.1 +1 ", "1\r\n", errPort},
	{"a hexadecimal port", "PROXY TCP4 1.1.1.1 1.1.1.1 1f ", "1\r\n", errPort},
	{"six digits", "PROXY TCP4 1.1.1.1 1.1.1.1 000001 ", "1\r\n", errPort},
	{"LF alone", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "\r\n", errLine},
	{"CR alone", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rx", "\r\n", errLine},
	{"two CR", "PROXY UNKNOWN\r\r", "\n", errLine},
	{"UNKNOWN with LF alone", "PROXY UNKNOWN a\n", "\r\n", errLine},
	{"a line of 108", "PROXY UNKNOWN " + strings.Repeat("x", 92), "x\r\n", errLong},

	{"a signature with a bit wrong", sign[:11] + "\x0B", "\x21\x11\x00\x0c" + four, errNoHeader},
	{"the first lines of a head", "\r\n\r\n\r", "\n", errNoHeader},
	{"version 1 in binary", sign + "\x11", "\x11\x00\x0c" + four, errVersion},
	{"version 3", sign + "\x31", "\x11\x00\x0c" + four, errVersion},
	{"command 2", sign + "\x22", "\x11\x00\x0c" + four, errVersion},
	{"command 15", sign + "\x2f", "\x11\x00\x0c" + four, errVersion},
	{"family 4", sign + "\x21\x41", "\x00\x0c" + four, errFamily},
	{"protocol 3", sign + "\x21\x13", "\x00\x0c" + four, errFamily},
	{"IPv4 without a protocol", sign + "\x21\x10", "\x00\x0c" + four, errFamily},
	{"TCP without a family", sign + "\x21\x01", "\x00\x0c" + four, errFamily},
	{"longer than the limit", sign + "\x21\x11\x03\xf1", longest + "x", errLong},
	{"LOCAL, longer than the limit", sign + "\x20\x00\xff\xff", longest, errLong},
	{"an IPv4 block of 11", sign + "\x21\x11\x00\x0b", four[:11], errAddresses},
	{"an IPv6 block of 35", sign + "\x21\x21\x00\x23", six[:35], errAddresses},
	{"an IPv4 block for IPv6", sign + "\x21\x21\x00\x0c", four, errAddresses},
	{"an UDP block of 0", sign + "\x21\x12\x00\x00", "", errAddresses},
	{"a UNIX block of 215", sign + "\x21\x31\x00\xd7", paths, errAddresses},
	{"a byte behind the addresses", binaryHeader(0x21, 0x11, four, "\x04"), "", errTLV},
	{"two bytes behind the TLVs", binaryHeader(0x21, 0x11, four, noop, "\x04\x00"), "", errTLV},
	{"a TLV that goes on behind the header", binaryHeader(0x21, 0x11, four, "\x04\x00\x04abc"), "", errTLV},
	{"such a TLV with UDP", binaryHeader(0x21, 0x12, four, "\x04\x00\x04abc"), "", errTLV},
	{"a wrong checksum", binaryHeader(0x21, 0x11, four, unset), "", errChecksum},
	{"a checksum of 3 bytes", binaryHeader(0x21, 0x11, four, tlv(0x03, "abc")), "", errChecksum},
	{"a checksum of 5 bytes", binaryHeader(0x21, 0x11, four, tlv(0x03, "abcde")), "", errChecksum},
	{"two checksums", summed(binaryHeader(0x21, 0x11, four, tlv(0x03, "abcd"), unset)), "", errChecksum},
}
