// SPDX-License-Identifier: Apache-2.0

package fanout

import "tickedge/internal/protocol"

// Reason says why a conn is ended by the edge. 0 is no reason: it goes on.
type Reason uint8

// The reasons that a shard finds, and those that its loop adds.
const (
	HandshakeTimeout Reason = iota + 1 // The request head did not come in time.
	SlowConsumer                       // The backlog did not drain in time.
	NoPong                             // Nothing was heard since a ping.
	Idle                               // No topic subscribed for too long.
	CloseTimeout                       // The peer did not answer our close in time.
	Drain                              // The edge is going down.
	Malformed                          // Too many malformed commands.
	Panic                              // A bug of ours.
	MaxAge                             // It was open for as long as a conn may be.
	CommandRate                        // Too many commands, and on after being told so.
	TokenExpired                       // Its token is not good any more.
	Replaced                           // A newer one of the same user took its place.
	BacklogTotal                       // All backlogs together were too large.
	StreamInput                        // It has a stream of events, and sent something.
	KeepAlive                          // It asks, and has asked for nothing for too long.
	Pipelined                          // It asks, and sent too much behind a request that was not answered yet.
	Operator                           // An operator has ended it. The code and the text may be his own, see [Shard.ByeWith].
	Revoked                            // Its token was revoked.

	reasons
)

// Reasons is the length of tables by reason.
const Reasons = int(reasons)

var reasonTable = [Reasons]struct {
	label string
	code  protocol.Code // 0: the conn is closed without a word, as there is nobody to read it.
	text  string
}{
	HandshakeTimeout: {"handshake_timeout", 0, ""},
	SlowConsumer:     {"slow_consumer", protocol.CodeSlowConsumer, "slow consumer"},
	NoPong:           {"no_pong", protocol.CodeNoPong, "no pong"},
	Idle:             {"idle", protocol.CodeIdle, "idle: nothing subscribed"},
	CloseTimeout:     {"close_timeout", 0, ""},
	Drain:            {"drain", protocol.CodeRestart, "draining"},
	Malformed:        {"malformed", protocol.CodeMalformed, "too many malformed commands"},
	Panic:            {"panic", protocol.CodeInternal, "internal error"},
	MaxAge:           {"max_age", protocol.CodeMaxAge, "maximum age reached"},
	CommandRate:      {"command_rate", protocol.CodeCommandRate, "too many commands"},
	TokenExpired:     {"token_expired", protocol.CodeToken, "token expired"},
	Replaced:         {"replaced", protocol.CodeReplaced, "replaced by a newer connection"},
	BacklogTotal:     {"backlog_total", protocol.CodeSlowConsumer, "slow consumer"},
	StreamInput:      {"stream_input", protocol.CodePolicy, "a stream of events takes nothing"},
	KeepAlive:        {"keep_alive", 0, ""},
	Pipelined:        {"pipelined", 0, ""},
	Operator:         {"operator", protocol.CodeOperator, "ended by an operator"},
	Revoked:          {"revoked", protocol.CodeToken, "token revoked"},
}

// String is the reason as a metric label.
func (r Reason) String() string { return reasonTable[r].label }

// Code is the close code that goes with the reason, 0 if none is sent.
func (r Reason) Code() protocol.Code { return reasonTable[r].code }

// Text is the reason as the client gets it.
func (r Reason) Text() string { return reasonTable[r].text }

// Hard reports whether the conn is reset at once, with all that the kernel holds
// for it: its backlog would only delay the end.
func (r Reason) Hard() bool { return r == SlowConsumer || r == BacklogTotal }
