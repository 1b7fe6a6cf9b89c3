// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Origins says from which web pages a WebSocket may be opened (RFC 6455, 10.2). It does
// not change after [ParseOrigins].
//
// This protects people with browsers: a page of somebody else must not use what their
// browser may reach, and must not serve our feed as its own. It protects from nothing
// else, since any other client sends the Origin that it likes, or none.
type Origins struct {
	any   bool
	self  bool            // Those of the request's own host.
	known map[string]bool // Canonical; the first label, or the host, may be a star. "null" is itself.
}

// originMax bounds an origin: a scheme, a host name of 253 bytes, a port, and some
// room. A longer one is not allowed.
const originMax = 300

// ParseOrigins parses a list of origins, separated by commas:
//
//   - https://app.example.com, http://localhost:3000: this one. Scheme, host and port
//     have to be the same; the scheme's own port may be left out.
//   - https://*.example.com: every host with exactly one label in place of the star, as
//     in certificates (RFC 9525, 6.3): a.example.com, not a.b.example.com nor
//     example.com. At least two labels follow.
//   - capacitor://localhost, tauri://localhost, app://., file://: pages of applications, whose
//     host may be anything or missing; moz-extension://*: any host of such a scheme, as
//     Firefox gives an extension another one on each computer.
//   - self: the origin whose host and port are those of the request.
//   - null: what browsers send from a file, a sandboxed frame or a data: URL. Anybody can
//     make a page with this origin.
//   - *: all, null included.
//
// A lone slash at the end does not matter. An empty list is self. The error has everything
// that is wrong, a line each.
func ParseOrigins(list string) (*Origins, error) {
	o := &Origins{known: map[string]bool{}}
	var problems []error
	for entry := range strings.SplitSeq(list, ",") {
		switch entry = strings.TrimSpace(entry); entry {
		case "":
		case "*":
			o.any = true
		case "self":
			o.self = true
		case "null":
			o.known[entry] = true
		default:
			pattern, err := parseOrigin(entry)
			if err != nil {
				problems = append(problems, fmt.Errorf("origin %q %w", entry, err))
			}
			o.known[pattern] = true
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	o.self = o.self || len(o.known) == 0 && !o.any
	return o, nil
}

// Any reports whether all origins are allowed.
func (o *Origins) Any() bool { return o.any }

// parseOrigin returns the canonical form of an entry. The error goes on from its name.
func parseOrigin(entry string) (string, error) {
	scheme, rest, ok := strings.Cut(entry, "://")
	if !ok {
		return "", fmt.Errorf("has no scheme, want for example https://%s", strings.TrimPrefix(entry, "//"))
	}
	if s := strings.ToLower(scheme); s == "ws" || s == "wss" {
		return "", fmt.Errorf("is not the address of a page, want http%s://%s", s[len("ws"):], rest)
	}
	rest = strings.TrimSuffix(rest, "/")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return "", fmt.Errorf("has a path, want %s://%s", scheme, rest[:i])
	}
	if rest == "*" && !isWeb([]byte(strings.ToLower(scheme))) {
		canonical, ok := appendOrigin(nil, []byte(scheme), nil)
		if !ok {
			return "", errors.New("has a scheme that is not valid, want for example moz-extension://*")
		}
		return string(canonical) + "*", nil
	}
	if strings.IndexFunc(rest, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return "", errors.New("has a host that is not ASCII, want it as browsers send it (xn--…)")
	}
	star := ""
	if after, ok := strings.CutPrefix(rest, "*."); ok {
		star, rest = "*.", after
		if host, _, _ := strings.Cut(rest, ":"); !strings.Contains(strings.TrimSuffix(host, "."), ".") {
			return "", errors.New("has a star over a whole domain, want for example https://*.example.com")
		}
	}
	canonical, ok := appendOrigin(nil, []byte(scheme), []byte(rest))
	if !ok {
		return "", errors.New("is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com")
	}
	prefix := len(scheme) + len("://")
	return string(canonical[:prefix]) + star + string(canonical[prefix:]), nil
}

// Allow reports whether a request may open a WebSocket. origin is the value of its
// Origin field, empty if it has none; host is its Host. A request with several Origin
// fields is not for this function: refuse it.
//
// No Origin is allowed: browsers send one with every WebSocket handshake (RFC 6455,
// 4.1), so that this is a program, which could send whatever we ask for.
//
// The scheme of the request is not known, because a proxy may have ended its TLS. So a
// host without a port means the port that belongs to the origin's scheme. Allow
// allocates nothing.
func (o *Origins) Allow(origin, host []byte) bool {
	if len(origin) == 0 || o.any {
		return true
	}
	if string(origin) == "null" {
		return o.known["null"]
	}
	scheme, rest, ok := split(origin)
	if !ok {
		return false
	}
	var space [originMax]byte
	canonical, ok := appendOrigin(space[:0], scheme, rest)
	if !ok {
		return false
	}
	if o.self && sameHost(canonical, scheme, host) || o.known[string(canonical)] {
		return true
	}
	begin := len(scheme) + len("://")
	if !isWeb(canonical[:len(scheme)]) {
		return o.known[string(append(canonical[:begin], '*'))]
	}
	dot := bytes.IndexByte(canonical[begin:], '.')
	if dot < 0 {
		return false
	}
	// The first label becomes a star. It has at least one byte, so that fits.
	canonical[begin] = '*'
	canonical = append(canonical[:begin+1], canonical[begin+dot:]...)
	return o.known[string(canonical)]
}

// Self reports whether pages of the request's own host may connect.
func (o *Origins) Self() bool { return o.self || o.any }

// split returns the scheme of an origin, and its host and port. Some programs write a slash
// behind it.
func split(origin []byte) (scheme, hostPort []byte, ok bool) {
	scheme, hostPort, ok = bytes.Cut(origin, []byte("://"))
	return scheme, bytes.TrimSuffix(hostPort, []byte{'/'}), ok
}

// sameHost reports whether the canonical origin is one of a page at host.
func sameHost(canonical, scheme, host []byte) bool {
	var space [originMax]byte
	want, ok := appendOrigin(space[:0], scheme, host)
	return ok && isWeb(want[:len(scheme)]) && bytes.Equal(canonical, want)
}

// isWeb reports whether a scheme, in small letters, is one of pages that come from a host. The
// hosts of others are names that applications give themselves.
func isWeb(scheme []byte) bool { return ownPort(scheme) != "" }

// ownPort returns the port that belongs to a scheme, with its colon, or nothing. The
// scheme is in small letters.
func ownPort(scheme []byte) string {
	switch string(scheme) {
	case "http":
		return ":80"
	case "https":
		return ":443"
	}
	return ""
}

// appendOrigin appends the canonical form of an origin (RFC 6454, 4 and 6.2): small
// letters, no port if it is the scheme's own, and no dot of the root behind the host. It is
// false if that is longer than originMax or has what no origin has, such as a user, a path, a
// blank or a star.
func appendOrigin(dst, scheme, hostPort []byte) (_ []byte, ok bool) {
	if len(scheme) == 0 || len(scheme)+len("://")+len(hostPort) > originMax {
		return nil, false
	}
	for i, c := range scheme {
		c = lower(c)
		if (c < 'a' || c > 'z') && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return nil, false
		}
		dst = append(dst, c)
	}
	own := ownPort(dst)
	web := isWeb(dst)
	dst = append(dst, "://"...)

	host, port := hostPort, []byte(nil)
	bracket := 0
	if len(hostPort) > 0 && hostPort[0] == '[' { // RFC 3986, 3.2.2: an IPv6 address.
		if bracket = bytes.IndexByte(hostPort, ']'); bracket < 0 {
			return nil, false
		}
	}
	if colon := bytes.IndexByte(hostPort[bracket:], ':'); colon >= 0 {
		host, port = hostPort[:bracket+colon], hostPort[bracket+colon:]
	}
	if bracket > 0 {
		if bracket != len(host)-1 {
			return nil, false
		}
		dst = append(dst, '[')
		for _, c := range host[1:bracket] {
			if c = lower(c); !isDigit(c) && (c < 'a' || c > 'f') && c != ':' && c != '.' {
				return nil, false
			}
			dst = append(dst, c)
		}
		dst = append(dst, ']')
	} else {
		if web {
			host = bytes.TrimSuffix(host, []byte{'.'})
			if len(host) == 0 || host[0] == '.' {
				return nil, false
			}
		}
		for _, c := range host {
			if c = lower(c); !isDigit(c) && (c < 'a' || c > 'z') && c != '-' && c != '.' && c != '_' {
				return nil, false
			}
			dst = append(dst, c)
		}
	}
	if len(port) == 0 {
		return dst, true
	}
	if !validPort(port[1:]) {
		return nil, false
	}
	if string(port) != own {
		dst = append(dst, port...)
	}
	return dst, true
}

// validPort reports whether p is 1 to 65535, written as browsers do.
func validPort(p []byte) bool {
	if len(p) == 0 || len(p) > 5 || p[0] == '0' {
		return false
	}
	n := 0
	for _, c := range p {
		if !isDigit(c) {
			return false
		}
		n = 10*n + int(c-'0')
	}
	return n <= 65535
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
