// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"

	"tickedge/internal/httphead"
)

// CheckUpgrade checks that a request opens a WebSocket (RFC 6455, 4.2.1).
func CheckUpgrade(req *httphead.Request) *httphead.Refusal {
	const more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	up := &req.Upgrade
	switch method := string(req.Method); {
	case method != "GET" && method != "HEAD":
		return notGET
	case req.Old:
		return &httphead.Refusal{Status: 400, Reason: "HTTP/1.1 is needed (RFC 6455, section 4.1); " +
			"a proxy in between has to speak it to the edge (nginx: proxy_http_version 1.1)"}
	case !up.WebSocket || !up.Connection:
		return &httphead.Refusal{Status: 426, Reason: "this is a WebSocket address: open it with a WebSocket client " +
			"(a proxy in between has to pass Upgrade and Connection on)", Header: more}
	case method == "HEAD":
		return notGET // It asks for a WebSocket, and its answer would not be one.
	case up.Versions != 1 || string(up.Version) != "13":
		return &httphead.Refusal{Status: 426, Reason: "Sec-WebSocket-Version 13 is needed", Header: more}
	case up.Keys != 1 || !validKey(up.Key):
		return &httphead.Refusal{Status: 400, Reason: "Sec-WebSocket-Key is not 16 bytes in base64"}
	}
	return nil
}

var notGET = &httphead.Refusal{Status: 405, Reason: "a WebSocket is opened with GET", Header: "Allow: GET\r\n"}

// validKey reports whether a key is 16 bytes in base64 (RFC 6455, 4.2.1). Four bits of its last
// letter belong to no byte, and there are clients that do not clear them.
func validKey(key []byte) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}

// acceptGUID is the constant of RFC 6455, section 4.2.2.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Subprotocol is the name of this version of the protocol, for clients that offer it
// (RFC 6455, 1.9). Whoever offers none may talk all the same.
const Subprotocol = "tickedge.v1"

// bearer begins a sub-protocol that is none but brings a token: the JavaScript of browsers can
// set no field of a handshake but this one, and a token in the URL ends up in logs.
const bearer = "bearer."

// Offer is what a client offers in Sec-WebSocket-Protocol.
type Offer struct {
	Chosen   string // [Subprotocol] if it is offered, which is what the edge chooses; or nothing.
	HasToken bool   // It may be there and empty.
	Token    []byte // Never log it, and never choose its sub-protocol, as that sends it back.
}

// ParseOffer reads which sub-protocols a request offers: in lists, in any number of fields and
// in any order. Those that are not known are left alone.
func ParseOffer(req *httphead.Request) (o Offer, r *httphead.Refusal) {
	for _, list := range req.Upgrade.Protocols {
		for more := true; more; {
			var name []byte
			name, list, more = bytes.Cut(list, []byte{','})
			name = bytes.Trim(name, " \t")
			if string(name) == Subprotocol {
				o.Chosen = Subprotocol
			}
			token, ok := bytes.CutPrefix(name, []byte(bearer))
			switch {
			case !ok:
			case o.HasToken:
				return o, &httphead.Refusal{Status: 400, Reason: httphead.OneToken}
			default:
				o.HasToken, o.Token = true, token
			}
		}
	}
	if o.HasToken && o.Chosen == "" {
		return o, &httphead.Refusal{Status: 400, Reason: "with a token as the sub-protocol bearer.… offer " + Subprotocol + " too: a browser needs one that can be chosen"}
	}
	return o, nil
}

// AppendUpgrade appends the 101 response to a request that [CheckUpgrade] has passed. protocol
// is the sub-protocol that is chosen, or nothing. No extension is ever chosen.
func AppendUpgrade(dst []byte, req *httphead.Request, protocol string) []byte {
	var in [24 + len(acceptGUID)]byte
	copy(in[copy(in[:], req.Upgrade.Key):], acceptGUID)
	sum := sha1.Sum(in[:])
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if protocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, protocol...)
	}
	return append(dst, "\r\n\r\n"...)
}
