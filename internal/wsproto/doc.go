// Package wsproto is what goes over a client's wire: the opening handshake and the
// frames of RFC 6455, and the command language inside them (docs/PROTOCOL.md).
//
// Bytes in, events out, and frames as bytes. There is no socket, no clock and no
// goroutine here, so any input can be replayed cut at any byte. Nothing is ever
// allocated for a length that a peer claims, only for bytes that have arrived.
//
//	handshake.go  requests for a WebSocket, and the 101        RFC 6455, 4.2
//	frame.go      Decoder: bytes to messages; frame headers    RFC 6455, 5
//	close.go      close codes, ours and the standard's         RFC 6455, 7.4
//	command.go    client messages: JSON to Command
//	message.go    server messages: values to frames
package wsproto
