// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"errors"
	"strings"
)

// CleanPath returns the form of a path in which two that mean the same are equal: no slash
// at its end, and an escape, in capitals, of exactly those bytes that need one (RFC 3986,
// 6.2.2). It is path itself if that is so already. The escapes of path are valid.
func CleanPath(path []byte) []byte {
	if len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	i := 0
	for i < len(path) && (path[i] == '/' || isPlain(path[i])) {
		i++
	}
	if i == len(path) {
		return path
	}
	const digits = "0123456789ABCDEF"
	clean := append(make([]byte, 0, len(path)+8), path[:i]...)
	for ; i < len(path); i++ {
		c := path[i]
		plain := c == '/'
		if c == '%' {
			c = fromHex(path[i+1])<<4 | fromHex(path[i+2])
			i += 2
		}
		if plain || isPlain(c) {
			clean = append(clean, c)
		} else {
			clean = append(clean, '%', digits[c>>4], digits[c&0xf])
		}
	}
	return clean
}

// isPlain reports whether c stands for itself in a part of a path (RFC 3986, 3.3). A comma
// does not: it separates paths in a list.
func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+;=:@", c) >= 0
}

// fromHex is the value of a hexadecimal digit.
func fromHex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// pathMax bounds a path that an operator writes, which a request line has to have room for.
const pathMax = 256

// ParsePath returns the clean form of a path that an operator has written. The error goes on
// from the path's name.
func ParsePath(s string) (string, error) {
	switch {
	case strings.Contains(s, "://"):
		return "", errors.New("is a URL, want its path only, for example /ws")
	case !strings.HasPrefix(s, "/"):
		return "", errors.New("does not begin with a slash, want for example /ws")
	case strings.ContainsAny(s, "?#"):
		return "", errors.New("has a query or a fragment, want the path only, for example /ws")
	case !validEscapes([]byte(s)):
		return "", errors.New("has a % without two hexadecimal digits behind it, want %25 for the character itself")
	case !validValue([]byte(s)):
		return "", errors.New("has a control character")
	case len(s) > pathMax:
		return "", errors.New("is longer than 256 bytes")
	}
	path := string(CleanPath([]byte(s)))
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "." || part == ".." || part == "" && len(path) > 1 {
			return "", errors.New("has an empty part, or one of dots, which clients and proxies take away")
		}
	}
	return path, nil
}
