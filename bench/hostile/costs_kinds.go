// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// costKinds are all kinds for an edge that asks for no tokens. The first is the yardstick's.
func costKinds() []kind {
	return slices.Concat(commandKinds(), frameKinds(), []kind{
		{name: "snapshots of 1 MB: subscribe 256 large topics", atOnce: 1, message: inTurn(universe, bigName)},
	}, requestKinds())
}

func always(b []byte) func(number, i int) []byte { return func(int, int) []byte { return b } }

// topicsCommand is a command about n topics.
func topicsCommand(op string, n int, name func(i int) string) []byte {
	return message(`{"op":"` + op + `","topics":["` + strings.Join(list(n, name), `","`) + `"]}`)
}

// inTurn subscribes n topics and unsubscribes them.
func inTurn(n int, name func(i int) string) func(number, i int) []byte {
	both := [][]byte{topicsCommand("subscribe", n, name), topicsCommand("unsubscribe", n, name)}
	return func(_, i int) []byte { return both[i%2] }
}

// fill is a message of the longest kind, with items between head and tail.
func fill(head, item, tail string) []byte {
	n := (messageMax - len(head) - len(tail)) / len(item)
	return message(head + strings.Repeat(item, n) + tail)
}

func commandKinds() []kind {
	all := topicsCommand("subscribe", universe, topicName)
	short := func(i int) string { return string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}) }
	one := func(int) string { return topicName(1) }
	var keys strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&keys, `,"%x":1`, i)
	}
	return []kind{
		{name: "ordinary commands, many in a packet", atOnce: 36, message: inTurn(1, one)},
		{name: "ping command", atOnce: 36, message: always(message(`{"op":"ping"}`))},
		{name: "interval to and fro", atOnce: 36, message: func(_, i int) []byte {
			return message(fmt.Sprintf(`{"op":"interval","ms":%d}`, 100+i%2*59000))
		}},
		{name: "list of 256 topics", first: all, atOnce: 3, message: always(message(`{"op":"list"}`))},
		{name: "subscribe 256 topics it has", first: all, atOnce: 2, message: always(all)},
		{name: "subscribe 256 topics, unsubscribe them", atOnce: 1, message: inTurn(universe, topicName)},
		{name: "subscribe 256 topics more than it may have", first: all, atOnce: 1,
			message: always(topicsCommand("subscribe", 256, short))},
		{name: "subscribe 256 bad names", atOnce: 2, message: always(topicsCommand("subscribe", 256, func(int) string { return "" }))},
		{name: "unsubscribe 256 unknown names", atOnce: 2, message: always(topicsCommand("unsubscribe", 256, short))},
		{name: "subscribe a new name", atOnce: 20, message: func(number, i int) []byte {
			return topicsCommand("subscribe", 1, func(int) string { return fmt.Sprintf("%x.%x", number, i) })
		}},
		{name: "subscribe 16 new names", atOnce: 6, message: func(number, i int) []byte {
			return topicsCommand("subscribe", 16, func(k int) string { return fmt.Sprintf("%x.%x.%x", number, i, k) })
		}},
		{name: "auth, where no token is asked for", atOnce: 1, message: always(message(`{"op":"auth","token":"x"}`))},
		{name: "20 KiB of legal command: a list of digits", atOnce: 2, message: always(fill(`{"op":"ping","x":[0`, ",1", "]}"))},
		{name: "malformed: 16 KiB of 2,000 keys", atOnce: 2, never: true, message: always(message(`{"op":"ping"` + keys.String() + "}"))},
		{name: "20 KiB of legal command: escapes", atOnce: 2, message: always(fill(`{"op":"ping","x":"`, `\u00e9`, `"}`))},
		{name: "20 KiB of garbage", atOnce: 2, never: true, message: always(fill(`[0`, ",1", ""))},
		{name: "malformed: an empty message", atOnce: 14, never: true, message: always(message(""))},
	}
}

