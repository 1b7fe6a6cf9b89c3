// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/protocol"
)

// A message that is begun and not completed ends its conn, however it is kept alive.
func TestUnfinishedMessages(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.limits = edgeLimits(c.Shard.MaxTopics)
		c.limits.unfinished = 300 * time.Millisecond
	})
	long := command(`{"op":"ping","id":%q}`, strings.Repeat("i", 60))
	var drip [][]byte // Ends before the message does, after some 10 s.
	for b := range slices.Chunk(command("%500s", ""), 1) {
		drip = append(drip, b)
	}
	alive := [][]byte{fragment(opText, "")}
	for range 500 {
		alive = append(alive, frame(opPong, ""), fragment(opCont, ""))
	}
	cases := map[string][][]byte{
		"two bytes":              {long[:2]},
		"all but one":            {long[:len(long)-1]},
		"a control frame":        {frame(opPing, "ping")[:7]},
		"a fragment":             {fragment(opText, `{"op":`)},
		"a byte now and then":    drip,
		"fragments now and then": alive,
	}
	group(t, func(t *testing.T) {
		for name, parts := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := dialRaw(t, e.Addr()).upgrade("?topics=A")
				go func() {
					tick := time.NewTicker(20 * time.Millisecond)
					defer tick.Stop()
					for _, p := range parts {
						if _, err := c.Write(p); err != nil {
							return
						}
						<-tick.C
					}
				}()
				c.wantClose(1008)
				c.wantEOF()
				c.close()
			})
		}
	})
	e.wantClosed("unfinished_message", "1008", uint64(len(cases)))
	e.onLoops(func(l *loop) { l.lookAtUnfinished(time.Now()) })
	e.onLoops(func(l *loop) {
		if len(l.unfinished) > 0 {
			e.t.Errorf("loop %d still looks at %v", l.index, l.unfinished)
		}
	})
}

// One whose every read ends within a message is fine as long as each is completed: its
// age is that of the message, not of the habit.
func TestEachMessageHasItsOwnTime(t *testing.T) {
	const limit = time.Hour
	e := serve(t, func(c *Config) {
		c.Loops = 1
		c.limits = edgeLimits(c.Shard.MaxTopics)
		c.limits.unfinished = limit
	})
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	ping := command(`{"op":"ping"}`)
	first := time.Now()
	c.send(ping[:9])
	for range 20 {
		c.send(append(bytes.Clone(ping[9:]), ping[:9]...))
		c.want("pong")
	}
	// It is listed once, and not as old as its first message.
	e.onLoops(func(l *loop) {
		if len(l.unfinished) != 1 {
			t.Errorf("%d conns are looked at, want 1", len(l.unfinished))
		}
		l.lookAtUnfinished(first.Add(limit))
	})
	c.send(append(bytes.Clone(ping[9:]), ping[:9]...))
	c.want("pong")
	var began time.Time
	e.eachConn(func(l *loop, c *conn) { began, _ = c.dec.Unfinished(time.Time{}) })
	e.onLoops(func(l *loop) { l.lookAtUnfinished(began.Add(limit - 1)) })
	c.send(ping[9:])
	c.want("pong")
	e.onLoops(func(l *loop) {
		l.lookAtUnfinished(began.Add(limit)) // That one is complete.
		if len(l.unfinished) != 0 {
			t.Errorf("%d conns are looked at, want none", len(l.unfinished))
		}
	})
	c.send(ping[:9])
	until(t, func() bool {
		listed := 0
		e.onLoops(func(l *loop) { listed = len(l.unfinished) })
		return listed == 1
	}, "it to be listed again")
	e.onLoops(func(l *loop) { l.lookAtUnfinished(time.Now().Add(limit)) })
	c.wantClose(1008)
}

// A conn that takes the place of one that left amid a message is listed for itself.
func TestUnfinishedAndGone(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	listed := func() (n int) {
		e.onLoops(func(l *loop) { n = len(l.unfinished) })
		return n
	}
	for i := range 5 {
		c := dialRaw(t, e.Addr()).upgrade("?topics=A")
		e.onLoops(func(l *loop) { l.unfinishedAt = time.Now().Add(time.Hour) }) // No look but ours.
		c.send(fragment(opText, ""))
		until(t, func() bool { return listed() == i+1 }, "it to be listed")
		if i < 4 {
			c.close()
			until(t, func() bool { return e.Conns() == 0 }, "it to be gone")
		}
	}
	e.onLoops(func(l *loop) { l.lookAtUnfinished(time.Now()) })
	if n := listed(); n != 1 {
		t.Errorf("%d conns are listed, want the one that is there", n)
	}
}

