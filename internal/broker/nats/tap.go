// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tapBuffer is how much is read at once. It has room for a line and a value that is taken as a whole.
	tapBuffer = 64 << 10
	// lineMax bounds the line before a message: a subject, a reply subject and numbers.
	lineMax = 8 << 10
	// tapMark stands before the numbers of the tap's own subscriptions, which nats.go never sees. The ids
	// of a client are any text to a server.
	tapMark = 't'
)

// errWire is for what no NATS server sends.
var errWire = errors.New("the server sends what is no NATS")

// wireMessage is a message of a subscription of the tap. All of it is parts of a buffer, good until take
// returns.
type wireMessage struct {
	sub     int  // Number of the subscription.
	fresh   bool // It is the first since something was read.
	subject []byte
	reply   []byte
	header  []byte // With its first line; nil if there is none, or it is longer than tapBuffer.
	payload []byte // Its beginning, if size is more.
	size    int64  // Of the whole payload, and of a header that is too long.
}

// tap is a connection that nats.go reads from and writes to, from which the messages of some
// subscriptions are taken before nats.go reads them. nats.go takes 1.4 to 2.5 µs, three allocations and a
// hand-over between goroutines for a message, and 500 bytes for a subscription; the tap takes 0.1 µs and
// nothing.
//
// All is in the order of the stream: take is called, on the goroutine by which nats.go reads, before a
// PONG that comes behind the message is read. While take takes its time nothing is read, and a server
// that has too much to write ends the connection. nats.go is to be told of no deadlines for reading.
type tap struct {
	net.Conn
	take atomic.Pointer[func(*wireMessage)] // Called by Read alone.
	said func(line []byte)                  // Is told of each error that the server sends, by Read alone; nil is nobody.

	in   []byte // Read, and not passed on yet: in[at:end].
	at   int
	end  int
	pass int  // Bytes that nats.go is to have as they are.
	line bool // What is passed on ends with the next end of a line.
	skip int  // Bytes that are left out: what was taken, and the rest of a long message.
	m    wireMessage

	reads   atomic.Bool   // nats.go reads what comes behind the greeting.
	timeout time.Duration // Of a write; 0 is none.
	mu      sync.Mutex    // Held while writing.
}

// newTap returns a connection for nats.go. conn is what it would have without, greeting included.
func newTap(conn net.Conn) *tap { return &tap{Conn: conn, in: make([]byte, tapBuffer)} }

// deliver says who takes messages. It is to be called before anything is subscribed.
func (t *tap) deliver(take func(*wireMessage)) { t.take.Store(&take) }

// Write implements net.Conn for nats.go, and is for commands about subscriptions of the tap. A write is of
// whole commands.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timeout > 0 {
		if err := t.Conn.SetWriteDeadline(time.Now().Add(t.timeout)); err != nil {
			return 0, err
		}
	}
	n, err := t.Conn.Write(p)
	if err != nil && !t.reads.Load() {
		err = t.lastWords(err)
	}
	return n, err
}

// lastWords is what the server has said before it ended a connection that nothing could be written to any more, or
// err. nats.go writes first, and would not read it.
func (t *tap) lastWords(err error) error {
	if t.Conn.SetReadDeadline(time.Now().Add(wordsWait)) != nil {
		return err
	}
	for at := t.end; t.end < len(t.in); {
		if line, _, ok := bytes.Cut(t.in[at:t.end], []byte("\r\n")); ok {
			if text, said := bytes.CutPrefix(line, []byte("-ERR ")); said {
				return fmt.Errorf("%w: %.200s", errRefused, bytes.Trim(text, "'"))
			}
			return err
		}
		n, readErr := t.Conn.Read(t.in[t.end:])
		t.end += n
		if n == 0 && readErr != nil {
			if op := (*net.OpError)(nil); errors.As(readErr, &op) && op.Op == "remote error" { // An alert of TLS.
				return readErr
			}
			return err
		}
	}
	return err
}

// wordsWait is how long a server that has ended a connection has to have said why.
const wordsWait = 100 * time.Millisecond

var errRefused = errors.New("the server has refused the connection")

// subscribe appends the command that subscribes to a subject, for Write.
func subscribe(p []byte, subject string, sub int) []byte {
	p = append(append(append(p, "SUB "...), subject...), ' ', tapMark)
	return append(strconv.AppendInt(p, int64(sub), 10), "\r\n"...)
}

// unsubscribe appends the command that ends a subscription, for Write.
func unsubscribe(p []byte, sub int) []byte {
	p = append(p, "UNSUB "...)
	return append(strconv.AppendInt(append(p, tapMark), int64(sub), 10), "\r\n"...)
}

