// SPDX-License-Identifier: Apache-2.0

// Package fakeedge is a server for the tests of bench. Clean speaks docs/PROTOCOL.md,
// Scripted does whatever a test wants to see noticed.
package fakeedge

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/wire"
)

const wait = 30 * time.Second // For everything that a test waits for.

// Hello is a clean first message.
const Hello = `{"t":"hello","v":1,"conn":"7f3a91c2","interval":500,"heartbeat":20000,"max_topics":256}`

// Ack is a clean answer to a subscribe with id 1.
func Ack(topics int) string {
	return fmt.Sprintf(`{"t":"ack","id":1,"op":"subscribe","topics":%d}`, topics)
}

// Rows is a snapshot or update with one row, n, for each of topics. Its values are
// age old.
func Rows(kind string, topics []string, n int, age time.Duration) string {
	var b strings.Builder
	now := time.Now()
	fmt.Fprintf(&b, `{"t":"%s","ts":%d,"d":[`, kind, now.UnixMilli())
	for i, topic := range topics {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"s":"%s","n":%d,"v":{"p":189.87,"ts":%d}}`, topic, n, now.Add(-age).UnixMilli())
	}
	b.WriteString("]}")
	return b.String()
}

// Clean starts a server that acks the first command of every conn, sends a snapshot,
// and then an update every window, with values that are age old.
func Clean(t testing.TB, window, age time.Duration) netip.AddrPort {
	return Scripted(t, func(c *Conn) {
		topics := c.Open()
		c.Text(Rows("snapshot", topics, 1, time.Hour))
		tick := time.NewTicker(window)
		defer tick.Stop()
		for n := 2; c.err == nil; n++ {
			<-tick.C
			c.Text(Rows("update", topics, n, age))
		}
	})
}

func subscribed(msg []byte) ([]string, error) {
	var cmd struct {
		Op     string   `json:"op"`
		Topics []string `json:"topics"`
		ID     int      `json:"id"`
	}
	if err := json.Unmarshal(msg, &cmd); err != nil || cmd.Op != "subscribe" || cmd.ID != 1 {
		return nil, fmt.Errorf("not the expected subscribe: %.100q (%v)", msg, err)
	}
	return cmd.Topics, nil
}

// Conn is the server's end of a conn of Scripted. Writes to a conn that is gone are
// no errors.
type Conn struct {
	t    testing.TB
	net  net.Conn
	in   *bufio.Reader
	err  error // Of the first write that failed.
	Head *http.Request
}

// Scripted starts a server that calls script for each conn, before the handshake is
// answered. The conn is closed when script returns.
func Scripted(t testing.TB, script func(*Conn)) netip.AddrPort {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("fakeedge: hijack: %v", err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(wait))
		script(&Conn{t: t, net: c, in: rw.Reader, Head: r})
	})
}

// serve starts a server that the test's end takes down, conns included.
func serve(t testing.TB, h http.HandlerFunc) netip.AddrPort {
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

// Raw writes bytes as they are.
func (c *Conn) Raw(s string) {
	if c.err == nil {
		_, c.err = io.WriteString(c.net, s)
	}
}

// Accept answers the handshake and sends what follows in the same segment.
func (c *Conn) Accept(follows string) {
	sum := acceptOf(c.Head)
	c.Raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + sum + "\r\n\r\n" + follows)
}

// Open does all that a clean server does up to the ack, and returns the topics.
func (c *Conn) Open() []string {
	c.Accept(Frame(wire.OpText, Hello))
	topics := c.Subscribe()
	c.Text(Ack(len(topics)))
	return topics
}

// Stream answers a request for events up to the ack, and returns the topics.
func (c *Conn) Stream() []string {
	c.Raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1500\n\n")
	c.Event("hello", Hello)
	topics := strings.Split(c.Head.URL.Query().Get("topics"), ",")
	c.Event("ack", fmt.Sprintf(`{"t":"ack","op":"subscribe","topics":%d}`, len(topics)))
	return topics
}

// Event sends a message as an event of a name.
func (c *Conn) Event(name, s string) { c.Raw("data: " + s + "\nevent: " + name + "\nid: x\n\n") }

// Text sends a text frame.
func (c *Conn) Text(s string) { c.Raw(Frame(wire.OpText, s)) }

// Close sends a close frame.
func (c *Conn) Close(code uint16, reason string) {
	c.Raw(Frame(wire.OpClose, string(binary.BigEndian.AppendUint16(nil, code))+reason))
}

// Reset ends the conn with a RST.
func (c *Conn) Reset() {
	_ = c.net.(*net.TCPConn).SetLinger(0)
	_ = c.net.Close()
}

// Subscribe reads the subscribe and returns its topics.
func (c *Conn) Subscribe() []string {
	_, msg, err := c.Read()
	if err != nil {
		return nil
	}
	topics, err := subscribed(msg)
	if err != nil {
		c.t.Errorf("fakeedge: %v", err)
	}
	return topics
}

// Read reads one frame, which has to be masked.
func (c *Conn) Read() (wire.Op, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	if head[1]&0x80 == 0 {
		c.t.Errorf("fakeedge: frame is not masked")
		return 0, nil, errors.New("not masked")
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(c.in, long[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	body := make([]byte, 4+n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, err
	}
	key, payload := body[:4], body[4:]
	for i := range payload {
		payload[i] ^= key[i&3]
	}
	return wire.Op(head[0] & 0x0f), payload, nil
}

// Gone waits until the client has closed.
func (c *Conn) Gone() {
	for {
		if _, _, err := c.Read(); err != nil {
			return
		}
	}
}

// Frame is a server frame with the shortest length that fits.
func Frame(op wire.Op, payload string) string {
	b := []byte{0x80 | byte(op)}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return string(append(b, payload...))
}

// acceptOf is computed without package wire, whose own computation is being tested.
func acceptOf(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
