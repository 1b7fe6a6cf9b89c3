// SPDX-License-Identifier: Apache-2.0

package protocol

// Code says in a bye why a conn is ended, and in a close frame (RFC 6455, 7.4.1): one of the
// RFC where one fits, else one of ours. Ours from 4000 to 4499 mean "come back", from 4500 to
// 4999 "do not".
type Code uint16

// The codes that the edge sends.
const (
	CodeNormal        Code = 1000
	CodeGoingAway     Code = 1001
	CodeProtocolError Code = 1002
	CodeUnsupported   Code = 1003 // A binary message.
	CodeBadUTF8       Code = 1007
	CodePolicy        Code = 1008 // Within RFC 6455, but more than is taken here.
	CodeTooBig        Code = 1009
	CodeInternal      Code = 1011
	CodeRestart       Code = 1012 // Restart or drain.
	CodeTryLater      Code = 1013

	CodeSlowConsumer Code = 4001
	CodeNoPong       Code = 4002
	CodeIdle         Code = 4003
	CodeMaxAge       Code = 4004
	CodeToken        Code = 4501 // None, a bad one, or one that has expired or was revoked.
	CodeMalformed    Code = 4502 // Too many malformed commands.
	CodeCommandRate  Code = 4503 // Too many commands, and on after being told so.
	CodeReplaced     Code = 4504 // A newer connection took its place.
	CodeOperator     Code = 4505 // An operator has ended it, and named no other code.
)
