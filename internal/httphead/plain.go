// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"bytes"
	"net/url"
	"strconv"
	"time"
)

// What requests need that are answered on a connection that goes on.

// Persists reports whether the client expects the connection to go on behind the answer (RFC
// 9112, 9.3). One of HTTP/1.0 may say so too, and is not heard: its proxies pass that on blindly.
func (req *Request) Persists() bool {
	closes := req.Old
	req.field("connection", func(value []byte) bool {
		closes = closes || hasToken(value, "close")
		return !closes
	})
	return !closes
}

// AppendNoneMatch appends the entity tags of If-None-Match, of all its fields in one list.
func (req *Request) AppendNoneMatch(dst []byte) []byte {
	req.field("if-none-match", func(value []byte) bool {
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, value...)
		return true
	})
	return dst
}

// ListsTag reports whether a list of entity tags has tag, which is given with its quotes and
// without W/, or a star (RFC 9110, 13.1.2). Weak and strong tags compare alike there.
func ListsTag(list, tag []byte) bool {
	for more := true; more; {
		var entry []byte
		// A tag may hold a comma. Ours does not, and what is between two is not ours.
		entry, list, more = bytes.Cut(list, comma)
		entry = trim(entry)
		if string(entry) == "*" || bytes.Equal(bytes.TrimPrefix(entry, weak), tag) {
			return true
		}
	}
	return false
}

// Parameter returns the value of a parameter of the query, and whether it is there. It may be
// there once, as two readers could take another of two.
func (req *Request) Parameter(name string) (value []byte, has bool, r *Refusal) {
	for rest := req.Query; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{'&'})
		key, raw, _ := bytes.Cut(pair, equals)
		if key, _ = unescape(key); string(key) != name {
			continue
		}
		var ok bool
		if value, ok = unescape(raw); has || !ok || bytes.IndexByte(raw, ';') >= 0 {
			return nil, true, refuse(400, name+" in the query is malformed, or there twice")
		}
		has = true
	}
	return value, has, nil
}

// ParseWait reads a time such as 10s, 1500ms or 10, which is seconds, of at most most. Nothing is
// no time.
func ParseWait(value []byte, most time.Duration) (d time.Duration, ok bool) {
	digits, unit := value, time.Second
	if rest, has := bytes.CutSuffix(value, []byte("ms")); has {
		digits, unit = rest, time.Millisecond
	} else if rest, has := bytes.CutSuffix(value, []byte("s")); has {
		digits = rest
	}
	if len(value) == 0 {
		return 0, true
	}
	if len(digits) == 0 || len(digits) > 6 { // Atoi takes a sign, too.
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	d = time.Duration(n) * unit
	return d, d <= most
}

// UnescapePath returns the text of a part of a path whose escapes are valid, where a plus is
// itself: part, if it has no escape.
func UnescapePath(part []byte) []byte {
	if bytes.IndexByte(part, '%') < 0 {
		return part
	}
	s, err := url.PathUnescape(string(part))
	if err != nil {
		return part
	}
	return []byte(s)
}

// StatusText is the reason phrase of a status that the edge answers with.
func StatusText(status int) string { return statusText[status] }

// BeginResponse begins a response whose connection goes on behind it, unless it is the last. The
// caller appends further header lines, each with its CRLF, an empty one, and the body, which has
// length bytes. Without a type, of 204 and 304, there is no body and no length.
func BeginResponse(dst []byte, status int, contentType string, length int, last bool) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if contentType == "" {
		dst = append(dst, statusAlone[status]...)
	} else {
		dst = append(dst, statusText[status]...)
		dst = append(dst, "\r\nContent-Type: "...)
		dst = append(dst, contentType...)
		dst = append(dst, "\r\nContent-Length: "...)
		dst = strconv.AppendInt(dst, int64(length), 10)
	}
	dst = append(dst, "\r\nX-Content-Type-Options: nosniff\r\n"...)
	if last {
		dst = append(dst, "Connection: close\r\n"...)
	}
	return dst
}
