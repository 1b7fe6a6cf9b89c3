// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/fanout"
)

// The peer closes: its code comes back, then the end (RFC 6455, 5.5.1 and 7.1.1).
func TestPeerCloses(t *testing.T) {
	e := serve(t)
	for _, code := range []int{0, 1000, 1001, 1003, 1007, 1011, 1012, 3000, 4999} {
		c := dialRaw(t, e.Addr()).upgrade("?topics=A")
		if code == 0 {
			c.send(frame(opClose, ""))
			c.wantFrame(opClose, "")
		} else {
			c.send(closeFrame(uint16(code), "reason"))
			c.wantClose(code)
		}
		c.wantEOF()
	}
	e.wantClosed("peer_close", "1005", 1)
	e.wantClosed("peer_close", "1000", 1)
	e.wantClosed("peer_close", "1001", 1)
	e.wantClosed("peer_close", "other", 6)
	// Commands before the close are answered, what comes after it is not.
	c := dialRaw(t, e.Addr()).upgrade("")
	c.send(bytes.Join([][]byte{command(`{"op":"ping"}`), closeFrame(1000, ""), command(`{"op":"list"}`)}, nil))
	c.want("pong")
	c.wantClose(1000)
	c.wantEOF()
}

func TestPings(t *testing.T) {
	e := serve(t)
	c := dialRaw(t, e.Addr()).upgrade("")
	for _, payload := range []string{"", "x", strings.Repeat("p", 125), "\xff\x00"} {
		c.send(frame(opPong, "nobody asked"), frame(opPing, payload))
		c.wantFrame(opPong, payload)
	}
	w := conforming(t, e, "")
	hear(t, w, "hello")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.CloseRead(ctx)
	if err := w.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// wrongs is what breaks a rule of the protocol, and the close code it is answered with.
var wrongs = []struct {
	name  string
	bytes []byte
	code  int
}{
	{"binary message", frame(opBinary, "{}"), 1003},
	{"text that is no UTF-8", frame(opText, "\"\xc3\x28\""), 1007},
	{"close reason that is no UTF-8", closeFrame(1000, "\xff"), 1007},
	{"message of 21 KiB", frame(opText, strings.Repeat(" ", 21<<10)), 1009},
	{"claim of a huge message", append([]byte{0x81, 0xff}, "\x00\x00\xff\xff\xff\xff\xff\xff"...), 1009},
	{"message of 21 KiB in fragments", append(fragment(opText, strings.Repeat(" ", 20<<10)), fragment(opCont, strings.Repeat(" ", 1<<10))...), 1009},
	{"unmasked", rawFrame(0x80|opText, false, "{}"), 1002},
	{"reserved bit", rawFrame(0xc0|opText, true, "{}"), 1002},
	{"unknown opcode", frame(0x3, ""), 1002},
	{"continuation of nothing", frame(opCont, "{}"), 1002},
	{"fragmented ping", fragment(opPing, ""), 1002},
	{"long ping", frame(opPing, strings.Repeat("p", 126)), 1002},
	{"close with one byte", frame(opClose, "x"), 1002},
	{"close with code 999", closeFrame(999, ""), 1002},
	{"close with code 1005", closeFrame(1005, ""), 1002},
	{"close with code 1006", closeFrame(1006, ""), 1002},
	{"close with code 5000", closeFrame(5000, ""), 1002},
}

// The peer breaks a rule and goes on sending. It can read why it was closed, and the
// end behind that: a reset must not overtake our word.
func TestProtocolErrors(t *testing.T) {
	e := serve(t)
	count := map[int]uint64{}
	group(t, func(t *testing.T) {
		for _, w := range wrongs {
			count[w.code]++
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				c := dialRaw(t, e.Addr()).upgrade("?topics=A")
				c.send(bytes.Join([][]byte{command(`{"op":"ping","id":1}`), w.bytes}, nil))
				for range 20 { // 320 KiB, of which nothing is answered.
					c.send(bytes.Repeat(command(`{"op":"list"}`), 16<<10/19))
				}
				c.want("pong")
				c.wantClose(w.code)
				c.wantEOF()
				c.send(closeFrame(uint16(w.code), ""))
				c.wantEOF()
				c.close()
			})
		}
	})
	for code, n := range count {
		e.wantClosed("protocol_error", fmt.Sprint(code), n)
	}
	until(t, func() bool { return e.Conns() == 0 }, "all to be gone before the close timeout")
}

// group runs parallel subtests and waits for them.
func group(t *testing.T, f func(*testing.T)) {
	t.Helper()
	t.Run("each", f)
}

