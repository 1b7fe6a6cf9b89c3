package fakeedge

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/http"

	"tickedge/bench/internal/wire"
)

// Frame is a server frame with the shortest length that fits.
func Frame(op wire.Op, payload string) string {
	b := []byte{0x80 | byte(op)}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return string(append(b, payload...))
}

// acceptOf is computed without package wire, whose own computation is being tested.
func acceptOf(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
