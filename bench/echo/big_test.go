// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const sizeMax = 16 << 20

// fragments is a message in frames of size bytes.
func fragments(op byte, payload string, size int) (list [][]byte) {
	for len(payload) > size {
		list, payload, op = append(list, more(op, payload[:size])), payload[size:], opCont
	}
	return append(list, last(op, payload))
}

// pieces is the same, but that an empty frame is the last.
func pieces(op byte, payload string, size int) (list [][]byte) {
	for ; len(payload) > 0; op = opCont {
		n := min(size, len(payload))
		list, payload = append(list, more(op, payload[:n])), payload[n:]
	}
	return append(list, last(opCont, ""))
}

// send writes from another goroutine, as the echo may begin before it is through.
func (c *client) send(frames ...[]byte) {
	go func() { _, _ = c.Write(bytes.Join(frames, nil)) }()
}

// Group 9, big messages. RFC 6455, 5.4: how a message is cut makes no difference.
func TestBigMessages(t *testing.T) {
	bits := strings.Repeat("\xff\x00\x80\x01", sizeMax/4)
	text := strings.Repeat("😀", sizeMax/4)
	for _, size := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, sizeMax} {
		c := dial(t)
		c.send(last(opText, text[:size]), last(opBinary, bits[:size]), closing(1000, ""))
		c.wants(t, "text "+show(text[:size]), "binary "+show(bits[:size]), "close 1000", "end")
	}
	for _, f := range []struct{ size, fragment int }{
		{4 << 20, 64}, // 65,536 fragments.
		{sizeMax, 256},
		{4 << 20, 255}, // Runes are cut.
		{4 << 20, 4 << 10}, {4 << 20, 64 << 10}, {4 << 20, 1 << 20}, {65536, 1300},
	} {
		t.Run(fmt.Sprintf("%d in fragments of %d", f.size, f.fragment), func(t *testing.T) {
			c := dial(t)
			c.send(append(fragments(opText, text[:f.size], f.fragment), fragments(opBinary, bits[:f.size], f.fragment)...)...)
			c.wants(t, "text "+show(text[:f.size]), "binary "+show(bits[:f.size]))
			// Autobahn's cases 9.3 and 9.4 end with an empty fragment where the others are full.
			c.send(append(pieces(opText, text[:f.size], f.fragment), pieces(opBinary, bits[:f.size], f.fragment)...)...)
			c.wants(t, "text "+show(text[:f.size]), "binary "+show(bits[:f.size]))
		})
	}
	for _, chop := range []int{64, 512, 2048} {
		exchange{fmt.Sprintf("1 MiB in writes of %d", chop), chops(last(opText, text[:1<<20]), chop), []string{"text " + show(text[:1<<20])}}.run(t)
	}
}

// 7.4.1: beyond the limits the conn is closed with 1009.
func TestLimits(t *testing.T) {
	bits := strings.Repeat("b", sizeMax+1)
	many := [][]byte{more(opText, "")}
	for range 1<<16 - 1 {
		many = append(many, more(opCont, ""))
	}
	for _, x := range []exchange{
		{"a byte too many", [][]byte{last(opBinary, bits)}, failed(1009)},
		{"a byte too many in fragments", fragments(opText, bits, 1<<20), failed(1009)},
		{"a fragment too many", append(many, last(opCont, "x")), failed(1009)},
		{"a claim is enough", [][]byte{last(opBinary, bits)[:14]}, failed(1009)},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := dial(t)
			c.send(x.send...)
			c.wants(t, x.want...)
		})
	}
	exchange{"as many as there may be", append(many[:1<<16-1:1<<16-1], last(opCont, "end")), []string{`text "end"`}}.run(t)
}

// Group 9.7: many messages, one after the other, with another client.
func TestManyMessages(t *testing.T) {
	c := another(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, n := range []int{0, 16, 64, 256, 1024, 4096, 65536, 1 << 20} {
			payload := []byte(strings.Repeat("é", n/2))
			for range max(1, min(200, 1<<20/(n+1))) {
				if err := c.Write(ctx, kind, payload); err != nil {
					t.Fatal(err)
				}
				got, back, err := c.Read(ctx)
				if err != nil || got != kind || !bytes.Equal(back, payload) {
					t.Fatalf("%d bytes came back as %v %d bytes (%v)", n, got, len(back), err)
				}
			}
		}
	}
}

// What that client writes piece by piece, in fragments as it likes, is one message.
func TestAnotherClientsFragments(t *testing.T) {
	c := another(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	payload := strings.Repeat("a€😀", 100_000)
	w, err := c.Writer(ctx, websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	for p := payload; p != ""; p = p[min(len(p), 777):] {
		if _, err := io.WriteString(w, p[:min(len(p), 777)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, back, err := c.Read(ctx); err != nil || string(back) != payload {
		t.Fatalf("%d bytes came back of %d (%v)", len(back), len(payload), err)
	}
}

// One who sends and does not read is reset before its echoes fill the memory, and one who
// reads late, but reads, gets them all.
func TestSlowReaders(t *testing.T) {
	message := last(opBinary, strings.Repeat("b", 8<<20))
	late := dial(t)
	late.send(message, message, message, last(opPing, "and then"))
	never := dial(t)
	sent := 0
	for ; sent < 100; sent++ {
		if _, err := never.Write(message); err != nil {
			break
		}
	}
	// 64 MiB may wait, and some are in the kernel on their way.
	if sent < 8 || sent > 20 {
		t.Errorf("it was reset after %d messages of 8 MiB", sent)
	}
	_ = late.SetReadDeadline(time.Now().Add(patience))
	for range 3 {
		late.wants(t, "binary "+show(strings.Repeat("b", 8<<20)))
	}
	late.wants(t, `pong "and then"`)
}