// A client that we did not write understands why it is closed.
func TestConformingClientReadsOurClose(t *testing.T) {
	e := serve(t)
	c := conforming(t, e, "")
	hear(t, c, "hello")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageBinary, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	hearClose(t, c, 1003)
	e.wantClosed("protocol_error", "1003", 1)
	until(t, func() bool { return e.Conns() == 0 }, "it to be gone")
}

// One who never closes its side is closed after a while.
func TestCloseTimeout(t *testing.T) {
	e := serve(t, func(c *Config) { c.Shard.CloseTimeout = 300 * time.Millisecond; c.Loops = 1 })
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	c.send(frame(opBinary, ""))
	c.wantClose(1003)
	c.wantEOF()
	begin := time.Now()
	if n := e.table.Subscriptions(); n != 0 || e.Conns() != 1 {
		t.Errorf("%d subscriptions of %d connections, want none of one that was told to go", n, e.Conns())
	}
	until(t, func() bool { return e.Conns() == 0 }, "it to be closed")
	soon(t, begin, "the close")
	e.wantClosed("protocol_error", "1003", 1)
	if st := e.Stats(); st.Evicted[fanout.CloseTimeout] != 1 {
		t.Errorf("evicted: %v, want one close_timeout", st.Evicted)
	}
}

func TestMalformedCommands(t *testing.T) {
	e := serve(t)
	const allowed = 16
	for _, at := range []string{"one by one", "in one packet"} {
		c := dialRaw(t, e.Addr()).upgrade("")
		if at == "one by one" {
			for range allowed - 1 {
				c.send(command(`{"op":"subscrbe","id":7}`))
				if m := c.want("error"); m.Code != 400 || string(m.ID) != "7" {
					t.Fatalf("error = %+v", m)
				}
			}
			c.send(command(`{"op":"ping"}`)) // It may still mend its ways.
			c.want("pong")
			c.send(command(`[]`))
			c.want("error")
		} else {
			c.send(append(bytes.Repeat(command(`nonsense`), allowed), command(`{"op":"list"}`)...))
			for range allowed {
				c.want("error")
			}
		}
		if m := c.wantBye(4502); m.RetryMS != 0 {
			t.Errorf("bye = %+v", m)
		}
		c.wantEOF()
		c.close()
	}
	e.wantClosed("malformed", "4502", 2)
	if st := e.Stats(); st.Loop[Malformed] != 2*allowed {
		t.Errorf("%d malformed commands counted", st.Loop[Malformed])
	}
}

// A client that shuts down its writing side is taken for gone, also if it would still
// read: there is no use in feeding one that can't answer a ping.
func TestHalfClose(t *testing.T) {
	e := serve(t)
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	ticking(t, e, 5*time.Millisecond, 10, []string{"A"})
	c.want("update")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := c.read(); err != nil {
			if err != io.EOF {
				t.Errorf("got %v, want the end", err)
			}
			break
		}
	}
	e.wantClosed("peer_gone", "1006", 1)

	// A page is still answered to one who shuts down behind its request.
	h := dialRaw(t, e.Addr())
	h.send([]byte(request("GET", "/nothing")))
	_ = h.CloseWrite()
	if res, _ := h.answer("GET"); res.StatusCode != 404 {
		t.Errorf("answered with %s", res.Status)
	}
	h.wantEOF()
}

// Clients vanish while rows are written to them, and those who stay notice nothing.
func TestPeersVanishDuringWrites(t *testing.T) {
	e := serve(t)
	list := names("busy", 64)
	stays := dialRaw(t, e.Addr()).upgrade("?topics=" + strings.Join(list, ","))
	ticking(t, e, 10*time.Millisecond, 2<<10, list)
	const each = 40
	for i := range 2 * each {
		c := dialRaw(t, e.Addr()).upgrade("")
		c.send(subscribe(list...))
		c.want("ack")
		if i%2 == 0 {
			c.reset()
		} else {
			c.close() // A FIN, or a reset if something came that was not read.
		}
	}
	until(t, func() bool { return e.Conns() == 1 && e.table.Subscriptions() == int64(len(list)) }, "all to be gone but one")
	until(t, func() bool { return e.closed("peer_gone", "1006")+e.closed("peer_reset", "1006") == 2*each }, "all to be counted")
	if n := e.closed("peer_reset", "1006"); n < each*9/10 {
		t.Errorf("%d resets counted, want about %d at least", n, each)
	}
	for updates := 0; updates < 3; {
		m, err := stays.read()
		switch {
		case err == nil && m.T == "update":
			updates++
		case err != nil || m.T != "interval": // It may have been slow for a while.
			t.Fatalf("got %+v (%v), want update", m, err)
		}
	}
}
