// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"

	"tickedge/internal/httphead"
	"tickedge/internal/protocol"
)

// echo is the smallest server that the package makes: it answers the handshake, sends
// every message back, and reads n bytes at a time. It returns when the conn is over.
func echo(conn net.Conn, n int) (closed Event, err error) {
	defer conn.Close()
	var b []byte
	buf := make([]byte, n)
	for head := 0; head == 0; {
		seen := len(b)
		got, err := conn.Read(buf)
		if err != nil {
			return closed, err
		}
		b = append(b, buf[:got]...)
		var r *httphead.Refusal
		if head, r = httphead.Head(b, seen, 8<<10); head > 0 {
			var req httphead.Request
			if req, r = httphead.ParseRequest(b[:head]); r == nil {
				r = CheckUpgrade(&req)
			}
			if r == nil {
				_, err = conn.Write(AppendUpgrade(nil, &req, ""))
				b = b[head:]
			}
		}
		if r != nil {
			_, err = conn.Write(r.Append(nil))
			return closed, err
		}
		if err != nil {
			return closed, err
		}
	}
	var d Decoder
	for {
		for left := b; ; {
			ev, rest, failed := d.Next(left, roomyBinary)
			var out []byte
			switch {
			case failed != nil:
				_, err = conn.Write(AppendClose(nil, failed.Code, failed.Reason))
				return closed, failed
			case ev.Kind == Text:
				out = EndText(append(BeginText(nil), ev.Payload...), 0)
			case ev.Kind == Binary:
				out = AppendFrame(nil, ws.OpBinary, ev.Payload)
			case ev.Kind == Ping:
				out = AppendPong(nil, ev.Payload)
			case ev.Kind == Close:
				_, err = conn.Write(AppendClose(nil, ev.Code, ""))
				return ev, err
			}
			if left = rest; ev.Kind == NeedMore {
				break
			}
			if len(out) == 0 { // A pong; net.Pipe would wait for a reader.
				continue
			}
			if _, err := conn.Write(out); err != nil {
				return closed, err
			}
		}
		got, err := conn.Read(buf)
		if err != nil {
			return closed, err
		}
		b = buf[:got]
	}
}

// A client that we did not write gets its messages back, whatever the size of our reads.
func TestWithAnotherClient(t *testing.T) {
	for _, size := range []int{1, 7, 4096, 1 << 20} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ours, theirs := net.Pipe()
		type result struct {
			ev  Event
			err error
		}
		over := make(chan result, 1)
		go func() {
			ev, err := echo(ours, size)
			over <- result{ev, err}
		}()
		dial := func(context.Context, string, string) (net.Conn, error) { return theirs, nil }
		client := &http.Client{Transport: &http.Transport{DialContext: dial}}
		c, res, err := websocket.Dial(ctx, "ws://edge.example/ws?topics=AAPL", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatalf("dial: %v (%+v)", err, res)
		}
		c.SetReadLimit(-1)
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 200000} {
			payload := []byte(strings.Repeat("é", n)[:n&^1])
			for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
				if err := c.Write(ctx, kind, payload); err != nil {
					t.Fatalf("write %d bytes: %v", n, err)
				}
				gotKind, got, err := c.Read(ctx)
				if err != nil || gotKind != kind || !bytes.Equal(got, payload) {
					t.Fatalf("%d bytes in reads of %d: got %v, %s (%v)", n, size, gotKind, show(got), err)
				}
			}
		}
		reading := c.CloseRead(ctx)
		if err := c.Ping(ctx); err != nil {
			t.Errorf("ping: %v", err)
		}
		if err := c.Close(websocket.StatusCode(protocol.CodeGoingAway), "bye"); err != nil {
			t.Errorf("close: %v", err)
		}
		<-reading.Done()
		r := <-over
		if r.err != nil || r.ev.Kind != Close || r.ev.Code != protocol.CodeGoingAway || string(r.ev.Payload[2:]) != "bye" {
			t.Errorf("the server's conn ended with %+v (%v)", r.ev, r.err)
		}
	}
}

// That client understands why it is closed.
func TestAnotherClientReadsOurClose(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		echo(ours, 4096)
	}()
	dial := func(context.Context, string, string) (net.Conn, error) { return theirs, nil }
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	c, _, err := websocket.Dial(ctx, "ws://edge.example/ws", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusCode(protocol.CodeBadUTF8) {
		t.Errorf("got %v", err)
	}
	c.CloseNow()
	<-done
}