func frameKinds() []kind {
	inParts := func(text string) (b []byte) {
		for i := range len(text) {
			b0 := byte(0)
			if i == 0 {
				b0 = 1
			}
			if i == len(text)-1 {
				b0 |= fin
			}
			b = append(b, frame(b0, text[i:i+1])...)
		}
		return b
	}
	empty := append(frame(1, ""), slices.Repeat(frame(0, ""), fragmentsMax-2)...)
	empty = append(empty, frame(fin, `{"op":"ping"}`)...)
	return []kind{
		{name: "ping frame", atOnce: 90, message: always(ping(""))},
		{name: "ping frame of 125 bytes", atOnce: 90, message: always(ping(strings.Repeat("p", 125)))},
		{name: "pong frame that nobody asked for", atOnce: 90, message: always(frame(fin|0xa, ""))},
		{name: "pong frame, byte by byte", atOnce: 10, dribble: true, message: always(frame(fin|0xa, ""))},
		{name: "command in fragments of 1 byte", atOnce: 2, message: always(inParts(`{"op":"ping"}`))},
		{name: "command in 256 fragments, empty but for the last", atOnce: 1, message: always(empty)},
		{name: "command byte by byte", atOnce: 2, dribble: true, message: always(message(`{"op":"ping"}`))},
		{name: "command of 240 bytes byte by byte", atOnce: 1, dribble: true, message: always(message(fmt.Sprintf("%-240s", `{"op":"ping"}`)))},
	}
}

func requestKinds() []kind {
	always := func(text string) func(int) []byte { return func(int) []byte { return []byte(text) } }
	return []kind{
		{name: "request: reconnect", once: always(goodRequest(""))},
		{name: "request: reconnect for 256 large topics, a snapshot of 1 MB", oneSource: true, once: always(goodRequest("")),
			then: topicsCommand("subscribe", universe, bigName)},
		{name: "request: byte by byte", dribble: true, once: always(goodRequest(""))},
		{name: "request: reconnect with 30 topics", once: always(goodRequest("?topics=" + strings.Join(list(30, topicName), ",")))},
		{name: "request: 404", once: always("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")},
		{name: "request: the page", once: always("GET / HTTP/1.1\r\nHost: a\r\n\r\n")},
		{name: "request: 400 after 8 KiB of head", once: always("GET /ws HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 99) + "Host: " + strings.Repeat("a", 7500) + "\r\n\r\n")},
	}
}

// tokenKinds are for an edge that asks for tokens.
func (t *tokens) kinds() []kind {
	auth := func(token string) func(int, int) []byte {
		return func(int, int) []byte { return message(`{"op":"auth","token":"` + token + `"}`) }
	}
	request := func(token string) func(int) []byte {
		return func(int) []byte { return []byte(goodRequest("?token=" + token)) }
	}
	return []kind{
		{name: "auth, ES256", atOnce: 1, message: auth(t.good)},
		{name: "auth, wrong signature of ES512", atOnce: 1, message: auth(t.wrong512)},
		{name: "request: wrong signature of ES256", once: request(t.wrong256)},
		{name: "request: wrong signature of ES512, from a thousand addresses", once: request(t.wrong512)},
		{name: "request: wrong signature of ES512, from one address", oneSource: true, once: request(t.wrong512)},
	}
}

// tokens are of a key that is quick to verify and of the one that takes longest.
type tokens struct {
	keys                     []byte // PEM.
	good, wrong256, wrong512 string
}

func newTokens() (*tokens, error) {
	t := &tokens{}
	sign := func(curve elliptic.Curve, alg string, hash func([]byte) []byte) (good, wrong string, err error) {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return "", "", err
		}
		public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return "", "", err
		}
		t.keys = append(t.keys, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})...)
		part := base64.RawURLEncoding.EncodeToString
		signed := part([]byte(`{"alg":"`+alg+`"}`)) + "." + part([]byte(`{"sub":"costs","exp":4102444800}`))
		r, s, err := ecdsa.Sign(rand.Reader, key, hash([]byte(signed)))
		if err != nil {
			return "", "", err
		}
		size := (curve.Params().BitSize + 7) / 8
		signature := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		good = signed + "." + part(signature)
		signature[size/2] ^= 1
		return good, signed + "." + part(signature), nil
	}
	var err, err2 error
	t.good, t.wrong256, err = sign(elliptic.P256(), "ES256", func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] })
	_, t.wrong512, err2 = sign(elliptic.P521(), "ES512", func(b []byte) []byte { sum := sha512.Sum512(b); return sum[:] })
	return t, errors.Join(err, err2)
}
