// SPDX-License-Identifier: Apache-2.0

package resp

import (
	"bytes"
	"io"
)

// Kind is what Redis sends to a connection that subscribes: for what is pushed the word that
// it has for it.
type Kind string

const (
	Message  Kind = "message"
	PMessage Kind = "pmessage" // To a pattern.
	SMessage Kind = "smessage" // Of a cluster's shard.

	// These confirm commands, or tell of a subscription that was ended unasked.
	Subscribe    Kind = "subscribe"
	Unsubscribe  Kind = "unsubscribe"
	PSubscribe   Kind = "psubscribe"
	PUnsubscribe Kind = "punsubscribe"
	SSubscribe   Kind = "ssubscribe"
	SUnsubscribe Kind = "sunsubscribe"

	// Pong is the answer to a ping. While nothing is subscribed, Redis gives it as a plain
	// reply.
	Pong Kind = "pong"
	// OK is a plain reply, the answer to AUTH and its like.
	OK Kind = "OK"
	// Refusal is an error in place of an answer.
	Refusal Kind = "error"
)

// Event is one thing that Redis has sent. Its slices are parts of the reader's buffer, and
// valid until the next call of [Reader.Next].
type Event struct {
	Kind Kind
	// Channel is that of a message or a confirmation. It is nil for a message to a channel
	// whose name is longer than NameMax.
	Channel []byte
	// Pattern is what a message of the kind PMessage came by.
	Pattern []byte
	// Payload is that of a message or a pong, and the text of a refusal. It is nil if it was
	// not kept.
	Payload []byte
	// Skipped is the length of the payload if it is longer than the reader keeps.
	Skipped int64
	// Count is how many subscriptions the connection has behind a confirmation.
	Count int64
}

const (
	// NameMax bounds the name of a channel or a pattern. Those of ours are a topic, 64
	// bytes, and what is around it by configuration. A pattern may match longer ones, whose
	// messages are skipped.
	NameMax = 2 << 10
	// payloadMax is what Redis itself takes at most (proto-max-bulk-len). More is not
	// skipped, but an [Error].
	payloadMax = 512 << 20
	// wordMax is above the words for what is pushed.
	wordMax = 16
	// bufferSize makes reads large: at a high rate, one of them brings hundreds of
	// messages. It is far above the longest event that is kept.
	bufferSize = 64 << 10
	// idleReads is how often a source may bring neither a byte nor an error.
	idleReads = 100
)

// Reader reads what Redis pushes. It allocates nothing but its buffer. A payload that is
// longer than it keeps is skipped as it comes, because anybody may publish it, and
// everything that Redis would not send is an [Error]. Behind an error it is of no use.
type Reader struct {
	src        io.Reader
	keep       int // Payloads up to this length are kept.
	buf        []byte
	start, end int // What of buf was read and not taken.

	skip int64 // Bytes of a bulk that are to be skipped.
	tail bool  // Then its CR and LF.
	rest int   // Bulks that are to be skipped then.
}

// NewReader returns a reader that keeps payloads of up to keep bytes.
func NewReader(src io.Reader, keep int) *Reader {
	if keep > bufferSize/2 {
		panic("resp: payloads to keep are longer than half of the reader's buffer")
	}
	return &Reader{src: src, keep: keep, buf: make([]byte, bufferSize)}
}

// errShort says that more bytes are needed.
var errShort error = &Error{What: "the end is missing"}

// Next returns the next event. It reads from the source only if it holds none.
func (r *Reader) Next() (e Event, err error) {
	for {
		if r.tail || r.rest > 0 {
			err = r.discard()
		}
		if err == nil {
			e, err = r.event(r.buf[r.start:r.end])
		}
		if err != errShort {
			return e, err
		}
		if err = r.fill(); err != nil {
			return Event{}, err
		}
	}
}

