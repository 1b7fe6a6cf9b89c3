package loop

import (
	"testing"

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
		{"TCP_USER_TIMEOUT", unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds())},
		{"TCP_NODELAY", unix.TCP_NODELAY, 1},
	} {
		e.eachConn(func(l *loop, c *conn) {
			if got, err := unix.GetsockoptInt(c.gc.Fd(), unix.IPPROTO_TCP, opt.opt); err != nil || got != opt.value {
				t.Errorf("loop %d: %s = %d (%v), want %d", l.index, opt.name, got, err, opt.value)
			}
		})
	}
}
