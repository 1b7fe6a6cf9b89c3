// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strconv"
	"strings"
	"testing"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/panics"
	"tickedge/internal/protocol"
)

func TestPanicInACommand(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.onCommand = func(cmd *protocol.Command) {
			if cmd.Op == protocol.OpAuth {
				panic("boom")
			}
		}
	})
	e.log.allow("panic while handling a connection")
	others := []*raw{dialRaw(t, e.Addr()).upgrade("?topics=A"), dialRaw(t, e.Addr()).upgrade("?topics=A")}
	const count = 5
	for range count {
		c := dialRaw(t, e.Addr()).upgrade("?topics=A")
		c.send(command(`{"op":"auth","token":"x"}`))
		if m := c.wantBye(1011); m.RetryMS < 500 || m.RetryMS > 2000 {
			t.Errorf("bye = %+v", m)
		}
		c.wantEOF()
		c.close()
	}
	e.publish("A", "1")
	for _, c := range others {
		c.want("update")
	}
	if n := strings.Count(e.log.String(), panics.Hint); n != count || n != strings.Count(e.log.String(), "stack=") {
		t.Errorf("%d lines say what to do, want %d, with stacks", n, count)
	}
	until(t, func() bool { return e.Stats().Loop[Panics] == count }, "%d panics to be counted", count)
	e.wantClosed("panic", "1011", count)
	if n := e.Conns(); n != len(others) {
		t.Errorf("%d connections, want %d", n, len(others))
	}
}

// broken stands in for a conn's socket and panics when a visit looks at its backlog.
// With stubborn, it does so again when the conn is told goodbye.
type broken struct {
	gnet.Conn
	of       *conn
	stubborn bool
}

func (b *broken) OutboundBuffered() int {
	if !b.stubborn {
		b.of.gc = b.Conn
	}
	panic("broken on a visit")
}

func (b *broken) Write(p []byte) (int, error) {
	b.of.gc = b.Conn
	panic("broken for good")
}

func TestPanicInAVisit(t *testing.T) {
	e := serve(t, func(c *Config) { c.Loops = 1 })
	e.log.allow("panic while handling a connection")
	other := dialRaw(t, e.Addr()).upgrade("?topics=A")
	for _, stubborn := range []bool{false, true} {
		c := dialRaw(t, e.Addr())
		if err := c.handshake(""); err != nil {
			t.Fatal(err)
		}
		hello := c.want("hello")
		e.eachConn(func(_ *loop, conn *conn) {
			if name, err := strconv.ParseUint(hello.Conn, 16, 32); err == nil && conn.name == uint32(name) {
				conn.gc, conn.behind = &broken{conn.gc, conn, stubborn}, true
			}
		})
		if !stubborn {
			c.wantBye(1011)
		}
		c.wantEOF()
		c.close()
		e.publish("A", "1")
		other.want("update")
	}
	until(t, func() bool { return e.Stats().Loop[Panics] == 2 }, "2 panics to be counted")
	e.wantClosed("panic", "1011", 2)
}