// fill reads once, behind what is left.
func (r *Reader) fill() error {
	r.end = copy(r.buf, r.buf[r.start:r.end])
	r.start = 0
	if r.end == len(r.buf) {
		panic("resp: an event is longer than the reader's buffer")
	}
	for range idleReads {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		if n > 0 { // An error comes again.
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// discard skips what is left of a message that is not kept.
func (r *Reader) discard() error {
	for {
		n := int(min(r.skip, int64(r.end-r.start)))
		r.start += n
		if r.skip -= int64(n); r.skip > 0 {
			return errShort
		}
		b := r.buf[r.start:r.end]
		if r.tail {
			if len(b) < 2 {
				return errShort
			}
			if b[0] != '\r' || b[1] != '\n' {
				return bad(b, "a bulk that is longer than its length")
			}
			r.start += 2
			r.tail = false
		}
		if r.rest == 0 {
			return nil
		}
		size, at, err := header(r.buf[r.start:r.end], 0, '$', payloadMax)
		if err != nil {
			return err
		}
		r.start += at
		r.skip, r.tail, r.rest = int64(size), true, r.rest-1
	}
}

// skipping has a bulk skipped whose text begins at an offset, and some bulks behind it.
func (r *Reader) skipping(at, size, rest int) {
	r.start += at
	r.skip, r.tail, r.rest = int64(size), true, rest
}

// taken has the next event begin at an offset.
func (r *Reader) taken(e Event, at int) (Event, error) {
	r.start += at
	return e, nil
}

// event takes the event that b begins with. It takes nothing if the error is errShort.
func (r *Reader) event(b []byte) (e Event, err error) {
	if len(b) == 0 {
		return e, errShort
	}
	switch b[0] {
	case '*':
		return r.pushed(b)
	case '+', '-':
		text, at, err := textLine(b)
		if err != nil {
			return e, err
		}
		e.Kind, e.Payload = OK, text
		switch {
		case b[0] == '-':
			e.Kind = Refusal
		case string(text) == "PONG":
			e.Kind = Pong
		case string(text) != "OK":
			return e, bad(b, "an unknown answer")
		}
		return r.taken(e, at)
	case '$':
		e.Kind = Pong
		var at int
		if e.Payload, at, err = bulk(b, 0, NameMax); err != nil {
			return e, err
		}
		return r.taken(e, at)
	}
	return e, bad(b, "an unknown type of message")
}

// plainMessage is how nearly every event begins.
const plainMessage = "*3\r\n$7\r\nmessage\r\n"

// pushed takes an array.
func (r *Reader) pushed(b []byte) (e Event, err error) {
	if len(b) >= len(plainMessage) && string(b[:len(plainMessage)]) == plainMessage {
		e.Kind = Message
		return r.message(e, b, len(plainMessage))
	}
	count, at, err := header(b, 0, '*', 4)
	if err != nil {
		return e, err
	}
	if count < 2 {
		return e, bad(b, "a message of less than 2 parts")
	}
	word, at, err := bulk(b, at, wordMax)
	if err != nil {
		return e, err
	}
	parts := 3
	switch Kind(word) {
	case Message:
		e.Kind = Message
	case SMessage:
		e.Kind = SMessage
	case PMessage:
		e.Kind, parts = PMessage, 4
	case Pong:
		e.Kind, parts = Pong, 2
	case Subscribe:
		e.Kind = Subscribe
	case Unsubscribe:
		e.Kind = Unsubscribe
	case PSubscribe:
		e.Kind = PSubscribe
	case PUnsubscribe:
		e.Kind = PUnsubscribe
	case SSubscribe:
		e.Kind = SSubscribe
	case SUnsubscribe:
		e.Kind = SUnsubscribe
	default:
		return e, bad(b, "an unknown kind of message")
	}
	if count != parts {
		return e, bad(b, "a message with another number of parts than its kind has")
	}
	switch e.Kind {
	case Message, SMessage:
		return r.message(e, b, at)
	case PMessage:
		if e.Pattern, at, err = bulk(b, at, NameMax); err != nil {
			return e, err
		}
		return r.message(e, b, at)
	case Pong:
		e.Payload, at, err = bulk(b, at, NameMax)
	default:
		var n int
		if e.Channel, at, err = bulk(b, at, NameMax); err == nil {
			n, at, err = header(b, at, ':', subscriptionsMax)
			e.Count = int64(n)
		}
	}
	if err != nil {
		return e, err
	}
	return r.taken(e, at)
}

// subscriptionsMax is above the number of subscriptions that a connection can have.
const subscriptionsMax = 1<<31 - 1

// message takes the channel and the payload of a message, which are at an offset.
func (r *Reader) message(e Event, b []byte, at int) (Event, error) {
	size, at, err := header(b, at, '$', payloadMax)
	if err != nil {
		return e, err
	}
	if size > NameMax {
		r.skipping(at, size, 1)
		return e, nil
	}
	channel, at, err := body(b, at, size)
	if err != nil {
		return e, err
	}
	e.Channel = channel
	if size, at, err = header(b, at, '$', payloadMax); err != nil {
		return e, err
	}
	if size > r.keep {
		r.skipping(at, size, 0)
		e.Skipped = int64(size)
		return e, nil
	}
	if e.Payload, at, err = body(b, at, size); err != nil {
		return e, err
	}
	return r.taken(e, at)
}

// digitsMax is how many digits a number has at most, zeros in front included.
const digitsMax = 10

// header reads a line of a kind at an offset that holds a number, and nothing below 0 or
// above most. It returns the offset behind it.
func header(b []byte, at int, kind byte, most int) (n, next int, err error) {
	if at == len(b) {
		return 0, 0, errShort
	}
	if b[at] != kind {
		return 0, 0, bad(b, "another type than the one that is due")
	}
	for i := at + 1; i < len(b); i++ {
		c := b[i]
		if d := c - '0'; d <= 9 {
			if n = 10*n + int(d); n > most || i > at+digitsMax {
				return 0, 0, bad(b, "a number that is too great")
			}
			continue
		}
		if c != '\r' || i == at+1 {
			return 0, 0, bad(b, "a length or a count that is none")
		}
		if i+1 == len(b) {
			return 0, 0, errShort
		}
		if b[i+1] != '\n' {
			return 0, 0, bad(b, "a line without LF")
		}
		return n, i + 2, nil
	}
	return 0, 0, errShort
}

// bulk reads a bulk at an offset, of at most so many bytes.
func bulk(b []byte, at, most int) (text []byte, next int, err error) {
	size, at, err := header(b, at, '$', most)
	if err != nil {
		return nil, 0, err
	}
	return body(b, at, size)
}

// body reads the text of a bulk at an offset.
func body(b []byte, at, size int) (text []byte, next int, err error) {
	end := at + size
	if len(b) < end+2 {
		return nil, 0, errShort
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return nil, 0, bad(b, "a bulk that is longer than its length")
	}
	return b[at:end:end], end + 2, nil
}

// textLine reads a simple string or an error.
func textLine(b []byte) (text []byte, next int, err error) {
	end := bytes.IndexByte(b, '\r')
	switch {
	case end > LineMax, end < 0 && len(b) > LineMax:
		return nil, 0, bad(b, "a line that is too long")
	case end < 0 && bytes.IndexByte(b, '\n') >= 0, end >= 0 && bytes.IndexByte(b[:end], '\n') >= 0:
		return nil, 0, bad(b, "a line without CR")
	case end < 0, end+1 == len(b):
		return nil, 0, errShort
	case b[end+1] != '\n':
		return nil, 0, bad(b, "a line without LF")
	}
	return b[1:end:end], end + 2, nil
}

func bad(b []byte, what string) error { return &Error{What: what, Near: quote(b)} }
