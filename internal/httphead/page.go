// SPDX-License-Identifier: Apache-2.0

package httphead

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
)

// Page is a page in all the forms that a request may get, each a whole response made once, so
// that a request costs a look at two of its fields. It does not change after [NewPage].
type Page struct {
	tag                      string // Its entity tag, with the quotes and without W/.
	plain, zipped, unchanged []byte
}

// NewPage makes the responses of a page. header holds more header lines, each with its CRLF.
func NewPage(contentType, header, body string) *Page {
	// The tag stands for the header too: what a cache keeps is both.
	sum := sha256.Sum256([]byte(contentType + "\n" + header + "\n" + body))
	p := &Page{tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
	// A weak tag, because plain and zipped are one page in two codings (RFC 9110, 8.8.1).
	header = "ETag: W/" + p.tag + "\r\nVary: Accept-Encoding\r\n" + header
	p.plain = AppendResponse(nil, 200, contentType, header, body)
	var zipped bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // The level is valid.
	_, _ = w.Write([]byte(body))                               // A buffer takes everything.
	_ = w.Close()
	p.zipped = AppendResponse(nil, 200, contentType, "Content-Encoding: gzip\r\n"+header, zipped.String())
	p.unchanged = []byte("HTTP/1.1 304 Not Modified\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n" + header + "\r\n")
	return p
}

// Answer returns the response to a GET, which is not to be changed. That to a HEAD is its head.
func (p *Page) Answer(req *Request) []byte {
	switch {
	case req.hasTag(p.tag):
		return p.unchanged
	case req.takesGzip():
		return p.zipped
	}
	return p.plain
}

// field calls look with each value of a header field, until that returns false.
func (req *Request) field(name string, look func(value []byte) bool) {
	for rest := req.fields; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, headEnd[:2])
		if key, value, ok := bytes.Cut(line, colon); ok && is(key, name) && !look(trim(value)) {
			return
		}
	}
}

// hasTag reports whether If-None-Match names a tag, or any with a star (RFC 9110, 13.1.2). Weak
// and strong tags compare alike there.
func (req *Request) hasTag(tag string) (has bool) {
	req.field("if-none-match", func(value []byte) bool {
		for more := true; more && !has; {
			var entry []byte
			// A tag may hold a comma. Ours does not, and what is between two is not ours.
			entry, value, more = bytes.Cut(value, comma)
			entry = trim(entry)
			has = string(entry) == "*" || string(bytes.TrimPrefix(entry, weak)) == tag
		}
		return !has
	})
	return has
}

// takesGzip reports whether Accept-Encoding allows gzip (RFC 9110, 12.5.3): by its name, or
// by a star if it is not named. A weight of 0 forbids.
func (req *Request) takesGzip() bool {
	named, takes := false, false
	req.field("accept-encoding", func(value []byte) bool {
		for more := true; more; {
			var entry []byte
			entry, value, more = bytes.Cut(value, comma)
			coding, parameters, _ := bytes.Cut(entry, semicolon)
			coding = trim(coding)
			switch {
			case is(coding, "gzip") || is(coding, "x-gzip"):
				named, takes = true, !zeroWeight(parameters)
			case !named && string(coding) == "*":
				takes = !zeroWeight(parameters)
			}
		}
		return true
	})
	return takes
}

// zeroWeight reports whether the parameters of a coding say q=0, with any number of zeros.
func zeroWeight(parameters []byte) bool {
	key, value, _ := bytes.Cut(parameters, equals)
	value = trim(value)
	return is(trim(key), "q") && len(value) > 0 && value[0] == '0' && len(bytes.Trim(value, "0.")) == 0
}

var (
	colon     = []byte{':'}
	semicolon = []byte{';'}
	equals    = []byte{'='}
	weak      = []byte("W/")
)
