// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"tickedge/internal/protocol"
)

// ProtocolError says which rule a peer broke. The conn is closed with Code, and
// Reason goes into the close frame.
type ProtocolError struct {
	Code   protocol.Code
	Reason string
}

func (e *ProtocolError) Error() string { return e.Reason }

func protocolError(reason string) *ProtocolError {
	return &ProtocolError{protocol.CodeProtocolError, reason}
}

// closeReasonMax is what a control frame leaves for the reason after the code.
const closeReasonMax = ws.MaxControlFramePayloadSize - 2

// AppendClose appends a close frame (RFC 6455, 5.5.1). A code of 0 makes it one
// without a body. A reason that is too long is cut at a rune.
func AppendClose(dst []byte, code protocol.Code, reason string) []byte {
	if code == 0 {
		return append(dst, finBit|byte(ws.OpClose), 0)
	}
	reason = protocol.Cut(reason, closeReasonMax)
	dst = append(dst, finBit|byte(ws.OpClose), byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// checkClose validates the body of a close frame and returns its code, 0 if it has
// none (RFC 6455, 5.5.1 and 7.4).
func checkClose(body []byte) (protocol.Code, *ProtocolError) {
	switch len(body) {
	case 0:
		return 0, nil
	case 1:
		return 0, protocolError("a close frame's body is empty or at least 2 bytes")
	}
	code := binary.BigEndian.Uint16(body)
	if !utf8.Valid(body[2:]) {
		return 0, &ProtocolError{protocol.CodeBadUTF8, "close reason is not valid UTF-8"}
	}
	switch {
	case code == uint16(protocol.CodeRestart) || code == uint16(protocol.CodeTryLater) || code == 1014:
		// Registered with IANA after the RFC; the library does not know them.
		return protocol.Code(code), nil
	case code >= 5000:
		return 0, protocolError("close code is out of range")
	}
	if err := ws.CheckCloseFrameData(ws.StatusCode(code), ""); err != nil {
		return 0, protocolError(err.Error())
	}
	return protocol.Code(code), nil
}
