// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"tickedge/internal/protocol"
)

const (
	finBit  = 0x80
	maskBit = 0x80
)

// Limits bounds what a client may send. It is shared by all conns of a server.
type Limits struct {
	// Message is the longest message, in bytes, whether it comes in one frame or
	// in many. Beyond it the conn fails with 1009 (RFC 6455, 7.4.1) as soon as the
	// frame's header claims more, so nothing is kept of it.
	Message int
	// Fragments is how many frames a message may have. Without it, empty fragments
	// could come for ever. Beyond it the conn fails with 1009. A last one that is empty
	// does not count: who sends pieces of a stream knows of its end only behind the last.
	Fragments int
	// Parts is how many fragments and reads a message may come in, see [Event].Parts. A
	// read costs a system call, so without it a message could come byte by byte for
	// thousands of times what it costs at once. Beyond it the conn fails with 1009. 0 is
	// any number. A last fragment that is empty and comes at once does not count.
	Parts int
	// Binary allows binary messages. Otherwise they fail the conn with 1003.
	Binary bool
}

// Kind says what an [Event] is.
type Kind uint8

// The kinds of events. NeedMore means that all bytes were taken and none is
// complete.
const (
	NeedMore Kind = iota
	Text
	Binary
	Ping
	Pong
	Close
)

// Event is one message or control frame. Payload is unmasked and valid until the
// next call of the decoder. Code is that of a close frame, 0 if it has none. Parts says in
// how many parts it came: fragments, and where a frame did not come at once, reads.
type Event struct {
	Kind    Kind
	Code    protocol.Code
	Parts   int
	Payload []byte
}

// Decoder makes messages of one client's bytes (RFC 6455, section 5). It is one
// word while nothing is half received. The zero value is ready. Owned by whoever
// owns the conn; not safe for concurrent use.
type Decoder struct {
	partial *partial
}

// partial is what a decoder keeps between two reads.
type partial struct {
	frame     []byte // An incomplete frame, header included. Its payload is unmasked.
	message   []byte // The fragments so far, unmasked.
	text      utf8Stream
	fragments int
	parts     int       // Those of the fragments so far.
	reads     int       // Those of the incomplete frame.
	op        ws.OpCode // Of the fragmented message; OpContinuation while there is none.
	since     time.Time // When Unfinished was first asked about it.
}

// Unfinished reports whether a message or a frame has begun that is not complete, and
// since when: now, if nobody asked about it before, as the decoder has no clock. Ask
// after every read, and a message that comes too slowly is found. Control frames
// between its fragments do not make it younger.
func (d *Decoder) Unfinished(now time.Time) (since time.Time, ok bool) {
	if d.partial == nil {
		return time.Time{}, false
	}
	if d.partial.since.IsZero() {
		d.partial.since = now
	}
	return d.partial.since, true
}

// Next takes bytes from in up to the end of the next message or control frame and
// returns it with the bytes that follow. in is overwritten (unmasked in place). It is
// to be called until the event's kind is [NeedMore]. After an error the conn must
// be failed with the error's code (RFC 6455, 7.1.7), and the decoder not be used.
func (d *Decoder) Next(in []byte, lim *Limits) (ev Event, rest []byte, err *ProtocolError) {
	for {
		var h ws.Header
		var payload []byte
		var reads int
		if d.partial == nil || len(d.partial.frame) == 0 {
			h, payload, in, err = d.whole(in, lim)
			reads = 1
		} else {
			h, payload, in, reads, err = d.goOn(in, lim)
		}
		if err != nil || payload == nil {
			return Event{}, nil, err
		}
		ev, err = d.take(h, payload, reads, lim)
		if err != nil || ev.Kind != NeedMore {
			return ev, in, err
		}
		// A fragment: it ends no message, so look at the next frame.
	}
}

