// SPDX-License-Identifier: Apache-2.0

// Package protocol is the language of the edge and its clients (docs/PROTOCOL.md): commands
// in, messages out. It appends payloads and knows nothing of what stands around them on a
// wire, so it serves any framing: see package wsproto for that of WebSocket.
//
// A payload is one JSON object. What has rows or names of topics is appended in parts: its
// head, the rows, its end.
//
//	command.go  client messages: JSON to Command
//	message.go  server messages: values to payloads
//	code.go     why a conn is ended, as a number
package protocol