// Read implements net.Conn for nats.go. It takes messages meanwhile.
func (t *tap) Read(p []byte) (int, error) {
	for {
		if n := t.passed(p); n > 0 || len(p) == 0 {
			return n, nil
		}
		if t.pass == 0 && !t.line {
			if err := t.next(); err != nil {
				return 0, err // The same is there the next time.
			}
			if t.pass > 0 || t.line {
				continue
			}
		}
		if t.at > 0 {
			t.end = copy(t.in, t.in[t.at:t.end])
			t.at = 0
		}
		t.reads.Store(true)
		n, err := t.Conn.Read(t.in[t.end:])
		t.end += n
		t.m.fresh = true
		if err != nil && n == 0 {
			return 0, err // It is told again by the next read.
		}
	}
}

// passed copies what nats.go is to have.
func (t *tap) passed(p []byte) int {
	left := t.in[t.at:t.end]
	if t.line {
		if i := bytes.IndexByte(left, '\n'); i >= 0 && i < len(p) {
			left, t.line = left[:i+1], false
		}
	} else {
		left = left[:min(len(left), t.pass)]
	}
	n := copy(p, left)
	t.at += n
	t.pass = max(0, t.pass-n)
	return n
}

// next takes all messages that are there as a whole, until something comes for nats.go.
func (t *tap) next() error {
	for {
		if t.skip > 0 {
			n := min(t.skip, t.end-t.at)
			t.skip, t.at = t.skip-n, t.at+n
		}
		left := t.in[t.at:t.end]
		if t.skip > 0 || len(left) == 0 {
			return nil
		}
		if left[0] != 'M' && left[0] != 'H' && (left[0] != '-' || t.said == nil) {
			t.line = true
			return nil
		}
		i := bytes.IndexByte(left, '\n')
		if i < 0 {
			if len(left) > lineMax {
				return fmt.Errorf("%w: a line of more than %d bytes", errWire, lineMax)
			}
			return nil
		}
		if left[0] == '-' {
			t.line = true
			t.said(left[:i])
			return nil
		}
		own, whole, header, err := t.parse(left[:i])
		if err != nil {
			return err
		}
		i++
		if !own {
			t.pass = i + whole + len("\r\n")
			return nil
		}
		if i+whole+len("\r\n") > len(left) && len(left) < len(t.in) {
			return nil // There is room for more of it.
		}
		body := left[i:min(len(left), i+whole)]
		switch {
		case header > len(body): // Too long to be looked at: all of it counts as value.
			t.m.header, t.m.payload, t.m.size = nil, nil, int64(whole)
		case header > 0:
			t.m.header, t.m.payload, t.m.size = body[:header], body[header:], int64(whole-header)
		default:
			t.m.header, t.m.payload, t.m.size = nil, body, int64(whole)
		}
		t.skip = i + whole + len("\r\n")
		take := t.take.Load()
		if take == nil {
			return fmt.Errorf("%w: a message that nobody has asked for", errWire)
		}
		(*take)(&t.m)
		t.m.fresh = false
	}
}

// parse reads the line of a message: MSG subject id [reply] size, or HMSG subject id [reply] header size,
// where size is that of all. own reports whether the tap takes it.
func (t *tap) parse(line []byte) (own bool, size, header int, err error) {
	bad := func() (bool, int, int, error) { return false, 0, 0, fmt.Errorf("%w: %.80q", errWire, line) }
	var words [6][]byte
	n := 0
	for rest := bytes.TrimSuffix(line, []byte("\r")); len(rest) > 0; n++ {
		if n == len(words) {
			return bad()
		}
		i := bytes.IndexByte(rest, ' ')
		if i < 0 {
			i = len(rest)
		}
		words[n] = rest[:i]
		rest = rest[min(i+1, len(rest)):]
	}
	numbers := 1
	switch string(words[0]) {
	case "MSG":
	case "HMSG":
		numbers = 2
	default:
		return bad()
	}
	if n != 3+numbers && n != 4+numbers {
		return bad()
	}
	size, ok := decimal(words[n-1])
	if numbers == 2 && ok {
		header, ok = decimal(words[n-2])
	}
	if !ok || header > size {
		return bad()
	}
	t.m.subject, t.m.reply = words[1], nil
	if n == 4+numbers {
		t.m.reply = words[3]
	}
	if id := words[2]; len(id) > 1 && id[0] == tapMark {
		if t.m.sub, ok = decimal(id[1:]); !ok {
			return bad()
		}
		own = true
	}
	return own, size, header, nil
}

// decimal reads a number below 10^9.
func decimal(text []byte) (n int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(text) > 0 && len(text) < 10
}
