// SPDX-License-Identifier: Apache-2.0

// Package wsproto is RFC 6455, the framing of WebSocket: the opening handshake, and the frames
// around the payloads of package protocol.
//
// Bytes in, events out, and frames as bytes. There is no socket, no clock and no
// goroutine here, so any input can be replayed cut at any byte. Nothing is ever
// allocated for a length that a peer claims, only for bytes that have arrived.
//
//	handshake.go  requests for a WebSocket, and the 101        RFC 6455, 4.2
//	frame.go      Decoder: bytes to messages; frame headers    RFC 6455, 5
//	utf8.go       text that comes in pieces                    RFC 6455, 8.1
//	close.go      close frames, and what is wrong with one     RFC 6455, 5.5.1 and 7.4
package wsproto
