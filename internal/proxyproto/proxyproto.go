// SPDX-License-Identifier: Apache-2.0

// Package proxyproto reads the header that a proxy puts before a connection to say who
// is at its other end: the PROXY protocol of HAProxy, versions 1 and 2 (proxy-protocol.txt,
// 2020/03/05; sections are those of that text). go-proxyproto would do it, but it reads
// from a net.Conn or a bufio.Reader and waits there, and our loops must not wait.
//
// A reader of a header must know that there is one (section 2): a port where it may be
// missing lets every client say that it is somebody else. So what does not begin with a
// header is an error.
//
//	proxyproto.go  Parse: which version it is
//	v1.go          the line of text
//	v2.go          the binary header, its TLVs and its checksum
package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
)

// HeaderMax is the longest header that is taken, in bytes. Senders are to stay within
// 536, one small segment (section 2); those that add a client certificate's names come
// near. Beyond it is an error as soon as the length is claimed.
const HeaderMax = 1 << 10

// Header is what a header says.
type Header struct {
	// Source is the client's end of the connection. An IPv4-mapped IPv6 address is
	// given as IPv4. Not valid if Local.
	Source netip.AddrPort
	// Local says that the header names nobody: the proxy speaks for itself, in a
	// health check for instance, or for a client that has no TCP address. The
	// socket's own peer is the client then.
	Local bool
}

var (
	errNoHeader  = errors.New("proxyproto: no PROXY header: does the proxy send one (send-proxy, send-proxy-v2), and do clients come through it only?")
	errLong      = errors.New("proxyproto: the PROXY header is longer than the limit")
	errLine      = errors.New("proxyproto: a PROXY line is PROXY, TCP4, TCP6 or UNKNOWN, two addresses and two ports, with one space between, and CR LF")
	errAddress   = errors.New("proxyproto: a PROXY line has an address that is not of its family")
	errPort      = errors.New("proxyproto: a PROXY line has a port that is not a decimal number from 0 to 65535")
	errVersion   = errors.New("proxyproto: a binary PROXY header has a version other than 2 or an unknown command")
	errFamily    = errors.New("proxyproto: a binary PROXY header has an unknown address family or protocol")
	errAddresses = errors.New("proxyproto: a binary PROXY header is too short for its addresses")
	errTLV       = errors.New("proxyproto: a binary PROXY header has a TLV that does not fit")
	errChecksum  = errors.New("proxyproto: a binary PROXY header does not match its checksum")
)

// Parse reads the header that b begins with and returns its size; what follows is the
// client's. Size 0 without an error means that more bytes are needed. An error comes as
// soon as a part that is complete is wrong, and means that the connection must be closed
// (section 2.1). Never are more than [HeaderMax] bytes asked for.
//
// Nothing is kept of b. Safe for concurrent use; allocates nothing but for a malformed
// address.
func Parse(b []byte) (hdr Header, size int, err error) {
	switch {
	case begins(b, signature):
		return parseV2(b)
	case begins(b, "PROXY "):
		return parseV1(b)
	}
	return Header{}, 0, errNoHeader
}

// begins reports whether b begins with s, or may do so when more of it has come.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return bytes.Equal(b[:n], []byte(s[:n]))
}
