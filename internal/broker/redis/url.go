// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// place is a URL taken apart. What is in it has been decoded, but for the query.
type place struct {
	scheme         string
	user, password string
	hosts          string // By commas; "" for a socket.
	path           string
	query          url.Values
}

// errURL stands for every error that has no better words, because those of a parser may quote
// the part of the URL that holds the password. No error of a URL quotes more of it than one
// character.
var errURL = errors.New("redis URL is not valid, want redis://[user:password@]host[:port][/db], " +
	"rediss:// for TLS, unix://[user:password@]/path/to/socket[?db=N], " +
	"redis-sentinel://[user:password@]host:port[,host:port...]/master[/db] or " +
	"redis-cluster://[user:password@]host:port[,host:port...]; " +
	"write special characters in the password as %XX (@ is %40, / is %2F)")

// What is wrong with URLs that a parser takes, for something else than what was meant.
var (
	errCutOff = errors.New("redis URL is not valid: there is an @ behind the host. If it ends the user and the password, " +
		"write a / in these as %2F and a ? as %3F; else write the @ as %40")
	errManyAts = errors.New("redis URL is not valid: there is more than one @. In the user or the password write it as %40; " +
		"with several hosts, user and password stand once, before the first")
	errNoPassword = errors.New("redis URL is not valid: there is a user without a password. " +
		"Want user:password@host, or :password@host for a password alone; for a user with nopass write any password")
	errHost = errors.New("redis URL is not valid: want a host as host, host:port, or [address]:port for IPv6, with a port from 1 to 65535")
	errDB   = errors.New("redis URL is not valid: want one number of 0 or more as the database, behind the host or, for unix://, as ?db=N")
)

// cutURL takes a URL apart. It takes only what all parsers read alike: what is special in a URL
// and stands in a password as it is would make one end the password there, and another not.
func cutURL(raw string) (p place, err error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return p, errURL
	}
	if p.scheme = strings.ToLower(scheme); !isScheme(p.scheme) {
		return p, errURL
	}
	if err := checkChars(rest); err != nil {
		return p, err
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, path, slash := strings.Cut(rest, "/")
	if strings.Contains(path, "@") || strings.Contains(query, "@") {
		return p, errCutOff
	}
	if slash {
		path = "/" + path
	}
	if userinfo, behind, has := strings.Cut(hosts, "@"); has {
		hosts = behind
		if err := p.setUser(userinfo); err != nil {
			return p, err
		}
	}
	if strings.Contains(hosts, "@") {
		return p, errManyAts
	}
	p.hosts = strings.ReplaceAll(hosts, "%25", "%") // Of zones, see RFC 6874.
	if p.path, err = url.PathUnescape(path); err != nil {
		return p, errURL
	}
	p.query, err = cutQuery(query)
	return p, err
}

// setUser takes user:password.
func (p *place) setUser(userinfo string) (err error) {
	if at := strings.IndexAny(userinfo, "[]"); at >= 0 {
		return errChar(rune(userinfo[at]))
	}
	user, password, _ := strings.Cut(userinfo, ":")
	if password == "" {
		return errNoPassword
	}
	if p.user, err = url.PathUnescape(user); err != nil {
		return errURL
	}
	if p.password, err = url.PathUnescape(password); err != nil {
		return errURL
	}
	return nil
}

// checkChars looks for what must not stand in a URL as it is (RFC 3986, 2.2), at least not in one
// of ours.
func checkChars(s string) error {
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			return fmt.Errorf("redis URL is not valid: there is a byte that is not UTF-8. In the user or the password write it as %%%02X", s[i])
		case r <= ' ' || r >= 0x7f || strings.ContainsRune("#\"<>\\^`{|}", r):
			return errChar(r)
		case r == '%' && !isEscape(s[i:]):
			return errors.New("redis URL is not valid: there is a % that does not begin an escape of two hexadecimal digits. Write it as %25")
		}
	}
	return nil
}

func isEscape(s string) bool {
	const hex = "0123456789abcdefABCDEF"
	return len(s) > 2 && strings.IndexByte(hex, s[1]) >= 0 && strings.IndexByte(hex, s[2]) >= 0
}

// errChar says how to write a character.
func errChar(r rune) error {
	what := fmt.Sprintf("a %c", r)
	switch {
	case r == ' ':
		what = "a blank"
	case r < ' ' || r == 0x7f:
		what = "a control character, such as a line end,"
	case r >= 0x80:
		what = "a letter or sign outside of ASCII"
	case r == '"':
		return errors.New(`redis URL is not valid: there is a " in it. Write it as %22 in the user or the password, and leave quotes around the URL out`)
	}
	return fmt.Errorf("redis URL is not valid: there is %s as it is. In the user or the password write it as %s", what, escaped(r))
}

// escaped is a character as it stands in a URL.
func escaped(r rune) string {
	var b strings.Builder
	for _, c := range []byte(string(r)) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// cutQuery reads options, each of which may be there once.
func cutQuery(query string) (url.Values, error) {
	if at := strings.IndexAny(query, "+;[]"); at >= 0 {
		if query[at] == '+' {
			return nil, errors.New("redis URL is not valid: there is a + in an option, where it means a blank. Write it as %2B, or a blank as %20")
		}
		return nil, errChar(rune(query[at]))
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return nil, errURL
	}
	pieces := 0
	if query != "" {
		pieces = 1 + strings.Count(query, "&")
	}
	if len(options) != pieces {
		return nil, errors.New("redis URL is not valid: an option is there more than once, or empty. If a password is cut in two write & as %26")
	}
	return options, nil
}

// isHost reports whether s is a name or an address, with no brackets.
func isHost(s string) bool {
	if strings.Contains(s, ":") {
		_, err := netip.ParseAddr(s)
		return err == nil
	}
	return s != "" && strings.Trim(s, hostChars) == ""
}

const hostChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"
