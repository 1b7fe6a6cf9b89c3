// SPDX-License-Identifier: Apache-2.0

package bare

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// InMax bounds what is kept of a client that has not said its words to the end. A
// head of bench hold has 200 bytes, a subscribe with 256 topics 17 KiB.
const InMax = 20 << 10

// Hello is the first message. It promises no heartbeat.
func Hello(window time.Duration) string {
	return fmt.Sprintf(`{"t":"hello","v":1,"conn":"00000000","interval":%d,"heartbeat":0,"max_topics":%d}`,
		window.Milliseconds(), TopicsMax)
}

// HeadSize is the size of the request head that in begins with, 0 if it is not all
// there.
func HeadSize(in []byte) int {
	const end = "\r\n\r\n"
	if at := bytes.Index(in, []byte(end)); at >= 0 {
		return at + len(end)
	}
	return 0
}

// AppendAnswer appends the answer to a handshake (RFC 6455, 4.2.2). It is not ok if
// the head has no key.
func AppendAnswer(dst, head []byte) (out []byte, ok bool) {
	const name, guid = "Sec-WebSocket-Key:", "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
			continue
		}
		var text [64]byte
		sum := sha1.Sum(append(append(text[:0], bytes.TrimSpace(line[len(name):])...), guid...))
		dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
		dst = base64.StdEncoding.AppendEncode(dst, sum[:])
		return append(dst, "\r\n\r\n"...), true
	}
	return dst, false
}

// Opcodes of RFC 6455, section 5.2, that a client sends here.
const (
	OpText  = 0x1
	OpClose = 0x8
)

// NextFrame takes the frame that in begins with and unmasks its payload in place. A
// size of 0 means that it is not all there. Frames from 64 KiB up are never all there.
func NextFrame(in []byte) (op byte, payload []byte, size int) {
	if len(in) < 2 {
		return 0, nil, 0
	}
	head, length := 2, int(in[1]&0x7f)
	if length >= 126 {
		if length == 127 || len(in) < 4 {
			return 0, nil, 0
		}
		head, length = 4, int(binary.BigEndian.Uint16(in[2:]))
	}
	size = head + 4 + length
	if len(in) < size {
		return 0, nil, 0
	}
	key := in[head : head+4]
	payload = in[head+4 : size]
	for i := range payload {
		payload[i] ^= key[i&3]
	}
	return in[0] & 0x0f, payload, size
}

// Topics are the numbers of topics by their names.
type Topics map[string]uint16

// NewTopics numbers names in their order.
func NewTopics(names []string) Topics {
	t := make(Topics, len(names))
	for i, name := range names {
		t[name] = uint16(i)
	}
	return t
}

// Subscribe reads {"op":"subscribe","topics":["SYM0001","SYM0002"],"id":1} as bench
// hold writes it, without a parser of JSON. It fills topics and returns how many of
// them that were; 0 if cmd is something else, has an unknown topic, or has more than
// there is room for.
func (t Topics) Subscribe(cmd []byte, topics []uint16) int {
	_, list, found := bytes.Cut(cmd, []byte(`{"op":"subscribe","topics":[`))
	if !found {
		return 0
	}
	for n := range topics {
		name, rest, ok := bytes.Cut(list[min(1, len(list)):], []byte{'"'})
		id, known := t[string(name)]
		if !ok || !known {
			return 0
		}
		topics[n] = id
		if bytes.HasPrefix(rest, []byte("]")) {
			return n + 1
		}
		list = rest[min(1, len(rest)):]
	}
	return 0
}

// AppendAck appends the answer to a subscribe of bench hold, whose id is 1, as a frame.
func AppendAck(dst []byte, topics int) []byte {
	const before, after = `{"t":"ack","id":1,"op":"subscribe","topics":`, `}`
	at := len(dst)
	dst = append(append(dst, 0x81, 0), before...)
	dst = append(strconv.AppendInt(dst, int64(topics), 10), after...)
	dst[at+1] = byte(len(dst) - at - 2)
	return dst
}
