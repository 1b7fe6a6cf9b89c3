package wsproto

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Code is a close code: those of RFC 6455, section 7.4.1 where one fits, else one
// of ours. Ours from 4000 to 4499 mean "come back", from 4500 to 4999 "do not".
type Code uint16

// The close codes that the edge sends.
const (
	CodeNormal        Code = 1000
	CodeGoingAway     Code = 1001
	CodeProtocolError Code = 1002
	CodeUnsupported   Code = 1003 // A binary message.
	CodeBadUTF8       Code = 1007
	CodeTooBig        Code = 1009
	CodeInternal      Code = 1011
	CodeRestart       Code = 1012 // Restart or drain.
	CodeTryLater      Code = 1013

	CodeSlowConsumer Code = 4001
	CodeNoPong       Code = 4002
	CodeIdle         Code = 4003
	CodeToken        Code = 4501 // None, a bad one, or one that has expired.
	CodeMalformed    Code = 4502 // Too many malformed commands.
	CodeReplaced     Code = 4504 // A newer connection took its place.
)

// ProtocolError says which rule a peer broke. The conn is closed with Code, and
// Reason goes into the close frame.
type ProtocolError struct {
	Code   Code
	Reason string
}

func (e *ProtocolError) Error() string { return e.Reason }

func protocolError(reason string) *ProtocolError {
	return &ProtocolError{CodeProtocolError, reason}
}

// closeReasonMax is what a control frame leaves for the reason after the code.
const closeReasonMax = ws.MaxControlFramePayloadSize - 2

// AppendClose appends a close frame (RFC 6455, 5.5.1). A code of 0 makes it one
// without a body. A reason that is too long is cut at a rune.
func AppendClose(dst []byte, code Code, reason string) []byte {
	if code == 0 {
		return append(dst, finBit|byte(ws.OpClose), 0)
	}
	reason = cut(reason, closeReasonMax)
	dst = append(dst, finBit|byte(ws.OpClose), byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// checkClose validates the body of a close frame and returns its code, 0 if it has
// none (RFC 6455, 5.5.1 and 7.4).
func checkClose(body []byte) (Code, *ProtocolError) {
	switch len(body) {
	case 0:
		return 0, nil
	case 1:
		return 0, protocolError("a close frame's body is empty or at least 2 bytes")
	}
	code := binary.BigEndian.Uint16(body)
	if !utf8.Valid(body[2:]) {
		return 0, &ProtocolError{CodeBadUTF8, "close reason is not valid UTF-8"}
	}
	switch {
	case code == uint16(CodeRestart) || code == uint16(CodeTryLater) || code == 1014:
		// Registered with IANA after the RFC; the library does not know them.
		return Code(code), nil
	case code >= 5000:
		return 0, protocolError("close code is out of range")
	}
	if err := ws.CheckCloseFrameData(ws.StatusCode(code), ""); err != nil {
		return 0, protocolError(err.Error())
	}
	return Code(code), nil
}

// cut shortens s to at most n bytes, at a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
