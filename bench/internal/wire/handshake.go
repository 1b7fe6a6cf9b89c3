// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
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

// ParseAnswer reads the server's answer to a handshake with key. A size of 0 without
// an error means that the head is not complete. A status other than 101 is not
// checked further.
func ParseAnswer(b []byte, key [16]byte) (size, status int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > HeadMax {
			return 0, 0, ErrHead
		}
		return 0, 0, nil
	}
	head := b[:end]
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < 12 {
		return 0, 0, ErrHead
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, ErrHead
	}
	size = end + 4
	if status != 101 {
		return size, status, nil
	}
	var upgrade, connection bool
	var accept []byte
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Upgrade")):
			upgrade = bytes.EqualFold(value, []byte("websocket"))
		case bytes.EqualFold(name, []byte("Connection")):
			connection = bytes.EqualFold(value, []byte("Upgrade"))
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Accept")):
			accept = value
		}
	}
	if !upgrade || !connection {
		return size, status, ErrUpgrade
	}
	if string(accept) != Accept(key) {
		return size, status, ErrAccept
	}
	return size, status, nil
}
