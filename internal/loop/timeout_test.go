// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Nobody stays who gives no sign of life, and nobody is sent away who does.
func TestTimeouts(t *testing.T) {
	// So long that a client on a busy machine, which has to answer, is not late.
	const handshake, idle, ping, pong = time.Second, 1500 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second
	e := serve(t, func(c *Config) {
		c.Shard.HandshakeTimeout, c.Shard.IdleTimeout = handshake, idle
		c.Shard.PingInterval, c.Shard.PongTimeout = ping, pong
		c.Shard.Heartbeat = 250 * time.Millisecond
	})
	// The wheel comes by every 100 ms; patience is for a machine that is busy.
	within := func(t *testing.T, begin time.Time, least time.Duration) {
		t.Helper()
		if took := time.Since(begin); took < least || took > least+patience {
			t.Errorf("it took %v, want %v and a little", took, least)
		}
	}
	group(t, func(t *testing.T) {
		t.Run("silent before the handshake", func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			c := dialRaw(t, e.Addr())
			c.wantEOF()
			within(t, begin, handshake-10*time.Millisecond)
		})
		t.Run("a byte of the request now and then", func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			c := dialRaw(t, e.Addr())
			drip := time.NewTicker(20 * time.Millisecond)
			defer drip.Stop()
			for _, b := range []byte(upgradeRequest("")) {
				if _, err := c.Write([]byte{b}); err != nil {
					break
				}
				<-drip.C
			}
			if _, err := c.br.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want the end", err)
			}
			within(t, begin, handshake-10*time.Millisecond)
		})
		t.Run("nothing subscribed", func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			c := conforming(t, e, "")
			hear(t, c, "hello")
			for {
				m := hearAny(t, c)
				if m.T == "bye" {
					if m.Code != 4003 {
						t.Errorf("bye = %+v", m)
					}
					break
				}
			}
			within(t, begin, idle-10*time.Millisecond)
			hearClose(t, c, 4003)
		})
		t.Run("no pong", func(t *testing.T) {
			t.Parallel()
			begin, pings := time.Now(), 0
			c := dialRaw(t, e.Addr()).upgrade("?topics=quiet")
			for {
				op, payload, err := c.next()
				if err != nil {
					t.Fatal(err)
				}
				if op == opPing {
					pings++
					within(t, begin, ping*3/4-10*time.Millisecond)
				}
				if op == opClose {
					if payload[0] != 4002>>8 || payload[1] != 4002&0xff {
						t.Errorf("closed with % x", payload)
					}
					break
				}
			}
			if pings != 1 {
				t.Errorf("%d pings, want one", pings)
			}
			within(t, begin, ping*3/4+pong-10*time.Millisecond)
			c.wantEOF()
		})
		t.Run("a quiet topic and pongs", func(t *testing.T) {
			t.Parallel()
			c := conforming(t, e, "?topics=quiet2")
			hear(t, c, "hello")
			hear(t, c, "ack")
			for range 12 { // Longer than a ping and its pong may take.
				hear(t, c, "heartbeat")
			}
		})
		t.Run("commands instead of pongs", func(t *testing.T) {
			t.Parallel()
			c := dialRaw(t, e.Addr()).upgrade("?topics=quiet3")
			var speaking sync.WaitGroup
			done := make(chan struct{})
			speaking.Go(func() {
				tick := time.NewTicker(60 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-done:
						return
					case <-tick.C:
						_, _ = c.Write(command(`{"op":"ping"}`))
					}
				}
			})
			for range 50 { // The same.
				if op, payload, err := c.next(); err != nil || op == opClose {
					t.Fatalf("got %q (%v)", payload, err)
				}
			}
			close(done)
			speaking.Wait()
		})
	})
	e.wantClosed("handshake_timeout", "1006", 2)
	e.wantClosed("idle", "4003", 1)
	e.wantClosed("no_pong", "4002", 1)
}
