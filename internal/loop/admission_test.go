// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAdmission(t *testing.T) {
	const most = 3
	e := serve(t, func(c *Config) { c.MaxConns = most; c.Pages = pages(testPage) })
	var in []*raw
	for range most {
		in = append(in, dialRaw(t, e.Addr()).upgrade("?topics=A"))
	}
	// Above the maximum a request is read and answered, whatever it asks for.
	for _, r := range []string{upgradeRequest(""), request("GET", "/"), request("GET", "/other")} {
		c := dialRaw(t, e.Addr())
		c.send([]byte(r))
		res, body := c.answer("GET")
		if res.StatusCode != 503 || len(res.Header.Get("Retry-After")) != 1 || !strings.Contains(body, "too many connections") {
			t.Errorf("answered with %s %v %q", res.Status, res.Header, body)
		}
		c.wantEOF()
		c.close()
	}
	until(t, func() bool { return e.Conns() == most }, "the refused ones to be gone")

	// Those that say nothing are held, up to a limit.
	var silent []*raw
	for range RefuseRoom {
		silent = append(silent, dialRaw(t, e.Addr()))
	}
	until(t, func() bool { return e.Conns() == most+RefuseRoom }, "the room for refusals to be full")
	const outside = 20
	for range outside {
		c := dialRaw(t, e.Addr())
		res, _ := c.answer("GET")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("answered with %s %v", res.Status, res.Header)
		}
		c.wantEOF()
	}
	if n := e.Conns(); n != most+RefuseRoom {
		t.Errorf("%d connections, want %d", n, most+RefuseRoom)
	}
	until(t, func() bool { return e.refused("unavailable") == 3+outside }, "%d refusals to be counted", 3+outside)

	// Who is in is not disturbed, and when there is room again, it is used.
	for _, c := range in {
		c.send(command(`{"op":"ping"}`))
		c.want("pong")
	}
	closeAll(silent)
	in[0].close()
	until(t, func() bool { return e.Conns() == most-1 }, "room")
	in[0] = dialRaw(t, e.Addr()).upgrade("?topics=A")
	until(t, func() bool {
		st := e.Stats()
		return st.Loop[Accepted] == most+3+RefuseRoom+outside+1 && st.Loop[WebSockets] == most+1 && st.Open == most && st.Opening == 0
	}, "the counters to be right")
	if e.Conns() != most || e.table.Subscriptions() != most {
		t.Errorf("%d connections with %d subscriptions, want %d", e.Conns(), e.table.Subscriptions(), most)
	}
}

// One that is refused is not held for long if it says nothing, nor if it does not go
// after the answer.
func TestRefusedOnesDoNotStay(t *testing.T) {
	e := serve(t, func(c *Config) {
		c.MaxConns, c.Loops = 1, 1
		c.Shard.HandshakeTimeout, c.Shard.CloseTimeout = 300*time.Millisecond, 300*time.Millisecond
	})
	dialRaw(t, e.Addr()).upgrade("?topics=A")
	silent, stays := dialRaw(t, e.Addr()), dialRaw(t, e.Addr())
	stays.send([]byte(upgradeRequest("")))
	if res, _ := stays.answer("GET"); res.StatusCode != 503 {
		t.Errorf("answered with %s", res.Status)
	}
	until(t, func() bool { return e.Conns() == 1 }, "the refused ones to be gone")
	silent.wantEOF()
	e.wantClosed("http", "", 1)
	e.wantClosed("handshake_timeout", "1006", 1)
}

// storm has many clients connect at once. A third ask for the WebSocket, a third say
// nothing and a third go at once. It returns the first two kinds, which stay until the
// end of the test.
func storm(t *testing.T, addr net.Addr, count int) (asked, silent []*raw) {
	const workers = 32
	var mu sync.Mutex
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < count; i += workers {
				c, err := connect(addr, patience)
				if err != nil {
					continue // It is no server's fault if the kernel's queue is full.
				}
				mu.Lock()
				switch i % 3 {
				case 0:
					_, _ = io.WriteString(c.TCPConn, upgradeRequest("?topics=A"))
					asked = append(asked, c)
				case 1:
					silent = append(silent, c)
				case 2:
					c.close()
				}
				mu.Unlock()
			}
		})
	}
	working.Wait()
	t.Cleanup(func() { closeAll(asked, silent) })
	return asked, silent
}

func closeAll(lists ...[]*raw) {
	for _, list := range lists {
		for _, c := range list {
			c.close()
		}
	}
}

// The limit of open files is far below what the storm wants. No loop may meet it.
func TestStormAtTheLimitOfFiles(t *testing.T) {
	takeBaseline(t)
	const limit, others = 400, 32 // Others are the files of the runtime and of the test.
	most := limit - FileReserve(2) - others
	ch := spawn(t, limit, most)
	asked, silent := storm(t, ch.addr, 2000)
	served, refused := 0, 0
	for _, c := range asked {
		switch res, err := http.ReadResponse(c.br, nil); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal("a request was not answered")
		case err == nil && res.StatusCode == http.StatusSwitchingProtocols:
			served++
		default: // Its end may come as a reset that overtakes the 503.
			refused++
		}
	}
	if served == 0 || served > most || refused == 0 {
		t.Errorf("%d of the storm were served and %d refused, want 1 to %d served", served, refused, most)
	}
	closeAll(asked, silent)
	// Each loop serves again: of 30 connections some fall to either.
	var fresh []*raw
	for range 30 {
		until(t, func() bool {
			c, err := connect(ch.addr, patience)
			if err != nil {
				return false
			}
			if c.handshake("?topics=A") != nil {
				c.close()
				return false
			}
			fresh = append(fresh, c)
			return true
		}, "a fresh client to be served")
	}
	closeAll(fresh)
	if out := ch.end(); !strings.HasSuffix(out, "conns 0, accept failures 0\n") || strings.Contains(out, "failed") {
		t.Errorf("the server said:\n%s", out)
	}
	wantBaseline(t)
}
