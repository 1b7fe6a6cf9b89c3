package wsproto

import (
	"crypto/sha1"
	"encoding/base64"

	"tickedge/internal/httphead"
)

// CheckUpgrade checks that a request opens a WebSocket (RFC 6455, 4.2.1).
func CheckUpgrade(req *httphead.Request) *httphead.Refusal {
	const more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	up := &req.Upgrade
	switch {
	case string(req.Method) != "GET":
		return &httphead.Refusal{Status: 405, Reason: "a WebSocket is opened with GET", Header: "Allow: GET\r\n"}
	case !up.WebSocket || !up.Connection:
		return &httphead.Refusal{Status: 426, Reason: "this is a WebSocket address: open it with a WebSocket client", Header: more}
	case up.Versions != 1 || string(up.Version) != "13":
		return &httphead.Refusal{Status: 426, Reason: "Sec-WebSocket-Version 13 is needed", Header: more}
	case up.Keys != 1 || !validKey(up.Key):
		return &httphead.Refusal{Status: 400, Reason: "Sec-WebSocket-Key is not 16 bytes in base64"}
	}
	return nil
}

func validKey(key []byte) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(nonce[:], key)
	return err == nil && n == 16
}

// acceptGUID is the constant of RFC 6455, section 4.2.2.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendUpgrade appends the 101 response to a request that [CheckUpgrade] has passed. No
// extension and no sub-protocol is ever chosen.
func AppendUpgrade(dst []byte, req *httphead.Request) []byte {
	var in [24 + len(acceptGUID)]byte
	copy(in[copy(in[:], req.Upgrade.Key):], acceptGUID)
	sum := sha1.Sum(in[:])
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	return append(dst, "\r\n\r\n"...)
}