// The word ping is answered with a word, within the rate of commands, and is no malformed one,
// however often it comes.
func TestTheWordPing(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	for range 50 {
		c.send(frame(opText, "ping"))
		c.wantFrame(opText, "pong")
		c.send(frame(opText, `"ping"`))
		c.wantFrame(opText, `"pong"`)
	}
	until(t, func() bool { return e.Stats().Loop[Commands] == 100 }, "all to be counted")
	if n := e.Stats().Loop[Malformed]; n != 0 {
		t.Errorf("%d malformed commands are counted", n)
	}
}

func TestFloodOfTheWordPing(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops, c.Shard.CommandRate, c.Shard.CommandBurst = 1, 1, 3 })
	c := dialRaw(t, e.Addr()).upgrade("")
	c.send(bytes.Repeat(frame(opText, "ping"), 20))
	for range 3 {
		c.wantFrame(opText, "pong")
	}
	for range 6 {
		if m := c.want("error"); m.Code != 429 {
			t.Errorf("error = %+v", m)
		}
	}
	c.want("error")
	c.wantBye(4503)
}

// 5.5.2: every ping is answered, up to the limit in one second, and that is the end.
func TestFloodOfPings(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	most := int(edgeLimits(0).controls)
	c := dialRaw(t, e.Addr()).upgrade("?topics=A")
	for range 3 {
		c.send(bytes.Repeat(frame(opPing, "p"), most))
		for range most {
			c.wantFrame(opPong, "p")
		}
		// As if its last ping had come in another second.
		e.eachConn(func(_ *loop, c *conn) { c.controlled-- })
	}
	// One write is one read here, and so in one second.
	c.send(append(bytes.Repeat(frame(opPing, "p"), most+1), command(`{"op":"ping"}`)...))
	for range most {
		c.wantFrame(opPong, "p")
	}
	c.wantClose(1008)
	c.wantEOF()
	c.close()
	e.wantClosed("control_flood", "1008", 1)
}

// One who has sent much gets a small part of it handled before it is others' turn.
func TestATurnIsShort(t *testing.T) {
	const flood, size = 4000, 20 // Commands, and bytes of each.
	inHook, release := make(chan struct{}), make(chan struct{})
	handled := 0 // Owned by the loop.
	var before atomic.Int64
	e := serve(t, func(c *Config) {
		c.Loops = 1
		c.onCommand = func(cmd *protocol.Command) {
			switch {
			case string(cmd.ID) == "9":
				before.Store(int64(handled))
			case handled == 0:
				close(inHook)
				<-release // Until all is sent that others might have to wait for.
				fallthrough
			default:
				handled++
			}
		}
	})
	busy, other := dialRaw(t, e.Addr()).upgrade("?topics=A"), dialRaw(t, e.Addr()).upgrade("?topics=A")
	one := command(`{"op":"ping"}`)
	if len(one) > size {
		t.Fatalf("a command has %d bytes", len(one))
	}
	go busy.Write(bytes.Repeat(one, flood))
	<-inHook
	other.send(command(`{"op":"ping","id":9}`))
	close(release)
	if m := other.want("pong"); string(m.ID) != "9" {
		t.Fatalf("pong = %+v", m)
	}
	// The turn that had begun, and one more if the busy one is first again.
	most := int64(2*4096/len(one) + 2)
	if n := before.Load(); n > most || n < 1 {
		t.Errorf("%d commands of the busy one came first, want at most %d", n, most)
	}
	for range flood {
		if m := busy.want("pong"); m.T != "pong" {
			t.Fatal(m)
		}
	}
}

// The peer closes while it has not read what was sent: that, then its code, then the end.
func TestPeerClosesBehindABacklog(t *testing.T) {
	e := serve(t)
	c := e.behind()
	c.send(closeFrame(1001, "enough"))
	until(t, func() bool { return e.table.Subscriptions() == 0 }, "the close to be read")
	if m, err := c.behindUpdates(); err != (closedWith{1001, ""}) {
		t.Errorf("got %s (%v), want a close frame with 1001", m.T, err)
	}
	c.wantEOF()
	c.close()
	e.wantClosed("peer_close", "1001", 1)
}

// Nothing that is built into the edge can make it echo.
func TestTheEdgeHasNoWayToEcho(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(filepath.Join("..", "..", "cmd"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		seen++
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("StartEcho")) {
			t.Errorf("%s calls StartEcho", path)
		}
		return err
	})
	if err != nil || seen < 5 {
		t.Error(fmt.Errorf("%d files were read: %w", seen, err))
	}
	e := serve(t)
	c := dialRaw(t, e.Addr()).upgrade("")
	c.send(frame(opBinary, "x"))
	c.wantClose(1003)
}
