// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests of this package follow the groups of Autobahn's test suite: 1 to 5 in
// frames_test.go, 6 in text_test.go, 7 in close_test.go, 9 in big_test.go. They talk to
// one server, as run starts it.

// patience is how long a test waits for what must happen soon.
const patience = 30 * time.Second

var addr string

func TestMain(m *testing.M) { os.Exit(withServer(m.Run)) }

// withServer runs the tests while a server runs, which must end well and say nothing but
// where it listens.
func withServer(tests func() int) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, stdout := io.Pipe()
	var stderr strings.Builder
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-listen", "127.0.0.1:0"}, stdout, &stderr)
		stdout.Close()
	}()
	line, _ := bufio.NewReader(out).ReadString('\n')
	if _, err := fmt.Sscanf(line, "echo: listening on %s", &addr); err != nil {
		fmt.Printf("the server says %q: %v\n", line, err)
		return 1
	}
	code := tests()
	cancel()
	if got := <-ended; got != exitGood || stderr.Len() > 0 {
		fmt.Printf("the server ended with %d and said %q\n", got, stderr.String())
		return 1
	}
	return code
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"-h", exitGood, "host:port"},
		{"-port 9001", exitUsage, "-listen"},
		{"9001", exitUsage, "echo -listen host:port"},
		{"-listen 9001", exitUsage, "-listen :9001"},
		{"-listen " + addr + "9", exitFailed, "listen"},
	} {
		var stdout, stderr strings.Builder
		code := run(context.Background(), strings.Fields(tt.args), &stdout, &stderr)
		said, silent := &stderr, &stdout
		if tt.code == exitGood {
			said, silent = &stdout, &stderr
		}
		if code != tt.code || !strings.Contains(said.String(), tt.says) || silent.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", tt.args, code, stdout.String(), stderr.String())
		}
	}
}

// Opcodes of RFC 6455, section 5.2, spelled out so that the tests' frames share no
// code with the server.
const (
	opCont   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// last is a final, masked frame, more one after which fragments follow.
func last(op byte, payload string) []byte { return frameOf(0x80|op, payload) }
func more(op byte, payload string) []byte { return frameOf(op, payload) }

// frameOf is a masked frame with any first byte.
func frameOf(b0 byte, payload string) []byte {
	out := []byte{b0}
	switch n := len(payload); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 0x80|127), uint64(n))
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	out = append(out, key[:]...)
	at := len(out)
	out = append(out, payload...)
	for i := range out[at:] {
		out[at+i] ^= key[i&3]
	}
	return out
}

func closing(code int, reason string) []byte { return last(opClose, closeBody(code, reason)) }

func closeBody(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// client is a raw connection whose frames a test writes itself.
type client struct {
	*net.TCPConn
	br *bufio.Reader
}

func dial(t testing.TB) *client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(2 * patience))
	c := &client{nc.(*net.TCPConn), bufio.NewReaderSize(nc, 64<<10)}
	// Extensions and sub-protocols are offered, and none is taken (RFC 6455, 9.1 and 1.9).
	_, err = io.WriteString(c, "GET /any/path?interval=x HTTP/1.1\r\nHost: echo.example\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
		res.Header.Get("Sec-Websocket-Extensions") != "" || res.Header.Get("Sec-Websocket-Protocol") != "" {
		t.Fatalf("answered with %s %v", res.Status, res.Header)
	}
	return c
}

// next reads one frame and shows it. Only what RFC 6455 lets a server send is shown.
func (c *client) next() string {
	var head [2]byte
	if _, err := io.ReadFull(c.br, head[:]); err != nil {
		if err == io.EOF {
			return "end"
		}
		return err.Error()
	}
	name := map[byte]string{0x80 | opText: "text", 0x80 | opBinary: "binary", 0x80 | opClose: "close", 0x80 | opPing: "ping", 0x80 | opPong: "pong"}[head[0]]
	if name == "" || head[1]&0x80 != 0 {
		return fmt.Sprintf("a frame that begins with % x", head)
	}
	size := uint64(head[1])
	if size > 125 {
		long := make([]byte, map[uint64]int{126: 2, 127: 8}[size])
		if _, err := io.ReadFull(c.br, long); err != nil {
			return err.Error()
		}
		size = binary.BigEndian.Uint64(append(make([]byte, 8-len(long)), long...))
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.br, payload); err != nil {
		return err.Error()
	}
	if name == "close" {
		if len(payload) == 0 {
			return "close"
		}
		return fmt.Sprintf("close %d", binary.BigEndian.Uint16(payload)) // The reason is ours.
	}
	return name + " " + show(string(payload))
}

// show names a payload: itself if it is short.
func show(p string) string {
	if len(p) > 200 {
		return fmt.Sprintf("%d bytes, crc %08x", len(p), crc32.ChecksumIEEE([]byte(p)))
	}
	return fmt.Sprintf("%q", p)
}

// wants reads frames, and the end if that is the last one wanted.
func (c *client) wants(t testing.TB, want ...string) {
	t.Helper()
	for i, w := range want {
		got := c.next()
		// Who goes on sending after its close frame may meet a reset behind ours: that is
		// what the kernel says to bytes for a socket that is closed.
		if w == "end" && strings.HasSuffix(got, syscall.ECONNRESET.Error()) {
			got = w
		}
		if got != w {
			t.Fatalf("frame %d is %s, want %s", i, got, w)
		}
	}
}

// exchange is what a client sends, frame by frame, and what comes back.
type exchange struct {
	name string
	send [][]byte
	want []string
}

// failed ends a conn that broke a rule, good one that did not.
func failed(code int, before ...string) []string {
	return append(before, fmt.Sprintf("close %d", code), "end")
}

// run makes the exchange three times, each on a connection of its own: in one write,
// frame by frame, and octet by octet. If it does not end in a close, the client closes.
func (x exchange) run(t *testing.T) {
	send, want := x.send, x.want
	if len(want) == 0 || want[len(want)-1] != "end" {
		send = append(send[:len(send):len(send)], closing(1000, ""))
		want = append(want[:len(want):len(want)], "close 1000", "end")
	}
	whole := bytes.Join(send, nil)
	var octets [][]byte
	if len(whole) < 2000 {
		for i := range whole {
			octets = append(octets, whole[i:i+1])
		}
	}
	t.Run(x.name, func(t *testing.T) {
		for _, writes := range [][][]byte{{whole}, send, octets} {
			if len(writes) == 0 {
				continue
			}
			c := dial(t)
			go func() {
				for _, w := range writes {
					if _, err := c.Write(w); err != nil {
						return // It was closed, and the test sees why.
					}
				}
			}()
			c.wants(t, want...)
			if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
}