// whole cuts one whole frame off in. The payload is nil if there is none; all of in is kept
// then. It is unmasked, and if it is text that can't become UTF-8 any more, that is an error.
func (d *Decoder) whole(in []byte, lim *Limits) (h ws.Header, payload, rest []byte, err *ProtocolError) {
	h, n, err := d.header(in, lim)
	if err != nil {
		return h, nil, nil, err
	}
	if n > 0 && int64(len(in)-n) >= h.Length {
		end := n + int(h.Length)
		payload = in[n:end:end]
		ws.Cipher(payload, h.Mask, 0)
		switch {
		case !d.isText(h):
		case h.Fin && h.OpCode == ws.OpText:
			if !utf8.Valid(payload) {
				return h, nil, nil, errUTF8
			}
		case !d.state().text.take(payload):
			return h, nil, nil, errUTF8
		}
		return h, payload, in[end:], nil
	}
	if len(in) == 0 {
		return h, nil, nil, nil
	}
	p := d.state()
	p.frame, p.reads = append([]byte(nil), in...), 1
	if n > 0 && !d.arrived(h, n, n) {
		return h, nil, nil, errUTF8
	}
	return h, nil, nil, nil
}

// goOn goes on with a frame that has come in part, and says how many reads it came in. Else
// it is as whole.
func (d *Decoder) goOn(in []byte, lim *Limits) (h ws.Header, payload, rest []byte, reads int, err *ProtocolError) {
	p := d.partial
	if len(in) > 0 {
		if p.reads++; lim.Parts > 0 && p.parts+p.reads > lim.Parts {
			return h, nil, nil, 0, errParts
		}
	}
	for {
		h, n, err := d.header(p.frame, lim)
		if err != nil {
			return h, nil, nil, 0, err
		}
		want := 1 // Byte by byte to the end of the header, which is at most 14.
		if n > 0 {
			want = n + int(h.Length) - len(p.frame)
		}
		if n > 0 && want == 0 {
			payload = p.frame[n:]
			p.frame = nil // The caller has it now; nothing is kept between messages.
			return h, payload, in, p.reads, nil
		}
		if len(in) == 0 {
			return h, nil, nil, 0, nil
		}
		want = min(want, len(in))
		have := len(p.frame)
		p.frame = append(p.frame, in[:want]...)
		in = in[want:]
		if n > 0 && !d.arrived(h, n, have) {
			return h, nil, nil, 0, errUTF8
		}
	}
}

// arrived unmasks what has come of an incomplete frame whose payload begins at n, from have
// on. It reports false if that is text which can't become UTF-8 any more: whoever sends a long
// message is told where it goes wrong, and not at its end.
func (d *Decoder) arrived(h ws.Header, n, have int) bool {
	more := d.partial.frame[have:]
	ws.Cipher(more, h.Mask, have-n)
	return !d.isText(h) || d.partial.text.take(more)
}

// isText reports whether a frame is a part of a text message.
func (d *Decoder) isText(h ws.Header) bool {
	return h.OpCode == ws.OpText || h.OpCode == ws.OpContinuation && d.partial.op == ws.OpText
}

var (
	errParts = &ProtocolError{protocol.CodeTooBig, "message comes in too many parts"}
	errUTF8  = &ProtocolError{protocol.CodeBadUTF8, "text is not valid UTF-8"}
)

func (d *Decoder) state() *partial {
	if d.partial == nil {
		d.partial = &partial{}
	}
	return d.partial
}

// header parses the header at the start of b and checks all that it can break. n is
// its size, 0 if it is not complete. h.Length is within the limits if n > 0.
func (d *Decoder) header(b []byte, lim *Limits) (h ws.Header, n int, err *ProtocolError) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.Fin = b[0]&finBit != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = ws.OpCode(b[0] & 0xf)
	h.Masked = b[1]&maskBit != 0
	size := b[1] &^ maskBit
	h.Length = int64(size) // For the check below, 126 and 127 are as good as what they stand for.
	state := ws.StateServerSide
	if d.partial != nil && d.partial.op != ws.OpContinuation {
		state |= ws.StateFragmented
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, 0, protocolError(err.Error())
	}
	n = 2
	switch size {
	case 126:
		if len(b) < 4 {
			return h, 0, nil
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		if h.Length < 126 {
			return h, 0, protocolError("frame length is not in its shortest form")
		}
		n = 4
	case 127:
		if len(b) < 10 {
			return h, 0, nil
		}
		length := binary.BigEndian.Uint64(b[2:])
		if length>>63 != 0 {
			return h, 0, protocolError("the top bit of the frame length must be 0")
		}
		if length < 1<<16 {
			return h, 0, protocolError("frame length is not in its shortest form")
		}
		h.Length = int64(length)
		n = 10
	}
	if !h.OpCode.IsControl() {
		have := 0
		if d.partial != nil {
			have = len(d.partial.message)
		}
		// have is at most lim.Message, so the difference can't overflow.
		if h.Length > int64(lim.Message-have) {
			return h, 0, &ProtocolError{protocol.CodeTooBig, "message is too big"}
		}
		if h.OpCode == ws.OpBinary && !lim.Binary {
			return h, 0, &ProtocolError{protocol.CodeUnsupported, "binary messages are not taken here"}
		}
	}
	if len(b) < n+4 {
		return h, 0, nil
	}
	copy(h.Mask[:], b[n:])
	return h, n + 4, nil
}

