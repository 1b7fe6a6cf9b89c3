// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"strings"
)

// HeadMax bounds the head of the server's answer. Ours is below 200 bytes; a refusal
// may carry a few more headers.
const HeadMax = 8 << 10

// Faults of the answer to a handshake.
const (
	ErrHead    Fault = "handshake answer is not HTTP"
	ErrUpgrade Fault = "handshake answer without upgrade" // RFC 6455, 4.1
	ErrAccept  Fault = "wrong Sec-WebSocket-Accept"       // RFC 6455, 4.2.2
)

// keyLength is the length of a Sec-WebSocket-Key: 16 bytes in base64.
const keyLength = 24

// AppendRequest appends the opening handshake. target is the path with its query, key
// is 16 bytes that the answer has to prove it has read.
func AppendRequest(dst []byte, target, host string, key [16]byte) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	dst = base64.StdEncoding.AppendEncode(dst, key[:])
	return append(dst, "\r\n\r\n"...)
}

// Accept is the Sec-WebSocket-Accept that answers a key.
func Accept(key [16]byte) string {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	text := make([]byte, keyLength, keyLength+len(guid))
	base64.StdEncoding.Encode(text, key[:])
	sum := sha1.Sum(append(text, guid...))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// AppendGet appends a request without a body, as plain HTTP has it.
func AppendGet(dst []byte, target, host string) []byte {
	dst = append(append(dst, "GET "...), target...)
	return append(append(append(dst, " HTTP/1.1\r\nHost: "...), host...), "\r\n\r\n"...)
}

// Response is the head of an answer.
type Response struct {
	Size   int // With the empty line at its end; 0 if it is not complete.
	Status int

	fields []byte
}

// ParseResponse reads the head at the start of b.
func ParseResponse(b []byte) (r Response, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > HeadMax {
			return r, ErrHead
		}
		return r, nil
	}
	line, fields, _ := bytes.Cut(b[:end], []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < 12 {
		return r, ErrHead
	}
	if r.Status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return r, ErrHead
	}
	r.Size, r.fields = end+4, fields
	return r, nil
}

// Field is the value of a field, nil if there is none.
func (r *Response) Field(name string) []byte {
	for rest := r.fields; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if of, value, _ := bytes.Cut(line, []byte(":")); strings.EqualFold(string(of), name) {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// Has reports whether a field has this value, in whatever case.
func (r *Response) Has(name, value string) bool {
	return strings.EqualFold(string(r.Field(name)), value)
}

// ParseAnswer reads the server's answer to a handshake with key. A size of 0 without
// an error means that the head is not complete. A status other than 101 is not
// checked further.
func ParseAnswer(b []byte, key [16]byte) (size, status int, err error) {
	r, err := ParseResponse(b)
	switch {
	case err != nil || r.Status != 101:
	case !r.Has("Upgrade", "websocket") || !r.Has("Connection", "Upgrade"):
		err = ErrUpgrade
	case string(r.Field("Sec-WebSocket-Accept")) != Accept(key):
		err = ErrAccept
	}
	return r.Size, r.Status, err
}
