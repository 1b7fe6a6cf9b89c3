// SPDX-License-Identifier: Apache-2.0

package auth

import "bytes"

// Why says what speaks against an origin that [Origins.Allow] has refused, and what an operator
// can do about it. It repeats nothing that was sent.
func (o *Origins) Why(origin, host []byte) string {
	if string(origin) == "null" {
		return "the page is a file, in a sandboxed frame or a data: URL: list null in -origin if such pages may connect, which anybody can make"
	}
	scheme, rest, ok := split(origin)
	var page, own [originMax]byte
	canonical, valid := appendOrigin(page[:0], scheme, rest)
	if !ok || !valid {
		return "this is not an origin as browsers send it"
	}
	if !isWeb(canonical[:len(scheme)]) {
		return "this is a page of an application: list it in -origin if it may connect"
	}
	asked, valid := appendOrigin(own[:0], scheme, host)
	switch {
	case !valid:
	case bytes.Equal(canonical, asked):
		return "this is a page of the edge's own host: add self to -origin if such pages may connect"
	case !o.self || !bytes.Equal(withoutPort(canonical), withoutPort(asked)):
	case bytes.Equal(asked, withoutPort(asked)):
		return "the request's Host has lost the port of the page in a proxy: have it pass Host on whole " +
			"(nginx: proxy_set_header Host $http_host), or list the page in -origin"
	default:
		return "the page is on another port of the edge's host: list it in -origin; or if that is the port of a proxy, have it pass Host on whole"
	}
	other := "https" + string(canonical[len(scheme):])
	if len(scheme) == len("https") {
		other = "http" + string(canonical[len(scheme):])
	}
	switch {
	case o.known[other]:
		return "-origin has it with the other scheme: list it with this one too"
	case o.self:
		return "this is a page of another host: list it in -origin; or if it is the edge's own, a proxy in between has to pass Host on"
	}
	return "this page is not in -origin: list it if it may connect"
}

// withoutPort cuts the port off a canonical origin.
func withoutPort(canonical []byte) []byte {
	colon := bytes.LastIndexByte(canonical, ':')
	if end := canonical[colon+1:]; len(end) > 0 && bytes.IndexByte(end, '/') < 0 && bytes.IndexByte(end, ']') < 0 {
		return canonical[:colon]
	}
	return canonical
}