// take acts on one whole, unmasked frame that came in some reads. Its text was looked at.
func (d *Decoder) take(h ws.Header, payload []byte, reads int, lim *Limits) (ev Event, err *ProtocolError) {
	ev = Event{Kind: kindOf[h.OpCode], Parts: reads, Payload: payload}
	switch p := d.partial; {
	case h.OpCode.IsControl():
		if p != nil && p.op == ws.OpContinuation {
			d.partial = nil // It came in pieces, and not amid a message.
		}
		if h.OpCode == ws.OpClose {
			ev.Code, err = checkClose(payload)
		}
		return ev, err
	case h.Fin && h.OpCode != ws.OpContinuation:
		if p != nil && p.text.cut() {
			return Event{}, errUTF8
		}
		d.partial = nil
		return ev, nil
	}
	p := d.state()
	if h.OpCode != ws.OpContinuation {
		p.op = h.OpCode
	}
	p.message = append(p.message, payload...)
	p.parts += reads
	if spare := h.Fin && len(payload) == 0; !spare || reads > 1 {
		if !spare {
			p.fragments++
		}
		switch {
		case p.fragments > lim.Fragments:
			return Event{}, &ProtocolError{protocol.CodeTooBig, "message has too many fragments"}
		case lim.Parts > 0 && p.parts > lim.Parts:
			return Event{}, errParts
		}
	}
	if !h.Fin {
		return Event{}, nil
	}
	d.partial = nil
	if p.text.cut() { // RFC 6455, 8.1.
		return Event{}, errUTF8
	}
	return Event{Kind: kindOf[p.op], Parts: p.parts, Payload: p.message}, nil
}

var kindOf = [16]Kind{ws.OpText: Text, ws.OpBinary: Binary, ws.OpPing: Ping, ws.OpPong: Pong, ws.OpClose: Close}

// AppendFrame appends one unmasked, final frame (RFC 6455, 5.2).
func AppendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, finBit|byte(op), byte(n))
	case n < 1<<16:
		dst = append(dst, finBit|byte(op), 126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, finBit|byte(op), 127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return append(dst, payload...)
}

// AppendMessage appends a message of kind [Text] or [Binary] as one frame.
func AppendMessage(dst []byte, kind Kind, payload []byte) []byte {
	if kind == Binary {
		return AppendFrame(dst, ws.OpBinary, payload)
	}
	return AppendFrame(dst, ws.OpText, payload)
}

// AppendPong appends the answer to a ping: the same payload (RFC 6455, 5.5.3).
func AppendPong(dst, payload []byte) []byte { return AppendFrame(dst, ws.OpPong, payload) }

// AppendPing appends a ping without payload.
func AppendPing(dst []byte) []byte { return append(dst, finBit|byte(ws.OpPing), 0) }

// TextRoom is what [BeginText] leaves for a frame header: that of a payload of 126 to
// 65535 bytes, which the frames of a flush have. Others are moved once.
const TextRoom = 4

// BeginText opens a text frame at the end of dst. Append the payload to what it
// returns, then call [EndText] with len(dst) of before.
func BeginText(dst []byte) []byte {
	return append(dst, finBit|byte(ws.OpText), 126, 0, 0)
}

// EndText closes the text frame that was begun at start.
func EndText(dst []byte, start int) []byte {
	n := len(dst) - start - TextRoom
	switch {
	case n < 126:
		dst[start+1] = byte(n)
		copy(dst[start+2:], dst[start+TextRoom:])
		return dst[:len(dst)-2]
	case n < 1<<16:
		binary.BigEndian.PutUint16(dst[start+2:], uint16(n))
		return dst
	default:
		dst = append(dst, 0, 0, 0, 0, 0, 0)
		copy(dst[start+10:], dst[start+TextRoom:start+TextRoom+n])
		dst[start+1] = 127
		binary.BigEndian.PutUint64(dst[start+2:], uint64(n))
		return dst
	}
}
