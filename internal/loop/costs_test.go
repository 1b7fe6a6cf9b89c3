// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
)

// Pongs that nobody asked for cost as much as pings, and share their limit.
func TestFloodOfPongs(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	most := int(edgeLimits(0).controls)
	both := append(bytes.Repeat(frame(opPong, ""), most-1), frame(opPing, "p")...)
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	c.send(both) // One write is one read here, and so in one second.
	c.wantFrame(opPong, "p")
	c.send(command(`{"op":"ping"}`))
	c.want("pong")
	// As if they had come in another second.
	e.eachConn(func(_ *loop, c *conn) { c.controlled-- })
	c.send(append(both, frame(opPong, "")...))
	c.wantFrame(opPong, "p")
	c.wantClose(1008)
	c.wantEOF()
	c.close()
	e.wantClosed("control_flood", "1008", 1)
}

// The pong that the edge has asked for does not count.
func TestAnsweredPongIsFree(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops, c.Shard.PingInterval = 1, 200*time.Millisecond })
	most := int(edgeLimits(0).controls)
	asked := func() *raw {
		c := dialRaw(t, e.Addr()).upgrade("?topics=A")
		for {
			op, _, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if op == opPing {
				return c
			}
		}
	}
	c := asked()
	c.send(append(bytes.Repeat(frame(opPong, ""), 1+most), command(`{"op":"ping"}`)...))
	c.want("pong")
	c = asked()
	c.send(bytes.Repeat(frame(opPong, ""), 2+most)) // The others do.
	c.wantClose(1008)
}

// feedBytes hands bytes to the one conn of an edge as if each had come in a read of its own.
func (e *edge) feedBytes(b []byte) {
	e.t.Helper()
	b = bytes.Clone(b) // Which is overwritten.
	e.eachConn(func(l *loop, c *conn) {
		l.now = time.Now()
		for one := range slices.Chunk(b, 1) {
			switch c.stage {
			case handshaking:
				l.handshake(c, one)
			case talking:
				l.frames(c, one, l.out[:0])
			}
		}
	})
}

// A read costs more than what it brings: each of a control frame counts.
func TestControlFrameByteByByte(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	most := int(edgeLimits(0).controls)
	one := frame(opPong, "")
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	e.feedBytes(bytes.Repeat(one, most/len(one)))
	c.send(command(`{"op":"ping"}`))
	c.want("pong")
	e.eachConn(func(_ *loop, c *conn) { c.controlled-- })
	e.feedBytes(bytes.Repeat(one, most/len(one)+1))
	c.wantClose(1008)
}

// A message may come byte by byte, but not for ever.
func TestMessageInManyParts(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops, c.limits = 1, edgeLimits(c.Shard.MaxTopics) })
	padded := func(size int) []byte { // A frame of that many bytes: 8 are its head.
		return command("%-*s", size-8, `{"op":"ping"}`)
	}
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	e.feedBytes(padded(messageParts))
	c.want("pong")
	e.feedBytes(padded(messageParts + 1))
	c.wantClose(1009)
	c.wantEOF()
	c.close()
	e.wantClosed("protocol_error", "1009", 1)
}

func TestHeadInManyReads(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	head := func(size int) []byte {
		b := upgradeRequest("?x=")
		return []byte(strings.Replace(b, "?x=", "?x="+strings.Repeat("x", size-len(b)), 1))
	}
	// The last read is not kept.
	c := dialRaw(t, e.Addr())
	until(t, func() bool { return e.Conns() == 1 }, "the conn")
	e.feedBytes(head(headReads + 1))
	if err := c.switched(); err != nil {
		t.Fatal(err)
	}
	c.close()
	until(t, func() bool { return e.Conns() == 0 }, "the conn to be gone")
	c = dialRaw(t, e.Addr())
	until(t, func() bool { return e.Conns() == 1 }, "the conn")
	e.feedBytes(head(headReads + 2))
	if err := c.switched(); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("a head in more reads: %v", err)
	}
}

// Bytes and parts of a message are charged to the rate of commands, of garbage too.
func TestMessagesAreChargedForReading(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.Loops, c.limits = 1, edgeLimits(c.Shard.MaxTopics)
		c.Shard.CommandRate, c.Shard.CommandBurst = 1, 10
	})
	left := func(c *raw, want int) { // How many commands are let through at once.
		t.Helper()
		c.send(bytes.Repeat(command(`{"op":"ping"}`), want+1))
		for range want {
			c.want("pong")
		}
		if m := c.want("error"); m.Code != 429 {
			t.Errorf("error = %+v", m)
		}
	}
	for _, tc := range []struct {
		name   string
		send   []byte
		single bool // Byte by byte.
		answer string
		left   int
	}{
		{"a short one", command(`{"op":"ping"}`), false, "pong", 9},
		{"bytes", command("%-12288s", `{"op":"ping"}`), false, "pong", 3},
		{"garbage", command("%-12288s", `{`), false, "error", 3},
		{"reads", command(`{"op":"ping"}`), true, "pong", 5}, // 19 bytes: 4 × 4 more than one.
		{"fragments", append(bytes.Repeat(fragment(opCont, ""), 15), rawFrame(0x80, true, `{"op":"ping"}`)...), false, "pong", 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, e.Addr()).upgrade("")
			b := tc.send
			if tc.name == "fragments" {
				b = append(fragment(opText, ""), b...)
			}
			if tc.single {
				e.feedBytes(b)
			} else {
				c.send(b)
			}
			c.want(tc.answer)
			left(c, tc.left)
			c.close()
			until(t, func() bool { return e.Conns() == 0 }, "the conn to be gone")
		})
	}
}

// A source is who the guard counts, also where nothing of it is limited.
func TestSourceIsKnown(t *testing.T) {
	for _, most := range []int{0, 5} {
		t.Run(fmt.Sprint("at most ", most), func(t *testing.T) {
			e := serve(t, func(c *Config) {
				c.Guard.ConnsPerPrefix = most
				c.Trusted = trusting(t, "127.0.0.1")
			})
			e.ask("127.0.0.1", upgradeWith("", "X-Forwarded-For: 198.51.100.1"))
			e.ask("127.0.0.1", upgradeWith("", "X-Forwarded-For: 198.51.100.1"))
			e.ask("127.0.0.2", upgradeRequest(""))
			counts := map[guard.Prefix]int{}
			e.eachConn(func(l *loop, c *conn) { counts[l.Prefix(c.id)]++ })
			if len(counts) != 2 || counts[0] != 0 {
				t.Errorf("conns by source are %v", counts)
			}
		})
	}
}

// Names that a token has whole, and those of the configuration, are not counted where
// topics are limited that nobody knows to exist.
func TestTopicsThatExist(t *testing.T) {
	existing, err := auth.ParsePatterns("C,D:*")
	if err != nil {
		t.Fatal(err)
	}
	e := serve(t, withTokens(t), func(c *Config) {
		c.Loops, c.Existing = 1, existing
		c.Shard.NewTopics = guard.NewPrefixLimit(guard.Rate{PerSecond: 1, Burst: 2}, time.Now().Add(-time.Hour))
	})
	c := e.admit(tokenOf("alice", later(), `,"topics":["A","B","C*","D:*","P:*"]`), "&topics=A,B,C,D:1,P:1,P:2")
	c.send(subscribe("P:3"))
	if m := c.want("ack"); len(m.Rejected) != 1 || m.Rejected[0].Code != protocol.ErrTooFast || string(m.Topics) != "6" {
		t.Errorf("ack = %+v", m)
	}
	e.log.await(t, "raise -new-topics-rate-per-ip")
}
