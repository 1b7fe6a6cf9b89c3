// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Opcodes of RFC 6455, section 5.2, spelled out so that the tests' frames share no
// code with the packages under test.
const (
	opCont   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// frame is one final, masked frame of a client.
func frame(op byte, payload string) []byte { return rawFrame(0x80|op, true, payload) }

// fragment is a masked frame after which more of its message follows.
func fragment(op byte, payload string) []byte { return rawFrame(op, true, payload) }

// rawFrame is a frame with any first byte.
func rawFrame(b0 byte, masked bool, payload string) []byte {
	maskBit := byte(0)
	if masked {
		maskBit = 0x80
	}
	out := []byte{b0}
	switch n := len(payload); {
	case n < 126:
		out = append(out, maskBit|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, maskBit|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, maskBit|127), uint64(n))
	}
	if !masked {
		return append(out, payload...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	out = append(out, key[:]...)
	for i := range len(payload) {
		out = append(out, payload[i]^key[i%4])
	}
	return out
}

func closeFrame(code uint16, reason string) []byte {
	return frame(opClose, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func command(format string, args ...any) []byte { return frame(opText, fmt.Sprintf(format, args...)) }

func subscribe(names ...string) []byte {
	list, _ := json.Marshal(names)
	return command(`{"op":"subscribe","topics":%s}`, list)
}

// upgradeRequest opens the WebSocket. query begins with a question mark or is empty.
func upgradeRequest(query string) string {
	return "GET /ws" + query + " HTTP/1.1\r\nHost: edge.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// upgradeWith is the same with more fields.
func upgradeWith(query string, fields ...string) string {
	return strings.Replace(upgradeRequest(query), "\r\n\r\n", "\r\n"+strings.Join(append(fields, "\r\n"), "\r\n"), 1)
}

// acceptSample is the answer to the key above, from RFC 6455, section 1.3.
const acceptSample = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

// raw is a client that sends whatever a test wants and does nothing by itself. The
// methods with a test fail it; the others may be used from any goroutine.
type raw struct {
	t testing.TB // nil if the methods that need one must not be called.
	*net.TCPConn
	br *bufio.Reader
}

// connect opens a connection on which everything must be over in the time given.
func connect(addr net.Addr, atMost time.Duration) (*raw, error) {
	return connectFrom("", addr, atMost)
}

// connectFrom does so from one of this host's addresses, any if it is empty.
func connectFrom(source string, addr net.Addr, atMost time.Duration) (*raw, error) {
	dialer := net.Dialer{Timeout: atMost}
	if source != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	nc, err := dialer.Dial("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(atMost))
	return &raw{TCPConn: nc.(*net.TCPConn), br: bufio.NewReader(nc)}, nil
}

// dialRaw opens a connection that is closed with the test at the latest.
func dialRaw(t testing.TB, addr net.Addr) *raw {
	t.Helper()
	return dialFrom(t, "", addr)
}

// dialFrom does so from one of this host's addresses.
func dialFrom(t testing.TB, source string, addr net.Addr) *raw {
	t.Helper()
	c, err := connectFrom(source, addr, 3*patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	c.t = t
	return c
}

func (c *raw) close() { _ = c.Close() }

// reset closes the connection with an RST.
func (c *raw) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func (c *raw) send(parts ...[]byte) {
	c.t.Helper()
	for _, p := range parts {
		if _, err := c.Write(p); err != nil {
			c.t.Fatalf("send: %v", err)
		}
	}
}

// handshake sends a request and reads the 101, and not a byte more.
func (c *raw) handshake(query string) error {
	if _, err := io.WriteString(c.TCPConn, upgradeRequest(query)); err != nil {
		return err
	}
	return c.switched()
}

// switched reads the 101.
func (c *raw) switched() error {
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-Websocket-Accept") != acceptSample {
		return fmt.Errorf("answered with %s %v", res.Status, res.Header)
	}
	return nil
}

// upgrade opens the WebSocket and reads the hello and, if query has topics, their ack.
func (c *raw) upgrade(query string) *raw {
	c.t.Helper()
	if err := c.handshake(query); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.want("hello")
	if strings.Contains(query, "topics=") {
		c.want("ack")
	}
	return c
}

// next reads one frame, of which everything must be as a server sends it.
func (c *raw) next() (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c.br, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("a server's frame begins with % x", head)
	}
	size := uint64(head[1])
	if size > 125 {
		long := make([]byte, map[uint64]int{126: 2, 127: 8}[size])
		if _, err := io.ReadFull(c.br, long); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(append(make([]byte, 8-len(long)), long...))
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.br, payload)
	return head[0] & 0xf, payload, err
}

// message is any message of the server.
type message struct {
	T         string          `json:"t"`
	ID        json.RawMessage `json:"id"`
	Conn      string          `json:"conn"`
	Interval  int             `json:"interval"`
	MaxTopics int             `json:"max_topics"`
	Topics    json.RawMessage `json:"topics"`
	Rejected  []struct {
		Topic  string
		Index  int
		Code   int
		Reason string
	} `json:"rejected"`
	Resumed json.RawMessage `json:"resumed"`
	Token   string          `json:"token"`
	Code    int             `json:"code"`
	Reason  string          `json:"reason"`
	RetryMS int             `json:"retry_ms"`
	TS      int64           `json:"ts"`
	Text    string          `json:"text"`
	Rows    []row           `json:"d"`
}

type row struct {
	S string          `json:"s"`
	N uint64          `json:"n"`
	V json.RawMessage `json:"v"`
}

// read returns the next message. A close frame is an error.
func (c *raw) read() (m message, err error) {
	op, payload, err := c.next()
	switch {
	case err != nil:
		return m, err
	case op == opClose && len(payload) >= 2:
		return m, closedWith{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
	case op != opText:
		return m, fmt.Errorf("got a frame of op %#x with %q", op, payload)
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return m, fmt.Errorf("%w in %q", err, payload)
	}
	return m, nil
}

type closedWith struct {
	code   int
	reason string
}

func (e closedWith) Error() string { return fmt.Sprintf("closed with %d %s", e.code, e.reason) }

// want reads the next message, which must be of a type.
func (c *raw) want(kind string) message {
	c.t.Helper()
	m, err := c.read()
	if err != nil || m.T != kind {
		c.t.Fatalf("got %+v (%v), want %s", m, err, kind)
	}
	return m
}

// rows reads snapshots and updates until all of so many topics have come, and returns how
// many messages of other kinds came between.
func (c *raw) rows(topics int) (others map[string]int) {
	c.t.Helper()
	others, err := c.tryRows(topics)
	if err != nil {
		c.t.Fatal(err)
	}
	return others
}

// tryRows is rows of a client that may be sent away.
func (c *raw) tryRows(topics int) (others map[string]int, err error) {
	others = make(map[string]int)
	for seen := make(map[string]bool); len(seen) < topics; {
		m, err := c.read()
		if err != nil && strings.Contains(err.Error(), "op 0xa") {
			continue // A pong may come or not.
		}
		if err != nil {
			return nil, fmt.Errorf("%w after rows of %d topics, want %d", err, len(seen), topics)
		}
		if m.T != "snapshot" && m.T != "update" {
			others[m.T]++
		}
		for _, r := range m.Rows {
			seen[r.S] = true
		}
	}
	return others, nil
}

// behindUpdates skips updates, and that they are slowed down, and returns what comes behind
// them.
func (c *raw) behindUpdates() (m message, err error) {
	for m.T = "update"; (m.T == "update" || m.T == "interval") && err == nil; {
		m, err = c.read()
	}
	return m, err
}

// wantFrame reads the next frame.
func (c *raw) wantFrame(op byte, payload string) {
	c.t.Helper()
	gotOp, got, err := c.next()
	if err != nil || gotOp != op || string(got) != payload {
		c.t.Fatalf("got op %#x with %q (%v), want op %#x with %q", gotOp, got, err, op, payload)
	}
}

// wantClose reads a close frame.
func (c *raw) wantClose(code int) {
	c.t.Helper()
	m, err := c.read()
	var cl closedWith
	if !errors.As(err, &cl) || cl.code != code {
		c.t.Fatalf("got %+v (%v), want a close frame with %d", m, err, code)
	}
}

// wantBye reads a bye and the close frame after it.
func (c *raw) wantBye(code int) message {
	c.t.Helper()
	m := c.want("bye")
	if m.Code != code {
		c.t.Fatalf("bye with %d, want %d", m.Code, code)
	}
	c.wantClose(code)
	return m
}

// wantEOF checks that the server has closed its side, with nothing more before it.
func (c *raw) wantEOF() {
	c.t.Helper()
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("got %q (%v), want the end (a FIN)", b, err)
	}
}

// wantReset reads to the end, which must be an RST.
func (c *raw) wantReset() {
	c.t.Helper()
	if n, err := io.Copy(io.Discard, c.br); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("after %d more bytes: %v, want a reset", n, err)
	}
}

// conforming opens a connection with a client that we did not write.
func conforming(t testing.TB, e *edge, query string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, res, err := websocket.Dial(ctx, "ws://"+e.Addr().String()+"/ws"+query, nil)
	if err != nil {
		t.Fatalf("dial: %v (%+v)", err, res)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// say sends a command through a conforming client.
func say(t testing.TB, c *websocket.Conn, format string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		t.Fatal(err)
	}
}

// hear reads the next message of a conforming client, which must be of a type.
func hear(t testing.TB, c *websocket.Conn, kind string) message {
	t.Helper()
	m := hearAny(t, c)
	if m.T != kind {
		t.Fatalf("got %+v, want %s", m, kind)
	}
	return m
}

func hearAny(t testing.TB, c *websocket.Conn) (m message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	op, payload, err := c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(payload, &m)
	}
	if err != nil || op != websocket.MessageText {
		t.Fatalf("got %s (%v)", payload, err)
	}
	return m
}

// hearClose reads the close frame that a conforming client gets next.
func hearClose(t testing.TB, c *websocket.Conn, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, payload, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusCode(code) {
		t.Fatalf("got %s (%v), want close %d", payload, err, code)
	}
}

func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return list
}

// longNames are of the greatest length that a topic may have.
func longNames(n int) []string {
	list := names("", n)
	for i, s := range list {
		list[i] = strings.Repeat("x", 64-len(s)) + s
	}
	return list
}
