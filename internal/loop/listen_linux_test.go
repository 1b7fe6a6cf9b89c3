// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is set on the listener is there on what it accepts.
func TestAcceptedSocketsInherit(t *testing.T) {
	e := serve(t)
	for range 20 {
		dialRaw(t, e.Addr()).upgrade("")
	}
	for _, opt := range []struct {
		name       string
		opt, value int
	}{
		{"TCP_NOTSENT_LOWAT", unix.TCP_NOTSENT_LOWAT, notsentLowat},
		{"TCP_USER_TIMEOUT", unix.TCP_USER_TIMEOUT, 0},
		{"TCP_NODELAY", unix.TCP_NODELAY, 1},
	} {
		e.eachConn(func(l *loop, c *conn) {
			if got, err := unix.GetsockoptInt(c.gc.Fd(), unix.IPPROTO_TCP, opt.opt); err != nil || got != opt.value {
				t.Errorf("loop %d: %s = %d (%v), want %d", l.index, opt.name, got, err, opt.value)
			}
		})
	}
}

// Where there is no IPv6, all addresses are those of IPv4, and the log says so.
func TestListenWithoutIPv6(t *testing.T) {
	for _, listen := range []string{":0", "[::]:0"} {
		ch := spawnAt(t, listen, 1000, 100, fmt.Sprintf("%s=deny %d %d %d", childBeforeEnv, unix.SYS_SOCKET, unix.AF_INET6, unix.EAFNOSUPPORT))
		dialRaw(t, at("127.0.0.1", ch.addr)).upgrade("").close()
		if out := ch.end(); !strings.Contains(out, "listening: 0.0.0.0:") || !strings.Contains(out, "clients of one IP family only") {
			t.Errorf("%s: the server said:\n%s", listen, out)
		}
	}
}

// The kernel gives up a conn that is leaving, and no other.
func TestLeavingHasATimeout(t *testing.T) {
	e := serve(t, func(c *Config) { c.Shard.CloseTimeout = 5 * time.Second })
	c := dialRaw(t, e.Addr()).upgrade("")
	c.send(frame(opBinary, ""))
	c.wantClose(1003)
	seen := 0
	e.eachConn(func(l *loop, c *conn) {
		seen++
		if got, err := unix.GetsockoptInt(c.gc.Fd(), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != int(userTimeout.Milliseconds()) {
			t.Errorf("loop %d: TCP_USER_TIMEOUT = %d (%v)", l.index, got, err)
		}
	})
	if seen != 1 {
		t.Errorf("%d conns were looked at", seen)
	}
}
